"""The front end: gate, level, look-ahead; depends on nothing later; its state moves between processes bit for bit."""

from __future__ import annotations

from time import thread_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import speech

from streamhead.audio.features import FeatureSpec, extract, feature_spec, patches
from streamhead.audio.frontend import AudioFrontEnd, FrontEndFrame, FrontEndState, analyse
from streamhead.timebase import HOP, SAMPLE_RATE

SPECS = [feature_spec("log-mel", 0), feature_spec("log-mel", 1), feature_spec("mfcc", 4)]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}-{spec.look_ahead}")


def front_end(spec: FeatureSpec, **options: bool) -> AudioFrontEnd:
    return AudioFrontEnd(spec, **{"normalise": spec.kind == "log-mel", **options})


def run(
    front: AudioFrontEnd, samples: np.ndarray, state: FrontEndState | None = None
) -> tuple[list[FrontEndFrame], FrontEndState]:
    state = state or front.init_state()
    frames = []
    for hop in samples.reshape(-1, HOP):
        frame, state = front.step(hop, state)
        if frame is not None:
            frames.append(frame)
    return frames, state


def same(a: list[FrontEndFrame], b: list[FrontEndFrame]) -> bool:
    return len(a) == len(b) and all(
        x.speech == y.speech and np.array_equal(x.patch, y.patch) for x, y in zip(a, b, strict=True)
    )


@each_spec
def test_a_frame_is_ready_when_its_look_ahead_is_in(spec: FeatureSpec) -> None:
    front = front_end(spec)
    state = front.init_state()
    hop = np.zeros(HOP, np.float32)
    for number in range(8):
        frame, state = front.step(hop, state)
        assert (frame is not None) == (number >= spec.look_ahead)


@each_spec
def test_silence_is_the_patch_of_digital_silence(spec: FeatureSpec) -> None:
    noise = np.random.default_rng(0).standard_normal(50 * HOP).astype(np.float32) * np.float32(1e-3)
    for sound in (np.zeros(50 * HOP, np.float32), noise):
        frames, _ = run(front_end(spec), sound)
        assert not any(frame.speech for frame in frames)
        assert all(np.array_equal(frame.patch, spec.silence_patch()) for frame in frames)
    if spec.kind == "mfcc":
        assert not spec.silence_patch().any()  # the paper's features of zeros
    ungated, _ = run(front_end(spec, gate=False), noise)
    assert not any(np.array_equal(frame.patch, spec.silence_patch()) for frame in ungated[spec.look_ahead + 3 :])


@each_spec
def test_open_patches_are_the_features_untouched_by_the_gate(spec: FeatureSpec) -> None:
    sound = np.concatenate((np.zeros(10 * HOP, np.float32), speech(2.0, SAMPLE_RATE)))
    frames, _ = run(front_end(spec, normalise=False), sound)
    expected = patches(extract(sound, spec), spec, 0, len(frames))
    first = next(t for t, frame in enumerate(frames) if frame.speech)
    for t, frame in enumerate(frames):
        wanted = expected[t] if frame.speech else spec.silence_patch()
        assert np.abs(frame.patch - wanted).max() < 1e-5
    # The rows before the onset pass with the first open frame, and it comes with the onset or before it.
    onset = int(np.flatnonzero(np.abs(sound) > 0.02)[0])
    assert first <= onset // HOP + (spec.look_ahead == 0)
    assert first >= onset // HOP - spec.look_ahead


@each_spec
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_no_frame_hears_beyond_its_look_ahead(spec: FeatureSpec, data: st.DataObject) -> None:
    sound = speech(2.0, SAMPLE_RATE)
    t = data.draw(st.integers(0, 49 - spec.look_ahead))
    edge = HOP * (t + 1 + spec.look_ahead)
    other = sound.copy()
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    other[edge:] = rng.standard_normal(len(sound) - edge) * rng.choice([0.0, 1e-3, 0.3])
    for gate in (True, False):
        front = front_end(spec, gate=gate)
        assert same(run(front, sound)[0][: t + 1], run(front, other)[0][: t + 1])


