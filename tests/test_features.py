"""Features: the paper's MFCC against the real package, streamed == vectorised, patches in place, voices changed."""

from __future__ import annotations

from time import thread_time

import numpy as np
import pytest
import python_speech_features
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import speech

from streamhead.audio.features import FeatureExtractor, FeatureSpec, extract, feature_spec, patches
from streamhead.audio.resample import resample
from streamhead.timebase import HOP, SAMPLE_RATE

SPECS = [feature_spec("log-mel", 0), feature_spec("log-mel", 1), feature_spec("log-mel", 2), feature_spec("mfcc", 4)]
MFCC = SPECS[-1]
LOG_MEL = SPECS[1]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{spec.look_ahead}")


def streamed(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Patches of all frames, hop by hop."""
    extractor = FeatureExtractor(spec)
    state = extractor.init_state()
    frames = len(samples) // HOP
    out = []
    for number, hop in enumerate(np.pad(samples, (0, spec.look_ahead * HOP)).reshape(-1, HOP)):
        rows, state = extractor.step(hop, state)
        assert rows.shape == (4, spec.dims)
        if number >= spec.look_ahead:
            out.append(extractor.patch(state))
    assert len(out) == frames
    return np.stack(out)


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * frequency * t)).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_mfcc_are_those_of_python_speech_features(scale: float) -> None:
    samples = speech(3.0, SAMPLE_RATE) * np.float32(scale)
    samples[20_000:24_000] = 0.0
    padded = np.pad(samples.astype(np.float64), 1965)
    # As the paper's authors call it: 16-bit numbers, defaults, c0 dropped.
    expected = python_speech_features.mfcc(padded * 32768, SAMPLE_RATE)[:, 1:]
    rows = extract(samples, MFCC)
    assert rows.shape == expected.shape == (324, 12)
    assert np.abs(rows - expected).max() < 1e-4
    live = streamed(samples, MFCC)
    assert live.shape == (75, 28, 12)
    for t in (0, 1, 37, 74):
        assert np.abs(live[t] - expected[4 * t : 4 * t + 28]).max() < 1e-4


@each_spec
def test_streamed_rows_are_the_vectorised_ones(spec: FeatureSpec) -> None:
    samples = speech(2.0, SAMPLE_RATE)
    rows = extract(samples, spec)
    assert rows.dtype == np.float32
    assert rows.shape == (4 * 49 + spec.rows, spec.dims)
    assert np.abs(streamed(samples, spec) - patches(rows, spec, 0, 50)).max() < 1e-5


@each_spec
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 12), level=st.floats(-90, 0))
def test_streamed_rows_are_the_vectorised_ones_whatever_the_sound(
    spec: FeatureSpec, seed: int, frames: int, level: float
) -> None:
    noise = np.random.default_rng(seed).standard_normal(frames * HOP) * 10 ** (level / 20)
    samples = noise.astype(np.float32)
    assert np.abs(streamed(samples, spec) - patches(extract(samples, spec), spec, 0, frames)).max() < 1e-5


@each_spec
def test_a_patch_covers_the_samples_it_says(spec: FeatureSpec) -> None:
    t, count = 10, 24 * HOP
    margin = 1 if spec.kind == "mfcc" else 0
    first = HOP * t + spec.start + 160 * spec.first_row - margin
    last = first + margin + 160 * (spec.rows - 1) + 400
    assert last <= HOP * (t + 1 + spec.look_ahead)
    base = np.random.default_rng(0).standard_normal(count).astype(np.float32) * np.float32(0.1)
    patch = streamed(base, spec)[t]
    for position, changes in ((first - 1, False), (first + 3, True), (last - 4, True), (last, False)):
        touched = base.copy()
        touched[position] += 0.5
        assert np.array_equal(streamed(touched, spec)[t], patch) is not changes, position
    if spec.kind == "mfcc":
        assert (first + 1, last) == (HOP * t - 1965, HOP * t + 2755)  # PAPER-FACTS.md
    else:
        assert last == HOP * (t + 1 + spec.look_ahead)


@each_spec
def test_digital_silence_is_one_constant_row(spec: FeatureSpec) -> None:
    silence = np.zeros(20 * HOP, np.float32)
    assert np.array_equal(extract(silence, spec), np.tile(spec.silence_row(), (4 * 19 + spec.rows, 1)))
    assert np.array_equal(streamed(silence, spec)[5], spec.silence_patch())
    if spec.kind == "log-mel":
        offset = np.full(20 * HOP, 0.05, np.float32)  # a microphone's constant offset, once it is on
        assert np.abs(extract(offset, spec)[12:-12] - spec.silence_row()).max() < 1e-3


def test_energy_column_is_the_mean_square() -> None:
    rows = extract(tone(1000.0), LOG_MEL)
    assert np.exp(rows[40, -1]) == pytest.approx(0.3**2 / 2, rel=1e-3)
    assert np.exp(rows[40, :-1]).sum() == pytest.approx(0.3**2 / 2, rel=1e-2)


def test_amplify_is_what_louder_sound_gives() -> None:
    samples = speech(2.0, SAMPLE_RATE)
    rows = extract(samples, LOG_MEL)
    for gain_db in (-20.0, 6.0):
        louder = extract(samples * np.float32(10 ** (gain_db / 20)), LOG_MEL)
        assert np.abs(LOG_MEL.amplify(rows, gain_db * np.log(10) / 10) - louder).max() < 1e-3
    silence = LOG_MEL.silence_patch()
    assert np.array_equal(LOG_MEL.amplify(silence, 6.9), silence)
    mfcc = extract(samples, MFCC)
    assert np.array_equal(MFCC.amplify(mfcc, 3.0), mfcc)


@pytest.mark.parametrize("alpha", [0.8, 1.25])
def test_a_pitch_shifted_clip_stays_in_time_with_the_video(alpha: float) -> None:
    # Bursts at known video times; the clip is then played at another speed, as training does to change the voice.
    clip = np.zeros(75 * HOP, np.float32)
    instants = [10, 31, 52, 70]
    for t in instants:
        clip[t * HOP + 160 : t * HOP + 400] = tone(1000.0)[:240]
    shifted = resample(clip, SAMPLE_RATE, round(SAMPLE_RATE * alpha))
    assert extract(shifted, MFCC, tempo=alpha).shape == extract(clip, MFCC).shape
    plain, moved = extract(clip, LOG_MEL), extract(shifted, LOG_MEL, tempo=alpha)
    assert moved.shape == plain.shape
    for t in instants:
        # Row 4t+2 is centred on 640 t + 280, as is the burst; in the array it stands at -first_row.
        near = slice(4 * t + 2 - LOG_MEL.first_row - 4, 4 * t + 2 - LOG_MEL.first_row + 5)
        for rows in (plain, moved):
            energy = np.exp(rows[near, -1])
            assert abs((energy * np.arange(9)).sum() / energy.sum() - 4) < 0.1  # 1 ms


@pytest.mark.parametrize("alpha", [0.8, 1.25])
def test_a_pitch_shifted_clip_has_another_voice(alpha: float) -> None:
    shifted = resample(tone(1000.0), SAMPLE_RATE, round(SAMPLE_RATE * alpha))
    bands = [extract(samples, LOG_MEL)[60, :-1].argmax() for samples in (tone(1000.0), tone(1000.0 / alpha))]
    assert bands[0] != bands[1]
    assert extract(shifted, LOG_MEL, tempo=alpha)[60, :-1].argmax() == bands[1]


@pytest.mark.parametrize("vtln", [0.85, 1.2])
def test_vtln_moves_the_formants(vtln: float) -> None:
    at_1000 = extract(tone(1000.0), LOG_MEL, vtln=vtln)[50, :-1]
    there = extract(tone(1000.0 * vtln), LOG_MEL)[50, :-1]
    assert at_1000.argmax() == there.argmax()
    assert at_1000.argmax() != extract(tone(1000.0), LOG_MEL)[50, :-1].argmax()
    moved = extract(speech(1.0, SAMPLE_RATE), MFCC, vtln=vtln)
    assert np.isfinite(moved).all()
    assert np.abs(moved - extract(speech(1.0, SAMPLE_RATE), MFCC)).mean() > 0.1


@each_spec
@pytest.mark.parametrize("count", [0, 1, 639, 640, 641, 48_000 - 353])
def test_a_clip_has_rows_for_every_frame_it_has_begun(spec: FeatureSpec, count: int) -> None:
    samples = np.full(count, 0.1, np.float32)
    frames = -(-count // HOP)
    rows = extract(samples, spec)
    assert rows.shape[1] == spec.dims
    if frames:
        assert patches(rows, spec, 0, frames).shape == (frames, spec.rows, spec.dims)
        assert np.array_equal(patches(rows, spec, frames - 1, frames)[0], rows[-spec.rows :])
    with pytest.raises(ValueError, match="not within"):
        patches(rows, spec, 0, frames + 1)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 4"):
        feature_spec("mfcc", 1)
    with pytest.raises(ValueError, match="0 or more"):
        feature_spec("log-mel", -1)
    for options in ({"vtln": 3.0}, {"tempo": 0.0}, {"tempo": float("nan")}):
        with pytest.raises(ValueError, match="must lie"):
            extract(tone(500.0), LOG_MEL, **options)


@each_spec
def test_extract_is_fast_enough_to_run_in_training(spec: FeatureSpec) -> None:
    samples = speech(3.0, SAMPLE_RATE)
    times = []
    for _ in range(20):
        began = thread_time()
        extract(samples, spec)
        times.append(thread_time() - began)
    assert min(times) < 0.005
