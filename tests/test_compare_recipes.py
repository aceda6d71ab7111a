"""``scripts/compare_recipes``: short runs on drawn clips, from recipes to table."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_clips import write_clip

from streamhead.training.config import parse_config

SCRIPT = Path(__file__).parent.parent / "scripts" / "compare_recipes"
RECIPES = SCRIPT.parent / "recipes"
BASE = """precision = "fp32"
[network]
preset = "call"
[data]
prepared = "nowhere"
clips = 2
frames = 5
decoded = 2
burn_in = 2
silence = 3
[loss]
mouth = 3.0
audio_share = 0.5
"""
VARIANTS = """[pixels]
loss.kind = "l1"
network.backbone = "dcgan"
network.emits = "rgb"
network.width = 0.125
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The script on two drawn clips in ``val`` and one in ``train``."""
    clips = [("a", "one", "val"), ("a", "two", "val"), ("a", "old", "train")]
    rows = [write_clip(tmp_path / "prepared", *clip, seed) for seed, clip in enumerate(clips)]
    (tmp_path / "prepared" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "variants.toml").write_text(VARIANTS)
    places = {"base": "base.toml", "variants": "variants.toml", "out": "out", "table": "table"}
    given = [part for name, place in places.items() for part in (f"--{name}", str(tmp_path / place))]
    return [sys.executable, str(SCRIPT), str(tmp_path / "prepared"), *given, "--minutes", "0.03"]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_recipes_to_a_table(command: list[str], tmp_path: Path) -> None:
    done = _run(command)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "table" / "search.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {row["variant"] for row in rows}
    assert names == {"base", "pixels", "still first frame", "ground truth re-encoded"}
    for row in rows:
        trained = row["variant"] in ("base", "pixels")
        assert bool(row["steps"]) is trained and row["clips"] == "2" and float(row["mouth_psnr"]) > 5
        if trained:
            assert float(row["minutes"]) >= 0.03 and int(row["steps"]) > 0
            assert (float(row["mouth_psnr_over_base"]) == 0) is (row["variant"] == "base")
    text = (tmp_path / "table" / "search.md").read_text()
    assert (
        '`loss.kind = "l1", network.backbone = "dcgan"' in text
        and "## a, 2 clips" in text
        and text.count("| pixels |") == 2
    )

    state = tmp_path / "out" / "pixels" / "run" / "state.safetensors"
    before = state.stat().st_mtime_ns
    assert _run(command).returncode == 0 and state.stat().st_mtime_ns == before
    (tmp_path / "variants.toml").write_text(VARIANTS.replace("0.125", "0.25"))
    again = _run(command)
    assert again.returncode == 2 and "another recipe" in again.stderr


def test_a_fault_is_found_before_anything_is_run(command: list[str], tmp_path: Path) -> None:
    for text, said in (
        ("[one]\nloss.kl = 'much'\n", "loss.kl"),
        ("[one]\nloss.no_such = 1\n", "loss.no_such"),
        ("loss = 1\n", "begin each with its name"),
        ("[one]\nloss.kl = 1\n['One!']\nloss.kl = 2\n", "two variants"),
        ("[one\n", "cannot be read as TOML"),
    ):
        (tmp_path / "variants.toml").write_text(text)
        done = _run(command)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "variants.toml").write_text(VARIANTS)
    done = _run([*command, "--only", "pixel"])
    assert done.returncode == 2 and "no variant 'pixel'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_search_has_what_it_is_to_have() -> None:
    import tomllib

    variants = tomllib.loads((RECIPES / "search.toml").read_text())
    base = parse_config((RECIPES / "call.toml").read_text(), "call.toml")
    assert base.network.look_ahead == 1 and {"seed 1", "pixels", "L1", "MS-SSIM"} <= variants.keys()
