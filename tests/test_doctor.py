"""The doctor: finds what is wrong, names the mend, and judges whether rendering can work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from heads import weights
from typer.testing import CliRunner

from streamhead.cli.app import app
from streamhead.cli.doctor import CHECKS, Check, Finding
from streamhead.errors import DataError
from streamhead.face.landmarks import MODEL_ENV
from streamhead.model import checkpoint


def _look(name: str) -> Finding:
    (check,) = (check for check in CHECKS if check.name == name)
    return check.run()


def test_a_whole_examination() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(done.stdout)
    assert [one["name"] for one in report["checks"]] == [check.name for check in CHECKS]
    for one in report["checks"]:
        assert one["status"] in ("ok", "warn", "missing"), one
        assert one["detail"], one
        assert bool(one["mend"]) == (one["status"] != "ok"), one
    able = all(one["status"] != "missing" for one in report["checks"] if one["needed"])
    assert report["render"] is able
    assert done.exit_code == (0 if able else 2)
    found = {one["name"]: one["status"] for one in report["checks"]}
    assert found["PyTorch"] == found["Video encoders"] == found["Default face and voice"] == "ok"


def test_the_table_shows_every_check_and_every_mend() -> None:
    done = CliRunner().invoke(app, ["doctor"])
    for check in CHECKS:
        assert check.name in done.stdout
    assert ("streamhead render works here" in done.stdout) is (done.exit_code == 0)


def test_weights_are_read_to_the_last_byte(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = weights("call")
    monkeypatch.setattr(checkpoint, "shipped_weights", lambda preset: whole)
    assert _look("Weights").status == "ok"
    damaged = tmp_path / "call.safetensors"
    content = bytearray(whole.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(checkpoint, "shipped_weights", lambda preset: damaged)
    finding = _look("Weights")
    assert finding.status == "missing"
    assert "hash" in finding.detail
    assert finding.mend == "fetch it again"


def test_the_landmark_model_is_looked_for_and_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path))
    other = tmp_path / "other.task"
    other.write_bytes(b"something else")
    monkeypatch.setenv(MODEL_ENV, str(other))
    finding = _look("Landmark model")
    assert finding.status == "missing"
    assert MODEL_ENV in f"{finding.detail} {finding.mend}"
    monkeypatch.delenv(MODEL_ENV)
    finding = _look("Landmark model")
    assert finding.status == "warn"
    assert "--face" in finding.mend
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DataError("no clips; fetch some"), Finding("missing", "no clips", "fetch some")),
        (
            ModuleNotFoundError("No module named 'av'"),
            Finding("missing", "No module named 'av'", "pip install --upgrade --force-reinstall streamhead"),
        ),
        (RuntimeError("boom"), Finding("missing", "RuntimeError: boom", "report this at the project's issues")),
    ],
)
def test_a_check_that_fails_is_a_finding(error: Exception, expected: Finding) -> None:
    def look() -> Finding:
        raise error

    assert Check("something", True, look).run() == expected
