"""``scripts/compare_recipes``: short runs on drawn clips, from recipes to table."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from drawn_clips import write_clip

from streamhead.errors import DataError
from streamhead.evaluation.plan import Model, Pair, Plan
from streamhead.training.batches import Clip
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


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    loader = SourceFileLoader("compare_recipes", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = write
    return module


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


def test_a_fault_is_told_and_nothing_run(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "variants.toml").write_text("[one]\nloss.kl = 'much'\n")
    done = _run(command)
    assert done.returncode == 2 and "one: loss.kl" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[one]\nloss.no_such = 1\n", r"loss\.no_such"),
        ("loss = 1\n", "begin each with its name"),
        ("[one]\nloss.kl = 1\n['One!']\nloss.kl = 2\n", "two variants"),
        ("[one\n", "cannot be read as TOML"),
        ("[two]\nloss.kl = 1\n", "no variant 'one'"),
    ],
)
def test_variants_are_checked_as_they_are_read(script: ModuleType, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "variants.toml").write_text(text)
    only = ["one"] if "two]" in text else []
    with pytest.raises(DataError, match=told):
        script.read_variants(RECIPES / "call.toml", tmp_path / "variants.toml", tmp_path / "out", only)


def test_what_the_base_has_all_have(script: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "variants.toml"
    file.write_text("[one]\nloss.kl = 1.0\n[base]\ndata.clips = 2\n[two]\ndata.clips = 6\n")
    variants = script.read_variants(RECIPES / "call.toml", file, tmp_path / "out")
    assert [one.name for one in variants] == ["base", "one", "two"]
    assert [one.changes for one in variants] == [{"data.clips": 2}, {"loss.kl": 1.0}, {"data.clips": 6}]
    assert [parse_config(one.text, one.name).data.clips for one in variants] == [2, 2, 6]
    file.write_text("base = 2\n")
    with pytest.raises(DataError, match="begin each with its name"):
        script.read_variants(RECIPES / "call.toml", file, tmp_path / "out")


def test_the_shipped_variants_are_recipes_that_differ(script: ModuleType, tmp_path: Path) -> None:
    base, *others = script.read_variants(RECIPES / "call.toml", RECIPES.parent / "search.toml", tmp_path)
    assert len(others) >= 20
    assert {"seed 1", "look-ahead 0", "pixels", "L1", "MS-SSIM", "sound as it is"} <= {one.name for one in others}
    before = parse_config(base.text, "base")
    for one in others:
        assert parse_config(one.text, one.name) != before, one.name
    assert not list(tmp_path.iterdir())


def test_the_gain_is_over_the_base_on_the_same_clips(script: ModuleType) -> None:
    pairs = [Pair(Clip(Path(name), talker, name, "val"), None) for talker, name in (("a", "1"), ("a", "2"), ("b", "3"))]
    plan = Plan(tuple(Model(Path("w"), "call", "0", name) for name in ("base", "other")), temperatures=(0.0,))
    values = {("base", False): (1.0, 2.0, 3.0), ("other", False): (1.5, 2.7, None)}
    scores = [
        [
            {"psnr": values[c.system, c.other_audio][i]} if (c.system, c.other_audio) in values else None
            for _, c in plan.rows
        ]
        for i in range(3)
    ]
    row = {"system": "other", "temperature": 0.0, "audio": "own", "talker": "a"}
    assert script.gain(row, "psnr", pairs, plan, scores).value == pytest.approx(0.6)
    assert script.gain({**row, "talker": "all"}, "psnr", pairs, plan, scores).value == pytest.approx(0.6)
    assert script.gain({**row, "talker": "b"}, "psnr", pairs, plan, scores).value is None
