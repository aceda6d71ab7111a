"""A tree in LRW's layout through the same commands as GRID: prepare, train, evaluate, Figure 4, the study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from test_datasets_lrw import _clip, _cut_as_lrw
from typer.testing import CliRunner

from streamhead.cli.app import app
from streamhead.study.plan import Study

RECIPE = """precision = "fp32"
steps = 2
[network]
preset = "paper-thin"
width = 0.125
[data]
clips = 2
frames = 5
decoded = 2
augment_sound = false
"""


@pytest.mark.slow
def test_the_whole_way(grid: Path, tmp_path: Path) -> None:
    corpus, prepared, weights = tmp_path / "lipread_mp4", tmp_path / "prepared", tmp_path / "thin.safetensors"
    sources = sorted((grid / "s1").glob("*.mp4"))
    for source, (word, split) in zip(sources, (("ABOUT", "train"), ("ABOUT", "test"), ("WORLD", "test")), strict=False):
        _cut_as_lrw(source, _clip(corpus, word, split, 1))
    (tmp_path / "r.toml").write_text(RECIPE)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    run("prepare", "lrw", corpus, prepared, "--jobs", 1)
    train = ("train", tmp_path / "r.toml", "--prepared", prepared, "--out", tmp_path / "run", "--export", weights)
    run(*train, "--threads", 1)
    system = ("--system", f"thin={weights}")
    run("evaluate", prepared, *system, "--temperature", 0, "--protocol", "svg", "--out", tmp_path / "table")
    rows = json.loads((tmp_path / "table" / "table.json").read_text())["rows"]
    everybody = {row["row"]: row for row in rows if row["talker"] == "all"}
    # No word has another test clip, so nobody hears another's.
    assert list(everybody) == ["thin, T 0", "still first frame", "ground truth re-encoded"]
    assert {(row["protocol"], row["split"], row["clips"]) for row in everybody.values()} == {("svg", "test", 2)}
    assert everybody["ground truth re-encoded"]["psnr"] > everybody["thin, T 0"]["psnr"]
    run("figures", "strips", prepared, *system, "--layout", "lrw", "--out", tmp_path / "figures")
    with Image.open(tmp_path / "figures" / "strips.png") as picture:
        assert picture.height == 2 * (20 + 2 * 128) and picture.width > 8 * 128
    run("study", "make", tmp_path / "study", "--data", f"lrw={prepared}", *system, "--videos", 4)
    study = Study.open(tmp_path / "study")
    assert not study.missing
    assert sorted((item.talker, item.system) for item in study.items) == [
        ("ABOUT", "real"),
        ("ABOUT", "thin"),
        ("WORLD", "real"),
        ("WORLD", "thin"),
    ]
