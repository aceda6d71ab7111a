"""A pipeline with a delay line: what is seen at an instant and what is heard at it were captured at the same one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from streams import RATE, FakeSession, ScriptedSource, Show, talk
from virtual_time import VirtualTimeLoop, run

from streamhead.output.frame import Frame
from streamhead.stream.delay_line import DelayLine
from streamhead.stream.pipeline import Pipeline
from streamhead.timebase import SAMPLE_RATE

BLOCK = RATE // 100


class _Stage:
    """A pipeline at work: what it shows, and what its delay line gives to a device that plays it."""

    def __init__(
        self, loop: VirtualTimeLoop, seconds: float, sink_takes: float = 0.0, device_holds: float = 0.0
    ) -> None:
        self.show = Show(loop)
        self.line = DelayLine(RATE, 1)
        self.played: list[np.ndarray] = []
        self.began = loop.time()
        self._loop, self._takes, self._holds = loop, sink_takes, device_holds
        source = ScriptedSource(lambda: talk(loop, seconds, block=BLOCK))
        self.pipeline = Pipeline(FakeSession(loop), source, self._take, delay_line=self.line, now=loop.time)

    async def _take(self, frame: Frame) -> None:
        await asyncio.sleep(self._takes)
        await self.show(frame)

    async def run(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        playing = asyncio.create_task(self._play())
        running = asyncio.create_task(self.pipeline.run())
        if meanwhile is not None:
            await meanwhile()
        await running
        playing.cancel()

    async def _play(self) -> None:
        while True:
            due = self.began + len(self.played) / 100
            await asyncio.sleep(due - self._holds - self._loop.time())
            self.played.append(self.line.read(BLOCK, due))

    def captured_of_what_is_heard(self, at: float) -> float:
        """When what is played at an instant was captured, by its value."""
        place = round((at - self.began) * RATE)
        return self.began + (float(np.concatenate(self.played)[place]) * 1e7 - 1) / RATE


@pytest.mark.parametrize(("sink_takes", "device_holds"), [(0.0, 0.0), (0.008, 0.05), (0.0, 0.2)])
def test_picture_and_sound_have_one_delay_the_sink_counted_in(sink_takes: float, device_holds: float) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        stage = _Stage(loop, 20.0, sink_takes, device_holds)
        await stage.run()
        # A device that holds much sound itself has the picture wait for it.
        assert stage.line.delay == pytest.approx(max(0.1, device_holds) + sink_takes, abs=0.03)
        for frame, instant in list(zip(stage.show.frames, stage.show.instants, strict=True))[300:480]:
            captured = stage.began + frame.pts / SAMPLE_RATE
            assert instant - captured == pytest.approx(stage.line.delay, abs=0.001)
            assert stage.captured_of_what_is_heard(instant) == pytest.approx(captured, abs=0.001)
        assert stage.line.delay == stage.pipeline.delay

    run(main)


def test_mute_mutes_both() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        stage = _Stage(loop, 12.0)

        async def press_keys() -> None:
            await asyncio.sleep(5.0)
            stage.pipeline.muted = True
            await asyncio.sleep(2.0)
            stage.pipeline.muted = False

        await stage.run(press_keys)
        heard = np.array([bool(block.any()) for block in stage.played])
        assert all(heard[100:500])
        assert not any(heard[520:700])
        assert all(heard[720:1100])
        assert not any(frame.audio.any() for frame in stage.show.frames[128:174])

    run(main)


def test_an_interruption_clears_both() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        stage = _Stage(loop, 12.0)

        async def interrupt() -> None:
            await asyncio.sleep(6.0)
            stage.pipeline.interrupt()

        await stage.run(interrupt)
        heard = np.array([bool(block.any()) for block in stage.played])
        assert all(heard[100:600])
        assert not any(heard[602:606])  # what was captured before it and not heard by then
        assert all(heard[620:1100])

    run(main)
