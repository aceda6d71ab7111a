"""``scripts/measure_long_stream.py`` by the shipped weights: stopped and gone on with, it measures the same."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import streamhead
from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono, resample
from streamhead.errors import DataError
from streamhead.timebase import SAMPLE_RATE

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module; it shares functions with its neighbour."""
    pytest.importorskip("dlib")
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec = importlib.util.spec_from_file_location("measure_long_stream", SCRIPTS / "measure_long_stream.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPTS))
    return module


def test_a_slope_is_told_from_noise(script: ModuleType) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 30)
    rows = [{"still": 1 + one, "falling": 1 - 0.01 * t + one} for t, one in enumerate(noise)]
    still, falling = script.Trend.of(rows, "still"), script.Trend.of(rows, "falling")
    assert abs(still.change) < still.margin < 0.03
    assert falling.change == pytest.approx(still.change - 0.29) and falling.change + falling.margin < 0
    assert still.cells(2).endswith("| yes") and falling.cells(2).endswith("| no")


@pytest.mark.slow
def test_a_stream_goes_on_where_it_was(script: ModuleType, tmp_path: Path) -> None:
    samples, rate = load_audio(default_speech())
    sound = np.zeros(5 * SAMPLE_RATE, np.float32)
    sound[: 3 * SAMPLE_RATE] = resample(as_float_mono(samples), rate)[: 3 * SAMPLE_RATE]
    head = streamhead.load(device="cpu")
    straight, broken = script.Work(tmp_path / "a", {"seed": 1}), script.Work(tmp_path / "b", {"seed": 1})
    assert list(script.stream(head, [sound], 3, 1, straight)) == [0, 1, 2, 3]
    assert list(script.stream(head, [sound], 1, 1, broken)) == [0, 1]
    assert list(script.stream(head, [sound], 3, 1, broken)) == [1, 2, 3]
    rows = straight.rows()
    assert rows == broken.rows() and [row["minute"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["faceless"] == 0 and row["identity"] > 0.97 and row["spread"] > 0.01
        assert row["rest"] < 3 and row["moved"] < 0.5 and max(abs(row["x"]), abs(row["y"])) < 3
    assert rows[0] != {**rows[1], "minute": 1}
    facts = {"seed": 1, "weights": head.engine.header.sha256, "sound": "speech"}
    facts |= {"alone": json.loads(straight.alone.read_text("utf-8")), "square": 5, "view": 2}
    assert rows[0]["spread"] > 0.7 * facts["alone"] > 0.01
    rows = [{**row, "beyond": row["blinks"] - n} for row, n in zip(rows, script.living(sound, 3, 1), strict=True)]
    trends = {key: script.Trend.of(rows, key) for key in script.PANELS}
    text = script.markdown(rows, trends, facts, "command")
    assert text.count("| likeness |") == 2 and "| 3 | " in text
    script.draw(rows, trends, straight.picture, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 10_000
    with pytest.raises(DataError, match="another stream"):
        script.Work(tmp_path / "a", {"seed": 2})
