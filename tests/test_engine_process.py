"""The engine in a process of its own draws what the one in this process draws, and ends well."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from heads import head, square, weights
from sounds import speech

from streamhead.errors import CheckpointError, StreamheadError
from streamhead.face.portrait import Portrait
from streamhead.output.frame import Frame
from streamhead.stream.engine_process import EngineProcess
from streamhead.stream.talking_head import TalkingHead

SOUND = speech(0.8, 16000)


@pytest.fixture(scope="module")
def remote() -> Iterator[TalkingHead]:
    head()  # which sets the number of threads
    engine = EngineProcess(weights("call"), "call", "cpu")
    yield TalkingHead(engine, Portrait.from_square(square(0)))
    engine.close()
    assert not engine.alive


@pytest.mark.parametrize("options", [{}, {"size": (64, 36), "badge": True}, {"size": (64, 36), "still": True}])
def test_it_draws_the_same(remote: TalkingHead, options: dict[str, object]) -> None:
    view = "call" if options else "face"
    here, there = (list(one.render(SOUND, 16000, seed=3, view=view, **options)) for one in (head(), remote))
    assert len(here) == len(there) == 20
    for a, b in zip(here, there, strict=True):
        assert a.pts == b.pts and np.array_equal(a.audio, b.audio) and np.array_equal(a.image, b.image)


async def test_streams_wait_for_nobody_else(remote: TalkingHead) -> None:
    expected = list(head().render(SOUND, 16000, seed=3, view="face"))
    sessions = [remote.session(3, view="face") for _ in range(3)]
    for session in sessions:
        session.push(SOUND, 16000)
    skips = (0, 2, 5)
    frames = await asyncio.gather(*(one.step(skip) for one, skip in zip(sessions, skips, strict=True)))
    for frame, skip in zip(frames, skips, strict=True):
        assert frame is not None
        assert np.abs(frame.image.astype(int) - expected[skip].image).max() <= 1


def test_snapshots_pass_between_the_two(remote: TalkingHead) -> None:
    expected = list(head().render(SOUND, 16000, seed=3, view="face"))
    session = remote.session(3, view="face")
    session.push(SOUND, 16000)
    first = [frame.image for _, frame in zip(range(7), session.frames(), strict=False)]
    for owner in (head(), remote):
        rest = owner.restore(session.snapshot())
        rest.flush()
        images = first + [frame.image for frame in rest.frames()]
        assert all(np.array_equal(a, b.image) for a, b in zip(images, expected, strict=True))


def test_who_leaves_a_frame_does_not_stop_it(remote: TalkingHead) -> None:
    session = remote.session(3, view="face")
    session.push(SOUND, 16000)

    async def leave() -> None:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
        await session.step()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(leave())
    end = time.monotonic() + 60
    while session.next_pts != 640 and time.monotonic() < end:
        time.sleep(0.01)
    frame = asyncio.run(session.step())
    assert frame is not None and frame.pts == 640
    assert np.array_equal(frame.image, list(head().render(SOUND, 16000, seed=3, view="face"))[1].image)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no names here")
def test_nothing_stays_of_a_stream_that_is_gone(remote: TalkingHead) -> None:
    session = remote.session(view="face")
    session.push(SOUND, 16000)
    assert next(session.frames()).pts == 0
    memory = session._easel._memory.name  # type: ignore[attr-defined]
    assert memory in os.listdir("/dev/shm")
    del session
    gc.collect()
    assert memory not in os.listdir("/dev/shm")


@pytest.mark.parametrize("owner", [head(), None])
async def test_a_closed_session_shows_nothing_more(remote: TalkingHead, owner: TalkingHead | None) -> None:
    session = (owner or remote).session(3, view="face")
    session.push(SOUND, 16000)
    under_way = asyncio.create_task(session.step())
    await asyncio.sleep(0)
    session.close()
    session.close()
    await asyncio.gather(under_way, return_exceptions=True)
    assert await session.step() is None
    other = (owner or remote).session(3, view="face")
    other.push(SOUND, 16000)
    assert await other.step() is not None


@pytest.mark.parametrize("closed", [0, 1, 2])
async def test_who_hangs_up_with_a_frame_ordered_hangs_up_alone(remote: TalkingHead, closed: int) -> None:
    expected = list(head().render(SOUND, 16000, seed=3, view="face"))
    busy, *sessions = (remote.session(3, view="face") for _ in range(4))
    for session in (busy, *sessions):
        session.push(SOUND, 16000)
    # The others' orders wait for its many steps, and then come in one batch.
    first = asyncio.create_task(busy.step(15))
    turns = [asyncio.create_task(session.step()) for session in sessions]
    await asyncio.sleep(0)
    sessions[closed].close()
    frames = await asyncio.gather(*turns, return_exceptions=True)
    assert await first is not None
    assert isinstance(frames.pop(closed), StreamheadError)
    for frame in frames:
        assert isinstance(frame, Frame)
        assert np.abs(frame.image.astype(int) - expected[0].image).max() <= 1


def test_an_error_over_there_is_told_here(remote: TalkingHead, tmp_path: Path) -> None:
    with pytest.raises(StreamheadError, match="even"):
        remote.session(size=(63, 35))
    with pytest.raises(CheckpointError):
        EngineProcess(tmp_path / "none.safetensors")
    session = remote.session(3, view="face")
    session.push(SOUND, 16000)
    turn_of = session.temperature
    session.temperature = "hot"  # type: ignore[assignment]
    with pytest.raises(Exception, match="str"):
        asyncio.run(session.step())
    session.temperature = turn_of
    assert asyncio.run(session.step()) is not None  # it still draws


async def test_a_process_that_is_killed_leaves_nobody_waiting() -> None:
    engine = EngineProcess(weights("call"), "call", "cpu")
    own = TalkingHead(engine, Portrait.from_square(square(0)))
    session = own.session(view="face")
    session.push(SOUND, 16000)
    assert await session.step() is not None
    os.kill(engine._process.pid or 0, signal.SIGSTOP)
    waiting = asyncio.create_task(session.step())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    os.kill(engine._process.pid or 0, signal.SIGKILL)
    with pytest.raises(StreamheadError, match="has ended"):
        await asyncio.wait_for(waiting, 60)
    await asyncio.to_thread(engine._process.join, 10)  # its pipes close a moment before it is gone
    assert not engine.alive
    with pytest.raises(StreamheadError, match="has ended"):
        own.session(view="face")
    engine.close()
