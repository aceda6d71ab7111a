"""A session: however its sound is cut, the same frames; look-ahead kept; interrupt, flush, snapshots."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heads import head, square
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import until
from sounds import speech

from streamhead.errors import AudioError, CheckpointError
from streamhead.face.portrait import Portrait
from streamhead.model.config import PRESETS
from streamhead.output.frame import Frame
from streamhead.stream.easel import LocalEasel
from streamhead.stream.session import Session, _Turn
from streamhead.stream.talking_head import TalkingHead
from streamhead.timebase import HOP


def _session(name: str = "call", seed: int = 3, **options: object) -> Session:
    return head(name).session(seed, view="face", **options)  # type: ignore[arg-type]


def _feed(session: Session, sound: np.ndarray, rate: int, cuts: list[int]) -> list[Frame]:
    out: list[Frame] = []
    place = index = 0
    while place < len(sound):
        step = cuts[index % len(cuts)]
        session.push(sound[place : place + step], rate)
        out.extend(session.frames())
        place, index = place + step, index + 1
    session.flush()
    out.extend(session.frames())
    return out


def _same(one: list[Frame], two: list[Frame]) -> None:
    assert [f.pts for f in one] == [f.pts for f in two] == [HOP * t for t in range(len(one))]
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.image, b.image), a.pts
        assert np.array_equal(a.audio, b.audio), a.pts
        assert a.speech == b.speech


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=6, deadline=None)
@given(data=st.data(), rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]))
def test_any_chunking_gives_the_same_bits(name: str, data: st.DataObject, rate: int) -> None:
    sound = speech(1.2, rate)
    cuts = data.draw(st.lists(st.integers(1, rate), min_size=1, max_size=12))
    if max(cuts) < 50:
        cuts.append(rate // 3)
    offline = list(head(name).render(sound, rate, seed=3, view="face"))
    assert len(offline) == 30
    assert len({frame.image.tobytes() for frame in offline}) > 15
    _same(offline, _feed(_session(name), sound, rate, cuts))


def test_single_samples() -> None:
    sound = speech(0.4, 16000)
    _same(list(head().render(sound, 16000, seed=3, view="face")), _feed(_session(), sound, 16000, [1]))


@pytest.mark.parametrize("name", PRESETS)
def test_no_frame_hears_beyond_its_look_ahead(name: str) -> None:
    session = _session(name)
    ahead = session.look_ahead
    sound = speech(1.6, 16000)
    before = _feed(_session(name), sound, 16000, [640])
    t = 12
    for changed in (HOP * (t + 1 + ahead), HOP * (t + 1 + ahead) - 200):
        other = sound.copy()
        other[changed:] = np.random.default_rng(0).uniform(-0.9, 0.9, len(sound) - changed)
        after = _feed(_session(name), other, 16000, [640])
        for a, b in zip(before[: t + 1], after[: t + 1], strict=True):
            if changed % HOP == 0:
                assert np.array_equal(a.image, b.image), a.pts
    same = all(np.array_equal(a.image, b.image) for a, b in zip(before, after, strict=True))
    assert same is PRESETS[name].deaf
    # ... and it comes as soon as it may: not one sample later.
    live = _session(name)
    live.push(sound[: HOP * (1 + ahead) - 1], 16000)
    assert live.ready == 0
    live.push(sound[HOP * (1 + ahead) - 1 : HOP * (1 + ahead)], 16000)
    assert live.ready == 1


def test_frames_carry_the_callers_own_sound() -> None:
    stereo = np.random.default_rng(1).uniform(-0.5, 0.5, (44100, 2)).astype(np.float32)
    frames = _feed(_session(), stereo, 44100, [777])
    assert len(frames) == 25
    joined = np.concatenate([f.audio for f in frames])
    assert frames[0].sample_rate == 44100 and joined.shape == (44100, 2)
    assert np.array_equal(joined, stereo)


def test_temperature_zero_is_one_take_and_one_is_many() -> None:
    sound = speech(0.8, 16000)

    def take(seed: int, temperature: float) -> np.ndarray:
        return np.stack([f.image for f in head().render(sound, 16000, seed=seed, temperature=temperature, view="face")])

    assert np.array_equal(take(1, 0.0), take(2, 0.0))
    assert np.array_equal(take(1, 1.0), take(1, 1.0))
    assert not np.array_equal(take(1, 1.0), take(2, 1.0))


RESTORE = """
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
from heads import head
session = head(sys.argv[2]).restore(open(sys.argv[3], "rb").read())
rest = np.load(sys.argv[4])
session.push(rest, int(sys.argv[5]))
session.flush()
np.savez(sys.argv[6], *[f.image for f in session.frames()], pts=0)
"""


@pytest.mark.parametrize(("name", "rate"), [("call", 48000), ("call", 44100), ("paper-thin", 22050)])
def test_a_restored_session_goes_on_bit_for_bit_in_another_process(name: str, rate: int, tmp_path: Path) -> None:
    sound = speech(2.0, rate)
    cut = round(0.83 * rate)
    session = _session(name)
    session.push(sound[:cut], rate)
    taken = list(session.frames())
    (tmp_path / "state").write_bytes(session.snapshot())
    assert (tmp_path / "state").stat().st_size < 300_000
    np.save(tmp_path / "rest.npy", sound[cut:])
    files = [str(tmp_path / "state"), str(tmp_path / "rest.npy"), str(rate), str(tmp_path / "out.npz")]
    subprocess.run(
        [sys.executable, "-c", RESTORE, str(Path(__file__).parent), name, *files],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    session.push(sound[cut:], rate)
    session.flush()
    expected = [f.image for f in session.frames()]
    restored = np.load(tmp_path / "out.npz")
    assert len(taken) + len(expected) == 50
    for index, image in enumerate(expected):
        assert np.array_equal(image, restored[f"arr_{index}"]), index


def test_snapshots_are_checked() -> None:
    session = _session()
    session.push(speech(0.3, 16000), 16000)
    data = session.snapshot()
    other = TalkingHead(head().engine, Portrait.from_square(square(1)))
    with pytest.raises(CheckpointError, match="portrait"):
        other.restore(data)
    with pytest.raises(CheckpointError, match="weights"):
        head("paper-thin").restore(data)
    with pytest.raises(CheckpointError, match="no session snapshot"):
        head().restore(b"nonsense")


def test_interrupt_forgets_everything_not_yet_shown() -> None:
    sound = speech(2.0, 16000)
    session = _session()
    session.push(sound, 16000)
    frames = session.frames()
    shown = [next(frames) for _ in range(5)]
    session.interrupt()
    assert session.ready == 0 and not list(session.frames())
    session.push(np.zeros(16000, np.float32), 16000)
    after = list(session.frames())
    assert after[0].pts == shown[-1].pts + HOP
    assert not any(f.audio.any() or f.speech for f in after)


def test_bad_sound_is_refused_and_changes_nothing() -> None:
    session = _session()
    session.push(speech(0.1, 16000), 16000)
    before = session.snapshot()
    for bad in (np.array([0.1, np.nan]), np.array([np.inf]), np.zeros((2, 2, 2)), np.array(["a"])):
        with pytest.raises(AudioError):
            session.push(bad, 16000)
    with pytest.raises(AudioError, match="rate changed"):
        session.push(np.zeros(10), 44100)
    assert session.snapshot() == before
    session.push(np.zeros(0), 16000)
    session.flush()
    with pytest.raises(AudioError, match="flushed"):
        session.push(np.zeros(10), 16000)


def test_many_sessions_are_one_batched_step() -> None:
    engine = head().engine

    sounds = [speech(0.6, 16000, seed) for seed in range(3)]
    alone = [_feed(_session(seed=index), sound, 16000, [640]) for index, sound in enumerate(sounds)]
    sessions = [_session(seed=index) for index in range(3)]
    for session, sound in zip(sessions, sounds, strict=True):
        session.push(sound, 16000)
        session.flush()
    for t in range(15):
        together = engine.advance([_Turn(session) for session in sessions])
        for frame, expected in zip(together, alone, strict=True):
            assert frame is not None and frame.pts == t * HOP
            # Other batch sizes may round differently in the last bit, never more.
            assert np.abs(frame.image.astype(int) - expected[t].image).max() <= 1


async def test_async_iteration_batches_and_ends() -> None:

    sound = speech(0.6, 16000)
    expected = list(head().render(sound, 16000, seed=3, view="face"))

    async def run() -> list[Frame]:
        session = _session()

        async def feed() -> None:
            for start in range(0, len(sound), 320):
                session.push(sound[start : start + 320], 16000)
                await asyncio.sleep(0)
            session.flush()

        feeding = asyncio.create_task(feed())
        out = [frame async for frame in session]
        await feeding
        return out

    for frames in await asyncio.gather(run(), run()):
        assert [f.pts for f in frames] == [f.pts for f in expected]
        assert max(np.abs(a.image.astype(int) - b.image).max() for a, b in zip(frames, expected, strict=True)) <= 1


@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_late_frames_move_the_state_but_draw_nothing(name: str) -> None:
    sound = speech(1.0, 16000)
    expected = list(head(name).render(sound, 16000, seed=3, view="face"))
    session = head(name).session(3, view="face")
    session.push(sound, 16000)
    assert await session.step(session.ready) is None
    for skip, number in ((0, 0), (3, 4), (1, 6)):
        frame = await session.step(skip)
        assert frame is not None and frame.pts == number * HOP
        assert np.array_equal(frame.image, expected[number].image)
        assert np.array_equal(frame.audio, expected[number].audio)


def test_streams_pass_over_as_many_frames_as_each_is_late() -> None:
    sound = speech(1.0, 16000)
    sessions = [_session() for _ in range(3)]
    for session in sessions:
        session.push(sound, 16000)
    expected = list(head().render(sound, 16000, seed=3, view="face"))
    skips = (2, 0, 5)
    together = head().engine.advance([_Turn(session, skip) for session, skip in zip(sessions, skips, strict=True)])
    for frame, skip in zip(together, skips, strict=True):
        assert frame is not None and frame.pts == skip * HOP
        assert np.abs(frame.image.astype(int) - expected[skip].image).max() <= 1


def test_a_head_outlives_the_event_loop_it_was_used_in() -> None:
    own = _session()
    own.push(speech(0.4, 16000), 16000)

    async def leave() -> None:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
        await own.step()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(leave())  # the engine may still be at work on the frame
    other = _session()
    other.push(speech(0.4, 16000), 16000)
    frame = asyncio.run(asyncio.wait_for(other.step(), 10))
    assert frame is not None and frame.pts == 0


async def test_while_nothing_is_ordered_the_next_background_is_made() -> None:
    sound, size = speech(0.6, 16000), (64, 36)
    expected = list(head().render(sound, 16000, seed=3, size=size))
    session = head().session(3, size=size)
    session.push(sound, 16000)
    easel = session._easel
    assert isinstance(easel, LocalEasel)
    for number in range(8):
        pose = session._life.pose(number, session._progress.life)
        frame = await session.step()
        assert frame is not None and np.array_equal(frame.image, expected[number].image)
        await until(lambda: easel._compositor._ready is not None)
        assert easel._compositor._ready.pose == session._life.pose(number + 1, session._progress.life) != pose
