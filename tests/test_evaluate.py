"""Scoring end to end on a drawn face whose mouth is known, and on a clip of GRID."""

# ruff: noqa: F811 - fixtures are asked for by the names they are imported under
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clips import FRAMES, prepared, weights  # noqa: F401
from PIL import Image

from streamhead.errors import DataError
from streamhead.evaluation import tables
from streamhead.evaluation.evaluate import Scorer, Scores, evaluate
from streamhead.evaluation.figures import busiest, save, strip
from streamhead.evaluation.generate import generate, head_of, take_seed
from streamhead.evaluation.plan import REENCODED, STILL, Condition, Model, Pair, Plan, choose_clips
from streamhead.evaluation.protocols import ATVGNET, STANDARD, SVG, Protocol


def test_the_choice_of_clips(prepared: Path) -> None:
    pairs = choose_clips(prepared, "test")
    names = [(pair.clip.talker, pair.clip.name, pair.other and pair.other.name) for pair in pairs]
    assert names == [("a", "one", "two"), ("a", "two", "one"), ("b", "one", None)]
    assert [pair.clip.talker for pair in choose_clips(prepared, "test", talkers=["b"])] == ["b"]
    assert len(choose_clips(prepared, "test", limit=2)) == 2
    few = choose_clips(prepared, "test", per_talker=1, seed=3)
    assert [pair.clip.talker for pair in few] == ["a", "b"]
    assert few[0].other is not None  # the other clip need not be among those scored
    with pytest.raises(DataError, match="no clip of split 'val'"):
        choose_clips(prepared, "val")
    with pytest.raises(DataError, match="no clip of c in split 'test'"):
        choose_clips(prepared, "test", talkers=["c"])


def test_the_other_clip_shares_no_words_by_being_next(tmp_path: Path) -> None:
    rows = [{"talker": "a", "name": f"{i:02d}", "split": "test", "path": f"a/{i:02d}"} for i in range(7)]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    others = [int(pair.other.name) for pair in choose_clips(tmp_path, "test") if pair.other]
    assert others == [3, 4, 5, 6, 0, 1, 2]


def test_the_still_row(prepared: Path) -> None:
    pair = choose_clips(prepared, "test")[0]
    with Scorer(Plan()) as scorer:
        scores, reencoded = scorer.score(pair)
    assert scores is not None and reencoded is not None
    frames = np.asarray(pair.clip.frames, np.float64) / 255
    expected = np.mean([-10 * np.log10(np.mean((frame - frames[0]) ** 2)) for frame in frames[1:]])
    assert scores["psnr"] == pytest.approx(expected)
    assert scores["correlation"] == 0.0 and scores["lag"] is None and scores["faceless_frames"] == 0
    assert scores["std_ratio"] == pytest.approx(0.0, abs=1e-9)
    assert scores["eye_psnr"] == 100.0 and scores["blinks"] == 0.0
    assert reencoded["correlation"] is not None and reencoded["correlation"] > 0.9 and reencoded["lag"] == 0
    assert reencoded["psnr"] is not None and scores["psnr"] < reencoded["psnr"] < 100.0
    assert reencoded["lmd"] is not None and scores["lmd"] is not None and reencoded["lmd"] < 0.5 * scores["lmd"]


