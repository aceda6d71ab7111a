"""The shipped weights and face: after speech the mouth comes to rest and stays there; no first syllable is lost."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

import streamhead
from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono, resample
from streamhead.face.landmarks import LandmarkFinder
from streamhead.output.frame import Frame
from streamhead.stream.talking_head import TalkingHead
from streamhead.timebase import HOP, SAMPLE_RATE

LOUD_DB = -40.0
CHEEKS = 66
"""Row of the canonical square above which the mouth's gate does nothing."""
GRACE = 0.3
"""Seconds after the end of speech by which the mouth must be at rest, hangover included."""


@cache
def _head() -> TalkingHead:
    return streamhead.load(device="cpu")


@cache
def _sentence() -> NDArray[np.float32]:
    """The default clip's first sentence, from its first to its last loud 10 ms."""
    samples, rate = load_audio(default_speech())
    sound = resample(as_float_mono(samples), rate)
    blocks = sound[: len(sound) // 160 * 160].reshape(-1, 160)
    loud = 10 * np.log10((blocks**2).mean(1) + 1e-12) > LOUD_DB
    on = np.flatnonzero(loud)
    pauses = np.flatnonzero(np.diff(on) > 40)  # longer than 0.4 s
    last = on[pauses[0]] if len(pauses) else on[-1]
    return sound[on[0] * 160 : (last + 1) * 160]


def _openings(frames: list[Frame], upper: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Inner-lip distance over eye distance, found in the pictures, all given the same upper face.

    The landmark finder moves its lip points by some tenths of a pixel when the eyes do, which is no opening.
    """
    out = []
    with LandmarkFinder() as finder:
        for frame in frames:
            image = np.concatenate((upper[:CHEEKS], frame.image[CHEEKS:]))
            (face, *_) = finder.find(np.ascontiguousarray(image.repeat(3, 0).repeat(3, 1)))
            eyes = np.linalg.norm(face[[33, 133]].mean(0) - face[[362, 263]].mean(0))
            out.append(np.linalg.norm(face[13] - face[14]) / eyes)
    return np.array(out)


@pytest.mark.parametrize("noise_db", [None, -60.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mouth_rests_after_speech(noise_db: float | None, seed: int) -> None:
    speech = _sentence()
    tail = np.zeros(10 * SAMPLE_RATE, np.float32)
    if noise_db is not None:
        tail = (10 ** (noise_db / 20) * np.random.default_rng(seed).standard_normal(len(tail))).astype(np.float32)
    frames = list(_head().render(np.concatenate((speech, tail)), SAMPLE_RATE, seed=seed, view="face"))
    resting = list(_head().render(np.zeros(2 * SAMPLE_RATE), SAMPLE_RATE, temperature=0.0, view="face"))
    upper = resting[-1].image
    rest = _openings(resting[-1:], upper)[0]
    spoken = _openings(frames[: len(speech) // HOP], upper)
    first = int(np.ceil((len(speech) + GRACE * SAMPLE_RATE) / HOP))
    quiet = _openings(frames[first:], upper)
    peak = np.percentile(spoken, 95)
    assert peak > rest + 0.05, "the mouth hardly moved: nothing to come to rest from"
    assert np.abs(quiet - rest).max() <= 0.05 * peak
    lips = np.stack([frame.image[78:118, 36:92] for frame in frames[first:]]).astype(int)
    assert np.abs(lips - upper[78:118, 36:92]).max() <= 1
    eyes = np.stack([frame.image[36:64, 26:102] for frame in frames[first:]]).astype(float)
    assert eyes.std(0).mean() > 0.15, "the eyes stopped living"


def test_no_first_syllable_is_lost() -> None:
    speech = _sentence()
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    frames = list(_head().render(np.concatenate((silence, speech)), SAMPLE_RATE, temperature=0.0, view="face"))
    onset = len(silence) // HOP
    opened = next(index for index, frame in enumerate(frames) if frame.speech)
    assert onset - 1 - _head().session().look_ahead <= opened <= onset
