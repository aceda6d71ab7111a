"""Evaluation end to end on a drawn face whose mouth is known, and on a clip of GRID."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import heads
import numpy as np
import pytest
import torch
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from streamhead.cli.evaluate import evaluate as evaluate_command
from streamhead.errors import CheckpointError, DataError, OutputError
from streamhead.evaluation import tables
from streamhead.evaluation.evaluate import Scorer, Scores, evaluate
from streamhead.evaluation.figures import busiest, save, strip
from streamhead.evaluation.generate import generate, head_of, take_seed
from streamhead.evaluation.plan import REENCODED, STILL, Condition, Model, Pair, Plan, choose_clips
from streamhead.evaluation.protocols import ATVGNET, STANDARD, SVG, Protocol
from streamhead.face.align import mean_face
from streamhead.timebase import HOP

FRAMES = 12

# mediapipe's points around each part of a face, in drawing order, with a colour.
PARTS: list[tuple[tuple[int, int, int], list[int]]] = [
    (
        (215, 170, 145),
        [
            *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
            *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
        ],
    ),
    ((195, 145, 120), [168, 122, 174, 198, 49, 64, 98, 97, 2, 326, 327, 294, 279, 420, 399, 351]),
    ((70, 45, 30), [70, 63, 105, 66, 107, 55, 65, 52, 53, 46]),
    ((70, 45, 30), [300, 293, 334, 296, 336, 285, 295, 282, 283, 276]),
    ((245, 245, 245), [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7]),
    ((245, 245, 245), [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249]),
    (
        (180, 80, 80),
        [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146],
    ),
    (
        (60, 20, 20),
        [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95],
    ),
]
LOWER_LIP = [14, 17, 84, 181, 91, 314, 405, 321, 87, 178, 88, 95, 317, 402, 318, 324, 146, 375]


def draw_face(gap: float) -> np.ndarray:
    """A face ``(128, 128, 3)`` in the canonical square whose lips are ``gap`` pixels further apart than the mean's."""
    fine = 4
    points = mean_face().copy()
    points[LOWER_LIP, 1] += gap
    picture = np.full((128 * fine, 128 * fine, 3), (150, 165, 180), np.uint8)
    for colour, part in PARTS:
        cv2.fillPoly(picture, [np.rint(points[part] * fine).astype(np.int32)], colour, cv2.LINE_AA)
    for pupil in points[[468, 473]]:
        cv2.circle(picture, [int(v) for v in pupil * fine], 3 * fine, (60, 40, 30), -1, cv2.LINE_AA)
    return cv2.resize(cv2.GaussianBlur(picture, (0, 0), 3), (128, 128), interpolation=cv2.INTER_AREA)


def _write_clip(root: Path, talker: str, name: str, split: str, seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    gaps = np.concatenate([[0.0], rng.uniform(0, 6, FRAMES - 1)])
    folder = root / talker / name
    folder.mkdir(parents=True)
    np.save(folder / "frames.npy", np.stack([draw_face(gap) for gap in gaps]))
    np.save(folder / "landmarks.npy", np.repeat(mean_face()[None], FRAMES, axis=0))
    np.save(folder / "audio.npy", rng.normal(0, 0.1, FRAMES * HOP).astype(np.float32))
    np.save(folder / "speech.npy", np.ones(FRAMES, bool))
    return {"talker": talker, "name": name, "split": split, "frames": FRAMES, "path": f"{talker}/{name}"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two talkers in ``test``: a with two clips, b with one; and one of a's in ``train``."""
    root = tmp_path_factory.mktemp("prepared")
    clips = [("a", "one", "test"), ("a", "two", "test"), ("b", "one", "test"), ("a", "old", "train")]
    rows = [_write_clip(root, *clip, seed) for seed, clip in enumerate(clips)]
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def weights() -> Path:
    """A network that was never trained, but whose output depends on what it hears."""
    return heads.weights("call")


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
    prepared: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_what_samples_nothing_has_one_row() -> None:
    systems = tuple(Model(Path("w"), preset, "0") for preset in ("deterministic", "paper-thin"))
    own = [condition.label for condition in Plan(systems).conditions if condition.temperature is not None]
    assert [label for label in own if "another" not in label] == [
        "deterministic, T 0",
        "paper-thin, T 0",
        "paper-thin, T 1",
    ]


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
    command: typer.Typer, prepared: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