def test_a_system_that_is_right_and_one_that_lags(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = choose_clips(prepared, "test")[0]
    real = np.asarray(pair.clip.frames)

    def score(frames: np.ndarray) -> dict[str, float | None]:
        plan = Plan((Model(Path("none"), "call", "0"),), temperatures=(0.0,))
        monkeypatch.setattr(Scorer, "draw", lambda self, pair, condition: frames)
        with Scorer(plan) as scorer:
            scores = scorer.score(pair)[0]
        assert scores is not None
        return scores

    perfect = score(real)
    assert perfect["correlation"] == pytest.approx(1.0) and perfect["lag"] == 0 and perfect["psnr"] == 100.0
    late = score(np.roll(real, 1, axis=0))
    assert late["lag"] == 1
    assert late["correlation"] is not None and late["correlation"] < 0.7


def test_generated_frames_are_the_products(prepared: Path, weights: Path) -> None:
    one, two, _ = choose_clips(prepared, "test")
    plan = Plan((Model.of(weights),))
    with Scorer(plan) as scorer:
        own, at_one, other, other_at_one, still, _ = (scorer.draw(one, condition) for condition in plan.conditions)
        head = head_of(scorer.engine(Model.of(weights)), one.clip)
        again = generate(head, one.clip, one.clip, seed=0, temperature=1.0)
        second = generate(head, one.clip, one.clip, seed=1, temperature=1.0)
        heard = generate(head, one.clip, two.clip, seed=0, temperature=0.0)
        alone = scorer.draw(Pair(one.clip, None), plan.conditions[2])
    assert own is not None and at_one is not None and other is not None and other_at_one is not None
    assert own.shape == (FRAMES, 128, 128, 3) and own.dtype == np.uint8
    assert np.array_equal(again, at_one) and not np.array_equal(again, second)
    assert np.array_equal(heard, other) and not np.array_equal(heard, own)
    assert still is not None and np.array_equal(still[-1], one.clip.frames[0])
    assert alone is None
    assert take_seed(0, one.clip) != take_seed(0, two.clip)


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows that are scored from now on, not taken from a cache."""
    scored: list[str] = []
    real = Scorer._score

    def counted(self: Scorer, pair: Pair, protocol: Protocol, condition: Condition) -> Scores | None:
        scored.append(condition.label)
        return real(self, pair, protocol, condition)

    monkeypatch.setattr(Scorer, "_score", counted)
    return scored


def test_scores_are_cached_by_weights_clip_and_settings(
    prepared: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = choose_clips(prepared, "test", talkers=["b"])
    plan = Plan()
    scored = _counted(monkeypatch)
    first = evaluate(pairs, plan, cache=tmp_path)
    assert scored == [STILL.label, REENCODED.label]
    assert evaluate(pairs, plan, cache=tmp_path) == first and len(scored) == 2
    evaluate(pairs, replace(plan, seed=1), cache=tmp_path)
    assert len(scored) == 4
    scored.clear()
    more = evaluate(pairs, replace(plan, systems=(Model.of(weights, name="new"),), temperatures=(0.0,)), cache=tmp_path)
    assert scored == ["new, T 0", "new, T 0, another clip's audio"]  # the controls are known already
    assert more[0][2:] == first[0]
    assert not list(tmp_path.glob("*.new"))


def test_protocols_share_what_was_drawn(prepared: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = choose_clips(prepared, "test", talkers=["b"])
    plan = Plan((Model.of(weights),), temperatures=(0.0,), protocols=(STANDARD, SVG, ATVGNET))
    drawn: list[str] = []
    real = Scorer.draw

    def counted(self: Scorer, pair: Pair, condition: Condition) -> np.ndarray | None:
        drawn.append(condition.label)
        return real(self, pair, condition)

    monkeypatch.setattr(Scorer, "draw", counted)
    together = evaluate(pairs, plan)
    assert drawn == [condition.label for condition in plan.conditions]
    apart = [evaluate(pairs, replace(plan, protocols=(protocol,)))[0] for protocol in plan.protocols]
    assert together[0] == [scores for table in apart for scores in table]
    rows = tables.summarise(pairs, plan, together)
    assert [row["protocol"] for row in rows] == ["standard"] * 3 + ["svg"] * 3 + ["atvgnet"] * 3
    assert len({row["psnr"] for row in rows if row["system"] == "call"}) == 3
    assert "## b, svg" in tables.markdown(rows, plan)


@pytest.mark.slow
def test_processes_change_nothing(prepared: Path, weights: Path) -> None:
    pairs = choose_clips(prepared, "test")[1:]
    plan = Plan((Model.of(weights),), temperatures=(1.0,))
    threads = torch.get_num_threads()
    seen: list[tuple[int, int]] = []
    alone = evaluate(pairs, plan, progress=lambda *counts: seen.append(counts))
    assert seen == [(0, 2), (1, 2), (2, 2)] and torch.get_num_threads() == threads
    assert evaluate(pairs, plan, jobs=2) == alone
    assert alone[1][1] is None and alone[0][1] is not None


def test_a_damaged_clip_is_named(prepared: Path) -> None:
    pair = choose_clips(prepared, "test")[0]
    gone = replace(pair.clip, folder=prepared / "gone")
    with pytest.raises(DataError, match="gone cannot be read"):
        evaluate([Pair(gone, None)], Plan())


def test_strips(tmp_path: Path) -> None:
    speech = np.zeros(75, bool)
    speech[20:60] = True
    index = busiest(speech)
    assert len(index) == 12 and (np.diff(index) == 3).all() and index[0] >= 20 and index[-1] < 60
    assert list(busiest(np.ones(5, bool))) == [0, 3]
    real = np.arange(75, dtype=np.uint8)[:, None, None, None] * np.ones((1, 128, 128, 3), np.uint8)
    save(tmp_path / "deep" / "strip.png", strip({"real": real, "call, T 0": 255 - real}, index))
    picture = np.asarray(Image.open(tmp_path / "deep" / "strip.png"))
    body = picture[picture.shape[0] - 256 :, picture.shape[1] - 12 * 128 :]
    for column, t in enumerate(index):
        assert (body[:128, column * 128 : (column + 1) * 128] == t).all()
        assert (body[128:, column * 128 : (column + 1) * 128] == 255 - t).all()


def test_a_clip_of_grid(grid: Path, tmp_path: Path) -> None:
    from streamhead.training.datasets.grid import find_clips
    from streamhead.training.prepare import prepare

    clip = next(clip for clip in find_clips(grid, {}) if clip.talker == "s4")
    prepare([replace(clip, split="test")], tmp_path)
    (pair,) = choose_clips(tmp_path, "test")
    with Scorer(Plan()) as scorer:
        scores, reencoded = scorer.score(pair)
    assert scores is not None and scores["faceless_frames"] == 0
    assert reencoded is not None and reencoded["correlation"] is not None and reencoded["correlation"] > 0.8
    assert scores["correlation"] == 0.0
    # A talking head is mostly at rest: doing nothing scores well, but not at the mouth.
    for measure, low, high in (("ssim", 0.75, 0.97), ("psnr", 24, 36), ("mouth_psnr", 24, 36)):
        value = scores[measure]
        assert value is not None and low < value < high, measure
