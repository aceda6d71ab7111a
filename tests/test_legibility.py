"""The lip reader, the words read off drawn lips, and the puppet that loudness moves."""

from __future__ import annotations

import json
from pathlib import Path

import heads
import numpy as np
import pytest
from sounds import speech
from typer.testing import CliRunner

from streamhead.cli.app import app
from streamhead.errors import CheckpointError, DataError
from streamhead.evaluation.evaluate import Scorer
from streamhead.evaluation.legibility import REAL, summarise
from streamhead.evaluation.lip_reader import CHANCE, SLOTS, Sentence, learn, load_reader, read_words, sentence_of
from streamhead.evaluation.plan import PUPPET, STILL, Model, Pair, Plan, choose_clips
from streamhead.evaluation.protocols import STANDARD
from streamhead.evaluation.puppet import loudness
from streamhead.evaluation.sync import find_landmarks, mouth_opening
from streamhead.face.align import MOUTH
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import shipped_weights
from streamhead.timebase import FPS, HOP
from streamhead.training.batches import Clip

FRAMES = 36


def _clip(root: Path, name: str, seed: int) -> dict[str, object]:
    """A clip whose mouth shows which word is said: a dark bar, the further down the later in the slot's list."""
    rng = np.random.default_rng(seed)
    frames = np.full((FRAMES, 128, 128, 3), 140, np.uint8)
    words = []
    for place, slot in enumerate(SLOTS):
        index = int(rng.integers(min(len(slot), 4)))
        start = 3 + 5 * place
        top = MOUTH[0].start + 4 + 10 * index
        frames[start : start + 5, top : top + 8, 45:83] = 40
        words.append((start / FPS, (start + 5) / FPS, slot[index]))
    folder = root / "a" / name
    folder.mkdir(parents=True)
    np.save(folder / "frames.npy", frames)
    np.save(folder / "audio.npy", np.zeros(FRAMES * HOP, np.float32))
    np.save(folder / "speech.npy", np.ones(FRAMES, bool))
    return {"talker": "a", "name": name, "path": f"a/{name}", "frames": FRAMES, "words": words}


@pytest.fixture(scope="module")
def grid_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("legible")
    splits = ["train"] * 32 + ["val"] * 4 + ["test"] * 4
    rows = [{**_clip(root, f"{i:02d}", i), "split": split} for i, split in enumerate(splits)]
    rows.append({**rows[-1], "name": "unspoken", "words": []})
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def _sentences(prepared: Path, split: str) -> list[Sentence]:
    clips = [pair.clip for pair in choose_clips(prepared, split)]
    return [one for clip in clips if (one := sentence_of(clip)) is not None]


def test_sentences(grid_like: Path) -> None:
    clips = {pair.clip.name: pair.clip for pair in choose_clips(grid_like, "test")}
    assert sentence_of(clips["unspoken"]) is None
    sentence = sentence_of(clips["36"])
    assert sentence is not None and sentence.mouths.shape == (FRAMES, 24, 34)
    assert [SLOTS[slot][word] for slot, word in enumerate(sentence.words)] == [word for _, _, word in clips["36"].words]
    np.testing.assert_allclose(sentence.spans[0], (3, 8))
    assert pytest.approx((4 * 0.25 + 0.04 + 0.1) / 6) == CHANCE


@pytest.mark.slow
def test_it_reads_what_lips_say_and_not_what_they_do_not(grid_like: Path, tmp_path: Path) -> None:
    train, val, test = (_sentences(grid_like, split) for split in ("train", "val", "test"))
    path = learn(tmp_path / "reader", train, val, epochs=25, blur=False)
    reader, facts = load_reader(path)
    assert float(facts["accuracy"]) > 0.7
    assert read_words(reader, test).mean() > 0.7
    stills = [Sentence(np.repeat(one.mouths[:1], FRAMES, axis=0), one.spans, one.words) for one in test]
    assert read_words(reader, stills).mean() < 0.5  # these clips' slots have four words
    with pytest.raises(DataError, match="needs 16 training sentences"):
        learn(tmp_path / "few", train[:3], val)
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="learn one anew"):
        load_reader(path)


