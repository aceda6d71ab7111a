"""What the tables say of scores, and how sure they are."""

# ruff: noqa: F811 - fixtures are asked for by the names they are imported under
from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from drawn_clips import prepared  # noqa: F401
from rich.console import Console

from streamhead.evaluation import tables
from streamhead.evaluation.evaluate import Scores
from streamhead.evaluation.plan import Model, Plan, choose_clips


def test_estimates_are_deterministic_and_cover() -> None:
    rng = np.random.default_rng(0)
    values = list(rng.normal(5.0, 1.0, 40))
    first = tables.estimate(values, seed=4)
    assert first == tables.estimate(values, seed=4) != tables.estimate(values, seed=5)
    assert first.value == pytest.approx(np.mean(values))
    # The interval of a mean of normals is about 2 standard errors either way.
    error = np.std(values) / np.sqrt(40)
    assert first.low == pytest.approx(np.mean(values) - 1.96 * error, abs=0.3 * error)
    assert first.high == pytest.approx(np.mean(values) + 1.96 * error, abs=0.3 * error)
    assert tables.estimate([0, 0, 1, 9], "median").value == 0.5
    assert tables.estimate([3.0]) == tables.Estimate(3.0) and tables.estimate([]) == tables.Estimate(None)
    hits = 0
    for _ in range(100):
        result = tables.estimate(list(rng.normal(0.0, 1.0, 40)))
        assert result.low is not None and result.high is not None
        hits += result.low < 0 < result.high
    assert 86 <= hits <= 99


def test_tables_keep_talkers_apart_and_say_what_they_are(prepared: Path, tmp_path: Path) -> None:
    pairs = choose_clips(prepared, "test")
    plan = Plan((Model(Path("w"), "call", "abcdef0123456789"),), temperatures=(0.0,), seed=7)
    blank: Scores = {**{measure.key: 0.5 for measure in tables.MEASURES}, "faceless_frames": 0}
    scores: list[list[Scores | None]] = [
        [{**blank, "psnr": 20.0}, {**blank, "psnr": 10.0}, {**blank, "psnr": 15.0, "lag": None}, None],
        [{**blank, "psnr": 30.0}, {**blank, "psnr": 11.0}, {**blank, "psnr": 16.0, "lag": None}, None],
        [{**blank, "psnr": 40.0}, None, {**blank, "psnr": 17.0, "lag": None}, None],
    ]
    rows = tables.summarise(pairs, plan, scores)
    assert [(row["talker"], row["row"], row["clips"], row["psnr"]) for row in rows] == [
        ("a", "call, T 0", 2, 25.0),
        ("a", "call, T 0, another clip's audio", 2, 10.5),
        ("a", "still first frame", 2, 15.5),
        ("b", "call, T 0", 1, 40.0),
        ("b", "still first frame", 1, 17.0),
        ("all", "call, T 0", 3, 30.0),
        ("all", "call, T 0, another clip's audio", 2, 10.5),
        ("all", "still first frame", 3, 16.0),
    ]
    assert rows[2]["lag"] is None and rows[3]["psnr_low"] is None
    tables.write(tmp_path, rows, plan)
    loaded = json.loads((tmp_path / "table.json").read_text())
    assert loaded["rows"] == rows
    assert {"protocol": "standard", "split": "test", "seed": 7, "weights": "abcdef0123456789"}.items() <= rows[
        0
    ].items()
    with (tmp_path / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["psnr"]) for line in lines] == [row["psnr"] for row in rows]
    tex = (tmp_path / "table.tex").read_text()
    assert tex.count(r"\begin{tabular}{lr") == 3 and "25.00 {\\scriptsize [" in tex and tex.count(r"\begin") == 6
    text = (tmp_path / "table.md").read_text()
    console = Console(width=120)
    with console.capture() as capture:
        tables.show(console, rows, plan)
    for shown in (text, capture.get()):
        for part in (
            "25.00",
            "still first frame",
            "split test, protocol standard",
            "call abcdef012345",
            "3 clips",
            "seed 7",
        ):
            assert part in " ".join(shown.split()), part


def test_what_samples_nothing_has_one_row() -> None:
    systems = tuple(Model(Path("w"), preset, "0") for preset in ("deterministic", "paper-thin"))
    own = [condition.label for condition in Plan(systems).conditions if condition.temperature is not None]
    assert [label for label in own if "another" not in label] == [
        "deterministic, T 0",
        "paper-thin, T 0",
        "paper-thin, T 1",
    ]
