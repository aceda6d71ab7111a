"""``streamhead evaluate`` as it is typed."""

# ruff: noqa: F811 - fixtures are asked for by the names they are imported under
from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from drawn_clips import prepared, weights  # noqa: F401
from PIL import Image
from typer.testing import CliRunner

from streamhead.cli.evaluate import evaluate as evaluate_command
from streamhead.errors import CheckpointError, DataError, OutputError
from streamhead.evaluation import tables
from streamhead.evaluation.evaluate import Scorer, Scores
from streamhead.evaluation.plan import Condition, Model, Pair
from streamhead.evaluation.protocols import Protocol


@pytest.fixture(scope="module")
def command() -> typer.Typer:
    """The command alone, as cli/app.py registers it."""
    app = typer.Typer()
    app.command()(evaluate_command)
    return app


def test_the_command(command: typer.Typer, prepared: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--weights", str(weights), "--temperature", "0", "--talkers", "a", "--per-talker", "1", "--strip", "1"]
    result = CliRunner().invoke(command, [str(prepared), *options, "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "table.json").read_text())["rows"]
    controls = ["still first frame", "ground truth re-encoded"]
    assert [row["row"] for row in rows] == ["call, T 0", "call, T 0, another clip's audio", *controls]
    assert rows[0]["weights"] == Model.of(weights).sha256 and rows[0]["clips"] == 1
    assert rows[2]["weights"] is None and {row["protocol"] for row in rows} == {"standard"}
    kept = [json.loads(clip.read_text()) for clip in (out / "clips").glob("a-*.json")]
    assert {one["row"]: one["scores"]["psnr"] for one in kept} == {
        row["row"]: pytest.approx(row["psnr"]) for row in rows
    }
    assert {path.suffix for path in out.iterdir() if path.is_file()} == {".json", ".csv", ".md", ".tex"}
    (strip_path,) = (out / "strips").glob("*.png")
    assert Image.open(strip_path).size[1] > 2 * 128
    assert "still first" in result.output and "weights call" in result.output


def test_the_command_names_what_is_wrong(command: typer.Typer, prepared: Path, weights: Path) -> None:
    run = CliRunner().invoke
    assert isinstance(run(command, [str(prepared), "--split", "none", "--weights", str(weights)]).exception, DataError)
    wrong = run(command, [str(prepared), "--weights", str(weights), "--preset", "paper"])
    assert isinstance(wrong.exception, CheckpointError)
    blocked = prepared / "manifest.jsonl" / "out"
    unwritable = run(command, [str(prepared), "--weights", str(weights), "--out", str(blocked)])
    assert isinstance(unwritable.exception, OutputError)
    for options in (
        ["--temperature", "warm"],
        ["--temperature", "0,-1"],
        ["--strip", "1"],
        ["--jobs", "0"],
        ["--protocol", "x"],
    ):
        assert run(command, [str(prepared), "--weights", str(weights), *options]).exit_code == 2


def test_stopping_keeps_what_is_done(
    command: typer.Typer,
    prepared: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored: list[str] = []

    def stop_at_the_third(self: Scorer, pair: Pair, protocol: Protocol, condition: Condition) -> Scores | None:
        scored.append(f"{pair.clip.talker} {pair.clip.name} {condition.label}")
        if len(scored) == 3:
            raise KeyboardInterrupt
        return {**{measure.key: 0.5 for measure in tables.MEASURES}, "faceless_frames": 0}

    monkeypatch.setattr(Scorer, "_score", stop_at_the_third)
    arguments = [
        str(prepared),
        "--weights",
        str(weights),
        "--temperature",
        "0",
        "--talkers",
        "b",
        "--out",
        str(tmp_path),
    ]
    stopped = CliRunner().invoke(command, arguments)
    assert stopped.exit_code == 130 and "the same command goes on" in stopped.output
    assert len(list((tmp_path / "clips").glob("*.json"))) == 2 and not (tmp_path / "table.json").exists()
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert [row.removeprefix("b one ") for row in scored] == [
        "call, T 0",
        "call, T 0, another clip's audio",
        "still first frame",
        "still first frame",
        "ground truth re-encoded",
    ]