def test_the_look_ahead_is_used_to_its_end() -> None:
    spec = feature_spec("log-mel", 1)
    front = front_end(spec, gate=False)
    sound = speech(2.0, SAMPLE_RATE)
    other = sound.copy()
    other[HOP * 12 - 40 : HOP * 12] += 0.3
    before, after = run(front, sound)[0], run(front, other)[0]
    assert same(before[:10], after[:10])
    assert not np.array_equal(before[10].patch, after[10].patch)


@each_spec
def test_the_state_moves_bit_for_bit(spec: FeatureSpec) -> None:
    front, sound = front_end(spec), speech(3.0, SAMPLE_RATE)
    whole, end = run(front, sound)
    for cut in (0, 1, 3, 20, 41):
        before, state = run(front, sound[: cut * HOP])
        arrays = {name: array.copy() for name, array in state.to_arrays().items()}
        assert all(array.ndim >= 1 for array in arrays.values())
        assert sum(array.nbytes for array in arrays.values()) < 40_000
        after, last = run(
            AudioFrontEnd(spec, normalise=front.normalise), sound[cut * HOP :], FrontEndState.from_arrays(arrays)
        )
        assert same(before + after, whole)
        assert all(
            np.array_equal(a, b) for a, b in zip(last.to_arrays().values(), end.to_arrays().values(), strict=True)
        )


def test_a_quiet_microphone_ends_up_like_a_normal_one() -> None:
    spec, voice = feature_spec("log-mel", 1), speech(12.0, SAMPLE_RATE)
    front = front_end(spec)
    normal, quiet = (run(front, voice * np.float32(gain))[0] for gain in (1.0, 0.1))
    late = [t for t in range(150, 299) if normal[t].speech and quiet[t].speech]
    assert len(late) > 60
    apart = np.mean([np.abs(normal[t].patch - quiet[t].patch).mean() for t in late])
    assert apart < 0.5  # nepers of power, where 20 dB are 4.6
    raw = front_end(spec, normalise=False)
    apart = np.mean(
        [np.abs(a.patch - b.patch).mean() for a, b in zip(run(raw, voice)[0], run(raw, voice / 10)[0], strict=True)]
    )
    assert apart > 1.0


def test_an_interrupt_forgets_sound_but_not_the_talker() -> None:
    spec = feature_spec("log-mel", 1)
    front = front_end(spec)
    _, state = run(front, speech(3.0, SAMPLE_RATE))
    fresh = front.interrupted(state)
    assert fresh.level == state.level
    assert fresh.vad.noise_db == state.vad.noise_db
    frames, _ = run(front, np.zeros(20 * HOP, np.float32), fresh)
    assert len(frames) == 19
    assert not any(frame.speech for frame in frames)


@pytest.mark.parametrize("look_ahead", [0, 1, 2])
def test_analyse_is_the_live_gate(look_ahead: int) -> None:
    sound = speech(3.0, SAMPLE_RATE)[: 70 * HOP + 123]
    flags = analyse(sound, look_ahead)
    assert flags.shape == (71,)
    padded = np.pad(sound, (0, (71 + look_ahead) * HOP - len(sound)))
    frames, _ = run(front_end(feature_spec("log-mel", look_ahead)), padded)
    assert flags.tolist() == [frame.speech for frame in frames]
    assert flags.any()
    assert not flags.all()
    assert analyse(np.zeros(0, np.float32)).shape == (0,)


@each_spec
def test_a_frame_costs_little(spec: FeatureSpec) -> None:
    front, hops = front_end(spec), speech(3.0, SAMPLE_RATE).reshape(-1, HOP)
    state, times = front.init_state(), []
    for hop in hops:
        began = thread_time()
        _, state = front.step(hop, state)
        times.append(thread_time() - began)
    assert sorted(times)[len(times) // 4] < 0.002