@pytest.mark.slow
def test_learning_that_was_stopped_goes_on_to_the_same_weights(grid_like: Path, tmp_path: Path) -> None:
    train, val = (_sentences(grid_like, split) for split in ("train", "val"))
    whole = load_reader(learn(tmp_path / "whole", train, val, epochs=3))[0]

    def stop(done: int, total: int, accuracy: float) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "parts", train, val, epochs=3, progress=stop)
    parts = load_reader(learn(tmp_path / "parts", train, val, epochs=3))[0]
    for name, tensor in whole.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), parts.state_dict()[name].numpy(), err_msg=name)


def test_the_score_is_between_chance_and_real(grid_like: Path) -> None:
    pairs = choose_clips(grid_like, "test")[:2]
    all_right, half = np.ones(6, bool), np.arange(6) < 3
    readings = [{REAL.label: all_right, STILL.label: half}, None]
    real, still = summarise(pairs, Plan(), readings)
    assert (real["share"], real["score"]) == (1.0, 1.0) and real["clips"] == 1
    assert still["score"] == pytest.approx((0.5 - CHANCE) / (1 - CHANCE))
    assert (still["command"], still["adverb"]) == (1.0, 0.0)
    with pytest.raises(DataError, match="no clip is a GRID sentence"):
        summarise(pairs, Plan(), [None, None])


@pytest.mark.slow
def test_the_command(grid_like: Path, tmp_path: Path) -> None:
    weights = f"mine={heads.weights('call')}"
    arguments = ["legibility", str(grid_like), "--out", str(tmp_path), "--system", weights, "--temperature", "0"]
    arguments += ["--epochs", "2", "--clips", "2"]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    rows = json.loads((tmp_path / "legibility.json").read_text())
    assert [row["row"] for row in rows][:2] == ["real clip", "mine, T 0"]
    lips = sorted((tmp_path / "lips").iterdir())
    times = [path.stat().st_mtime_ns for path in lips]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and json.loads((tmp_path / "legibility.json").read_text()) == rows
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "lips").iterdir())] == times
    (tmp_path / "reader" / "reader.safetensors").write_bytes(b"")
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_loudness() -> None:
    sound = np.zeros(75 * HOP, np.float32)
    sound[20 * HOP : 50 * HOP] = speech(30 / FPS, 16000)
    loud = loudness(sound)
    assert loud.shape == (75,) and not loud[:18].any() and not loud[60:].any() and 0.5 < loud[20:50].max() < 5
    quieter = loudness(sound / 10)
    both = (quieter > 0) & (loud > 0)
    assert both.sum() > 10
    np.testing.assert_allclose(quieter[both], loud[both], rtol=0.2)  # the clip's own level is the measure


def test_the_puppet_opens_as_the_voice_is_loud(tmp_path: Path) -> None:
    square = Portrait.default().square()
    folder = tmp_path / "clip"
    folder.mkdir()
    np.save(folder / "frames.npy", np.repeat(square[None], 50, axis=0))
    sound = np.zeros(50 * HOP, np.float32)
    sound[20 * HOP :] = speech(30 / FPS, 16000)
    np.save(folder / "audio.npy", sound)
    clip = Clip(folder, "a", "clip", "test")
    plan = Plan((Model.of(shipped_weights("call")),), puppet=True)
    assert PUPPET in plan.conditions and plan.facts(STANDARD, PUPPET)["preset"] == "call"
    with Scorer(plan) as scorer:
        drawn = scorer.draw(Pair(clip, None), PUPPET)
        assert drawn is not None and drawn.shape == (50, 128, 128, 3)
        opening = mouth_opening(find_landmarks(drawn, scorer.finder))
    assert np.corrcoef(opening, np.minimum(loudness(sound), 1.5))[0, 1] > 0.8
    assert (drawn[:18] == drawn[0]).all()  # silence: shut, and nothing else moves
    with pytest.raises(DataError, match="--puppet"):
        Plan(puppet=True)
