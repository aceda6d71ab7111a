"""The live path, in virtual time with a fake session and scripted sources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest
from heads import head
from numpy.typing import ArrayLike
from streams import FLOOR, LAG, RATE, FakeSession, ScriptedSource, Show, talk
from virtual_time import VirtualTimeLoop, run

from streamhead.audio.microphone import AudioChunk, PushSource
from streamhead.stream.pipeline import LiveSession, Pipeline
from streamhead.stream.session import Session
from streamhead.stream.stats import STAGES
from streamhead.timebase import FPS, HOP


def test_the_real_session_fits() -> None:
    session: LiveSession = head().session(view="face")
    assert isinstance(session, Session)


def test_steady_sound_gives_25_frames_a_second_at_the_floor_of_delay() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        session, show = FakeSession(loop), Show(loop)
        source = ScriptedSource(lambda: talk(loop, 120.0))
        pipeline = Pipeline(session, source, show, now=loop.time)
        await pipeline.run()
        stats = pipeline.stats
        assert [frame.pts for frame in show.frames] == [HOP * t for t in range(120 * FPS)]
        assert np.diff(show.instants)[:-1] == pytest.approx(1 / FPS)  # the last one comes with the flush
        assert (stats.frames, stats.late_frames, stats.silence_s, stats.late_samples) == (3000, 0, 0.0, 0)
        assert stats.mean_fps == pytest.approx(25.0, abs=0.02)
        assert stats.fps == pytest.approx(25.0, abs=0.5)
        assert stats.delay_ms.p50 == pytest.approx(FLOOR, abs=0.5)
        assert stats.delay_ms.max == pytest.approx(FLOOR, abs=0.5)
        assert abs(stats.delay_growth_ms_per_minute) < 0.1
        assert tuple(stats.stages_ms) == STAGES
        means = [stats.stages_ms[name].mean for name in STAGES]
        assert means == pytest.approx([85.0, 0.0, 15.0, 0.0, 0.0], abs=0.1)
        assert sum(means) == pytest.approx(stats.delay_ms.mean, abs=0.05)
        assert np.array_equal(
            np.concatenate([frame.audio for frame in show.frames]), (np.arange(120 * RATE, dtype=np.float32) + 1) / 1e7
        )
        assert not source.open
        assert len(pipeline._timeline._pieces) < 20

    run(main)


def test_a_source_that_pauses_keeps_a_living_face_and_loses_nothing() -> None:
    async def script(loop: VirtualTimeLoop) -> AsyncGenerator[AudioChunk, None]:
        for _ in range(3):
            async for chunk in talk(loop, 2.0):
                yield chunk
            await asyncio.sleep(5.0)

    async def main(loop: VirtualTimeLoop) -> None:
        session, show = FakeSession(loop), Show(loop)
        pipeline = Pipeline(session, ScriptedSource(lambda: script(loop)), show, now=loop.time)
        await pipeline.run()
        stats = pipeline.stats
        assert stats.late_samples == 0
        assert stats.silence_s == pytest.approx(15.0, abs=0.1)
        assert sum(len(h) for h in session.heard if h.any()) == 6 * RATE
        # Frames never stop for longer than it takes to notice, whatever the source does.
        assert np.diff(show.instants).max() < 0.06 + 2 / FPS
        assert stats.mean_fps == pytest.approx(25.0, abs=0.1)
        # A quarter of a second after the sound came back, delay is at its floor again.
        start = show.instants[0] - FLOOR / 1e3
        for back in (7.0, 14.0):
            at = [i for i, instant in enumerate(show.instants) if back + 0.25 < instant - start < back + 1.9]
            voiced = [show.frames[i].audio.all() for i in at]
            assert all(voiced)
        assert stats.delay_ms.p50 <= FLOOR + 25.0
        assert stats.delay_ms.max < 200

    run(main)


def test_delay_is_back_at_its_floor_after_a_pause() -> None:
    async def script(loop: VirtualTimeLoop) -> AsyncGenerator[AudioChunk, None]:
        async for chunk in talk(loop, 1.0):
            yield chunk
        await asyncio.sleep(4.987)
        async for chunk in talk(loop, 6.0):
            yield chunk

    async def main(loop: VirtualTimeLoop) -> None:
        pipeline = Pipeline(FakeSession(loop), ScriptedSource(lambda: script(loop)), Show(loop), now=loop.time)
        await pipeline.run()
        assert pipeline.stats.delay_now_ms == pytest.approx(FLOOR, abs=1.0)  # of the last two seconds
        assert pipeline.stats.late_samples == 0
        assert pipeline.stats.silence_s == pytest.approx(4.987 + LAG, abs=1e-3)  # stream time is wall time

    run(main)


def test_what_comes_after_the_silence_that_stood_in_for_it_is_discarded() -> None:
    async def script(loop: VirtualTimeLoop) -> AsyncGenerator[AudioChunk, None]:
        start = loop.time()
        async for chunk in talk(loop, 1.0):
            yield chunk
        await asyncio.sleep(3.0)  # the network is gone; then all of it comes at once
        async for chunk in talk(loop, 6.0, start=start + 1.0):
            yield chunk

    async def main(loop: VirtualTimeLoop) -> None:
        session, show = FakeSession(loop), Show(loop)
        pipeline = Pipeline(session, ScriptedSource(lambda: script(loop)), show, now=loop.time)
        await pipeline.run()
        stats = pipeline.stats
        assert stats.late_samples == pytest.approx(3.0 * RATE, abs=0.05 * RATE)
        assert stats.silence_s == pytest.approx(stats.late_samples / RATE, abs=0.001)
        assert len(session.sound) == pytest.approx(7 * RATE, abs=2 * HOP)  # stream time is wall time
        assert stats.delay_now_ms == pytest.approx(FLOOR, abs=1.0)
        assert len(show.frames) + stats.late_frames == 7 * FPS

    run(main)


def test_a_slow_network_drops_pictures_not_steps_and_delay_does_not_grow() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        session, show = FakeSession(loop, compute=0.055, skip=0.004), Show(loop)
        pipeline = Pipeline(session, ScriptedSource(lambda: talk(loop, 60.0)), show, now=loop.time)
        await pipeline.run()
        stats = pipeline.stats
        assert [t for t, _ in session.steps] == list(range(60 * FPS))
        assert stats.late_frames == sum(not decode for _, decode in session.steps)
        assert len(show.frames) == 60 * FPS - stats.late_frames
        assert 15.0 < stats.mean_fps < 19.0
        assert stats.delay_ms.max < FLOOR + 110
        assert abs(stats.delay_growth_ms_per_minute) < 5.0

    run(main)


def test_a_held_up_loop_is_no_silent_source() -> None:
    async def script(loop: VirtualTimeLoop) -> AsyncGenerator[AudioChunk, None]:
        start = loop.time()
        async for chunk in talk(loop, 4.0, start=start):
            if 1.0 < loop.time() - start < 1.02:
                loop.stall(0.3)
            yield chunk

    async def main(loop: VirtualTimeLoop) -> None:
        session, show = FakeSession(loop), Show(loop)
        pipeline = Pipeline(session, ScriptedSource(lambda: script(loop)), show, now=loop.time)
        await pipeline.run()
        stats = pipeline.stats
        assert (stats.silence_s, stats.late_samples) == (0.0, 0)
        assert len(session.sound) == (4 * FPS + 1) * HOP
        assert 0 < stats.late_frames < 10
        assert stats.delay_now_ms == pytest.approx(FLOOR, abs=0.5)

    run(main)


def test_a_source_that_falls_behind_is_drawn_as_long_as_nothing_newer_is_there() -> None:
    async def script(loop: VirtualTimeLoop) -> AsyncGenerator[AudioChunk, None]:
        start = loop.time()
        k = 0
        async for chunk in talk(loop, 6.0):
            k += 1
            behind = 0.035 * min(max(k - 100, 0), 6)  # each gap too short to count as silence
            await asyncio.sleep(max(0.0, start + k * 0.02 + LAG + behind - loop.time()))
            yield chunk

    async def main(loop: VirtualTimeLoop) -> None:
        show = Show(loop)
        pipeline = Pipeline(FakeSession(loop), ScriptedSource(lambda: script(loop)), show, now=loop.time)
        await pipeline.run()
        assert (pipeline.stats.late_frames, pipeline.stats.silence_s) == (0, 0.0)
        assert pipeline.stats.delay_now_ms == pytest.approx(FLOOR + 210, abs=1.0)

    run(main)


def test_silence_has_the_shape_of_the_sound() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        async def script() -> AsyncGenerator[AudioChunk, None]:
            await asyncio.sleep(1.0)
            async for chunk in talk(loop, 1.0):
                yield AudioChunk(np.stack([chunk.pcm, -chunk.pcm], 1), RATE, chunk.captured_at)

        shapes = set()

        class Stereo(FakeSession):
            def push(self, pcm: ArrayLike, sample_rate: int) -> None:
                shapes.add(np.shape(pcm)[1:])
                super().push(np.asarray(pcm).reshape(len(np.asarray(pcm)), -1)[:, 0], sample_rate)

            def flush(self) -> None:
                assert shapes == {(2,)}
                super().flush()

        source, show = ScriptedSource(script), Show(loop)
        source.channels = 2
        pipeline = Pipeline(Stereo(loop), source, show, now=loop.time)
        await pipeline.run()
        assert len(show.frames) == 50  # a face from the beginning, before the source says anything
        assert pipeline.stats.silence_s == pytest.approx(1.0, abs=0.01)

    run(main)


@pytest.mark.parametrize("block", [160, 320, 640, 1600, 3200])
def test_any_block_size_draws_every_frame(block: int) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        show = Show(loop)
        source = ScriptedSource(lambda: talk(loop, 10.0, block=block))
        pipeline = Pipeline(FakeSession(loop), source, show, now=loop.time)
        await pipeline.run()
        assert pipeline.stats.late_frames == 0
        # Only before the first block can a long one be taken for a pause.
        assert pipeline.stats.silence_s <= (block / RATE if block / RATE > 0.06 else 0.0)
        assert len(show.frames) == 250
        assert np.diff(show.instants).max() < 2 / FPS + block / RATE

    run(main)


def test_bursts_draw_every_frame() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        show = Show(loop)
        source = ScriptedSource(lambda: talk(loop, 10.0, burst=3))
        pipeline = Pipeline(FakeSession(loop), source, show, now=loop.time)
        await pipeline.run()
        assert pipeline.stats.late_frames == 0
        assert len(show.frames) == 250

    run(main)


def test_what_the_source_lost_is_made_up_for() -> None:
    async def script(loop: VirtualTimeLoop) -> AsyncGenerator[AudioChunk, None]:
        lost = 0
        async for chunk in talk(loop, 10.0):
            if np.random.default_rng(round(float(chunk.pcm[0]) * 1e7)).random() < 0.1:
                lost += len(chunk.pcm)
                continue
            yield AudioChunk(chunk.pcm, RATE, chunk.captured_at, lost)
            lost = 0

    async def main(loop: VirtualTimeLoop) -> None:
        session, show = FakeSession(loop), Show(loop)
        pipeline = Pipeline(session, ScriptedSource(lambda: script(loop)), show, now=loop.time)
        await pipeline.run()
        assert pipeline.stats.silence_s > 0.5
        assert len(session.sound) == pytest.approx(10 * RATE, abs=3 * HOP)
        place = np.flatnonzero(session.sound)
        expected = (place + 1) / 1e7
        assert np.abs(session.sound[place] - expected).max() < 1e-9  # every sample stands at its time

    run(main)


def test_mute_feeds_silence_and_keeps_the_frames_coming() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        session, show = FakeSession(loop), Show(loop)
        pipeline = Pipeline(session, ScriptedSource(lambda: talk(loop, 6.0)), show, now=loop.time)
        task = asyncio.create_task(pipeline.run())
        await asyncio.sleep(2.0)
        pipeline.muted = True
        await asyncio.sleep(2.0)
        pipeline.muted = False
        await task
        assert [frame.pts for frame in show.frames] == [HOP * t for t in range(150)]
        loud = [bool(frame.audio.any()) for frame in show.frames]
        assert all(loud[:48])
        assert not any(loud[51:99])
        assert all(loud[101:])
        assert pipeline.stats.delay_ms.max == pytest.approx(FLOOR, abs=0.5)

    run(main)


@pytest.mark.parametrize("after", [2.0, 2.011, 2.029])
def test_interrupt_puts_silence_in_the_place_of_all_sound_not_yet_shown(after: float) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        session, show = FakeSession(loop), Show(loop)
        source = PushSource(RATE, limit=10.0, now=loop.time)
        pipeline = Pipeline(session, source, show, now=loop.time)
        task = asyncio.create_task(pipeline.run())
        await source.push(np.full(8 * RATE, 0.1, np.float32))
        await asyncio.sleep(after)
        called = loop.time()
        pipeline.interrupt()
        assert source.waiting == 0.0
        before = len(show.frames)
        await asyncio.sleep(0.5)
        later = show.frames[before:]
        assert show.instants[before] - called < 0.06
        assert not any(frame.audio.any() for frame in later)
        assert len(later) >= 11
        await source.push(np.full(RATE // 2, 0.2, np.float32))
        source.close()
        await task
        assert [frame.pts for frame in show.frames] == [HOP * t for t in range(len(show.frames))]
        tail = np.concatenate([frame.audio for frame in show.frames[before:]])
        assert np.count_nonzero(tail == np.float32(0.2)) == RATE // 2  # what is said next is whole
        assert np.count_nonzero(tail) == RATE // 2
        pipeline.interrupt()  # after the end: nothing to do

    run(main)


def test_pushed_speech_meets_back_pressure_and_keeps_time() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        show = Show(loop)
        source = PushSource(RATE, limit=1.0, now=loop.time)
        pipeline = Pipeline(FakeSession(loop), source, show, now=loop.time)
        task = asyncio.create_task(pipeline.run())
        start = loop.time()
        await source.push(np.full(10 * RATE, 0.1, np.float32))
        assert loop.time() - start == pytest.approx(9.0, abs=0.1)
        source.close()
        await task
        assert pipeline.stats.late_frames == 0
        assert sum(np.count_nonzero(frame.audio) for frame in show.frames) == 10 * RATE

    run(main)
