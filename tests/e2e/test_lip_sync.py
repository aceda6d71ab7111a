"""The shipped weights and face: lips meet where they must, and part where they must, whatever was heard before."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

import streamhead
from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono, resample
from streamhead.evaluation.sync import find_landmarks, mouth_opening
from streamhead.face.landmarks import LandmarkFinder
from streamhead.stream.talking_head import TalkingHead
from streamhead.timebase import FPS, HOP, SAMPLE_RATE

# Milliseconds, as flite times the sentences of scripts/make_default_speech.py (its option -psdur).
SHUT: Final = """
1015-1059 1402-1482 1704-1783 2397-2453 3085-3153 3153-3238 3801-3859 5138-5226 5336-5423 5838-5944 6074-6195 6257-6351
6673-6746 7114-7178 7299-7444 8666-8736 8935-9037
"""
"""p, b and m."""
OPEN: Final = """
677-913 1059-1237 1554-1704 1954-2072 2273-2331 2652-2778 2994-3085 3238-3361 5226-5336 5548-5734 5944-6074 6351-6522
6934-7114 7444-7683 7856-8005 8191-8404 8404-8535 8535-8666 8792-8935
"""
"""Open vowels and diphthongs."""
SHIFTS: Final = (-6, -5, -4, -3, 3, 4, 5, 6)
"""Frames: so much too early or too late, lips would be right by chance alone."""

Sound = NDArray[np.float32]


@cache
def _head() -> TalkingHead:
    return streamhead.load(device="cpu")


def _sound(path: Path) -> Sound:
    """Whole hops of a file's sound."""
    samples, rate = load_audio(path)
    sound = resample(as_float_mono(samples), rate)
    return sound[: len(sound) // HOP * HOP]


def _drawn(sound: Sound, last: int) -> NDArray[np.float64]:
    """How far the lips are apart in the last so many frames."""
    frames = list(_head().render(sound, SAMPLE_RATE, seed=0, temperature=0.0, view="face"))[-last:]
    with LandmarkFinder() as finder:
        return mouth_opening(find_landmarks(np.stack([frame.image for frame in frames]), finder))


@pytest.fixture(scope="module")
def opening() -> NDArray[np.float64]:
    speech = _sound(default_speech())
    found = _drawn(speech, len(speech) // HOP)
    low, high = np.quantile(found, [0.05, 0.95])
    return np.asarray((found - low) / (high - low))


def _parts(opening: NDArray[np.float64], spans: str) -> list[NDArray[np.float64]]:
    """The opening within each span and half a frame on either side."""
    edges = [[int(edge) * FPS / 1000 for edge in span.split("-")] for span in spans.split()]
    return [opening[round(start - 0.5) : round(end + 0.5) + 1] for start, end in edges]


def _apart(opening: NDArray[np.float64], spans: str) -> float:
    return float(np.mean([part.mean() for part in _parts(opening, spans)]))


def test_lips_meet_on_p_b_and_m(opening: NDArray[np.float64]) -> None:
    least = [part.min() for part in _parts(opening, SHUT)]
    assert np.mean(least) <= 0.2
    assert np.mean([value < 0.25 for value in least]) >= 0.7


def test_lips_part_on_open_vowels_in_all_words(opening: NDArray[np.float64]) -> None:
    assert np.mean([part.max() > 0.5 for part in _parts(opening, OPEN)]) >= 0.75


def test_lips_do_it_in_time(opening: NDArray[np.float64]) -> None:
    at_0, *others = (
        _apart(shifted, OPEN) - _apart(shifted, SHUT) for shifted in (np.roll(opening, by) for by in (0, *SHIFTS))
    )
    assert at_0 >= 0.15
    assert max(others) <= 0.3 * at_0


def _as_if_alone(before: Sound, sound: Sound) -> tuple[float, float]:
    """Correlation with what the same sound does when nothing was heard before, and how far lips move against that."""
    frames = len(sound) // HOP
    alone, after = _drawn(sound, frames), _drawn(np.concatenate([before, sound]), frames)
    return float(np.corrcoef(alone, after)[0, 1]), float(after.std() / alone.std())


def _voices() -> list[Sound]:
    """The default speech's second sentence as it is, lower and higher."""
    sentence = _sound(default_speech())[5 * SAMPLE_RATE :]
    lower, higher = (resample(sentence, SAMPLE_RATE, round(SAMPLE_RATE * factor)) for factor in (1.15, 0.87))
    return [voice[: len(voice) // HOP * HOP] for voice in (sentence, lower, higher)]


def test_lips_go_on_after_other_voices() -> None:
    sentence, lower, higher = _voices()
    rolled = [np.roll(voice, i * SAMPLE_RATE) for i, voice in enumerate((sentence, lower, higher))]
    crowd = np.mean([np.resize(voice, 5 * SAMPLE_RATE) for voice in rolled], axis=0, dtype=np.float32)
    together, movement = _as_if_alone(np.concatenate([sentence, lower, higher, sentence, crowd, lower]), sentence)
    assert together > 0.8
    assert movement > 0.75


@pytest.mark.parametrize("before", ["silence", "oneself", "another"])
def test_a_real_talkers_lips_go_on(before: str, grid: Path) -> None:
    own, other = (_sound(grid / name) for name in ("s20/brbk7n.mpg", "s4/bgim8s.mp4"))
    what = {"silence": np.zeros(10 * SAMPLE_RATE, np.float32), "oneself": np.tile(own, 3), "another": np.tile(other, 3)}
    together, movement = _as_if_alone(what[before], own)
    assert together > 0.7
    assert movement > 0.7
