"""The live path at its limits: sinks that stick, machines that sleep, errors, the end; and the real session."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import av
import numpy as np
import pytest
from heads import head
from sounds import speech
from streams import FLOOR, RATE, FakeSession, ScriptedSource, Show, talk
from virtual_time import VirtualTimeLoop, run

from streamhead.audio.microphone import AudioChunk, AudioSource, FileSource
from streamhead.errors import DeviceError
from streamhead.output.frame import Frame
from streamhead.stream.pipeline import BACKLOG, Pipeline, ThreadSink
from streamhead.stream.stats import STAGES
from streamhead.timebase import HOP


def test_a_stuck_sink_leaves_the_source_waiting() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        session, taken = FakeSession(loop), 0

        async def script() -> AsyncGenerator[AudioChunk, None]:
            nonlocal taken
            async for chunk in talk(loop, 100.0):
                taken += 1
                yield chunk
            await asyncio.sleep(1e9)

        async def stuck(frame: Frame) -> None:
            await asyncio.sleep(20.0 if frame.pts else 1e9)

        pipeline = Pipeline(session, ScriptedSource(script), stuck, now=loop.time)
        task = asyncio.create_task(pipeline.run())
        await asyncio.sleep(300.0)
        assert session.most <= BACKLOG
        assert taken <= 2 * BACKLOG + 10
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_a_silent_source_and_a_stuck_sink_do_not_pile_up_silence() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        session = FakeSession(loop)

        async def nothing() -> AsyncGenerator[AudioChunk, None]:
            await asyncio.sleep(1e9)
            yield AudioChunk(np.zeros(0, np.float32), RATE, 0.0)

        async def stuck(frame: Frame) -> None:
            await asyncio.sleep(1e9)

        task = asyncio.create_task(Pipeline(session, ScriptedSource(nothing), stuck, now=loop.time).run())
        await asyncio.sleep(300.0)
        assert session.most <= 2 * BACKLOG
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main)


def test_a_day_asleep_is_not_made_up_for() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async def script() -> AsyncGenerator[AudioChunk, None]:
            async for chunk in talk(loop, 2.0):
                yield chunk
            loop.stall(86_400.0)
            async for chunk in talk(loop, 4.0):
                yield chunk

        session, show = FakeSession(loop), Show(loop)
        pipeline = Pipeline(session, ScriptedSource(script), show, now=loop.time)
        await pipeline.run()
        assert pipeline.stats.silence_s <= 1.2
        assert len(session.sound) <= 8 * RATE
        assert pipeline.stats.delay_now_ms == pytest.approx(FLOOR, abs=1.0)

    run(main)


@pytest.mark.parametrize("culprit", ["source", "sink"])
def test_errors_end_the_run_and_close_everything(culprit: str) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async def script() -> AsyncGenerator[AudioChunk, None]:
            async for chunk in talk(loop, 1.0):
                yield chunk
            if culprit == "source":
                raise DeviceError("the microphone went away")
            async for chunk in talk(loop, 1.0):
                yield chunk

        async def sink(frame: Frame) -> None:
            if culprit == "sink" and frame.pts > 30 * HOP:
                raise DeviceError("the camera went away")

        source = ScriptedSource(script)
        with pytest.raises(DeviceError, match="went away"):
            await Pipeline(FakeSession(loop), source, sink, now=loop.time).run()
        assert not source.open
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_cancelling_leaves_nothing_behind() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        for seconds in (0.0, 0.01, 0.3, 1.0, 1.017, 1.033):
            source = ScriptedSource(lambda: talk(loop, 100.0))
            task = asyncio.create_task(Pipeline(FakeSession(loop), source, Show(loop), now=loop.time).run())
            await asyncio.sleep(seconds)
            before = loop.time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.time() - before < 0.05
            assert not source.open
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


async def test_thread_sink_blocks_one_thread_of_its_own_and_leaving_waits_for_it() -> None:
    threads, done, free = set(), [], threading.Event()

    def send(frame: Frame) -> None:
        threads.add(threading.current_thread())
        free.wait(10)
        done.append(frame.pts)

    frame = Frame(np.zeros((2, 2, 3), np.uint8), 7, np.zeros(0, np.float32), RATE, True)
    with ThreadSink(send) as sink:
        task = asyncio.create_task(sink(frame))
        for _ in range(3):
            await asyncio.sleep(0.01)  # the loop goes on
        assert not done
        task.cancel()
        free.set()
    assert done == [7]
    assert threading.main_thread() not in threads
    assert len(threads) == 1
    assert not next(iter(threads)).is_alive()


async def test_the_real_session_live_draws_what_it_renders(tmp_path: Path) -> None:
    sound = speech(1.6, 48000)
    path = tmp_path / "speech.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=48000, layout="mono")
        piece = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        piece.sample_rate = 48000
        out.mux(stream.encode(piece))
    offline = list(head().render(sound, 48000, seed=5, view="face"))
    shown: list[Frame] = []

    async def sink(frame: Frame) -> None:
        shown.append(frame)

    source: AudioSource = FileSource(path, loop=False)
    pipeline = Pipeline(head().session(5, view="face"), source, sink, exact=True)
    await pipeline.run()
    stats = pipeline.stats
    assert stats.frames == len(shown)
    if not stats.silence_s:  # a machine that stands still for long lets silence in
        assert len(shown) + stats.late_frames == len(offline) == 40
        for frame in shown:
            expected = offline[frame.pts // HOP]
            assert np.array_equal(frame.image, expected.image)
            assert np.array_equal(frame.audio, expected.audio)
    assert stats.delay_ms.p50 > 80.0
    assert sum(stats.stages_ms[name].mean for name in STAGES) == pytest.approx(stats.delay_ms.mean, abs=0.1)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_what_goes_before_a_voice_is_what_its_resampler_needs(rate: int) -> None:
    """With it, a frame is ready as soon as the blocks that make up its sound and look-ahead are in."""

    async def never() -> AsyncGenerator[AudioChunk, None]:
        yield AudioChunk(np.zeros(0, np.float32), rate, 0.0)

    async def nowhere(frame: Frame) -> None: ...

    session = head().session(0, view="face")
    source = ScriptedSource(never)
    source.sample_rate = rate
    pipeline = Pipeline(session, source, nowhere)
    block = rate // 50
    pipeline._hear(AudioChunk(np.zeros(block, np.float32), rate, pipeline._now()))
    for number in range(1, 12):
        assert session.ready == max(0, number // 2 - session.look_ahead), number
        pipeline._extend(np.zeros(block, np.float32), pipeline._now())
