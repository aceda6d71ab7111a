"""A fake session, scripted sources and a sink that notes what it gets, all in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import numpy as np
from numpy.typing import ArrayLike
from virtual_time import VirtualTimeLoop

from streamhead.audio.microphone import AudioChunk
from streamhead.output.frame import Frame
from streamhead.timebase import FPS, HOP

RATE = 16_000
BLOCK = RATE // 50
LAG = 0.005
"""How long after its last sample a scripted microphone's chunk arrives."""
COMPUTE = 0.015
FLOOR = 1e3 * (2 / FPS + LAG + COMPUTE)
"""Delay when nothing is in the way: a frame and its look-ahead, the microphone's lag, the fake network. In ms."""


class FakeSession:
    """Counts samples as a session does; its network is a pause."""

    look_ahead = 1

    def __init__(self, loop: VirtualTimeLoop, compute: float = COMPUTE, skip: float = 0.001) -> None:
        self._loop, self._compute, self._skip = loop, compute, skip
        self.heard: list[np.ndarray] = []
        self._count = 0  # samples since the last interrupt
        self._unshown = np.zeros(0, np.float32)
        self.steps: list[tuple[int, bool]] = []
        self._t = self._epoch = 0
        self._interrupts = 0
        self.most = 0

    @property
    def ready(self) -> int:
        return max(0, self._count // HOP - self.look_ahead - (self._t - self._epoch))

    @property
    def sound(self) -> np.ndarray:
        return np.concatenate(self.heard)

    @property
    def next_pts(self) -> int:
        return self._t * HOP

    def push(self, pcm: ArrayLike, sample_rate: int) -> None:
        assert sample_rate == RATE
        self.heard.append(np.asarray(pcm))
        self._unshown = np.concatenate((self._unshown, self.heard[-1]))
        self._count += len(self.heard[-1])
        self.most = max(self.most, self.ready)

    def flush(self) -> None:
        whole = -(-self._count // HOP) + self.look_ahead
        self.push(np.zeros(whole * HOP - self._count, np.float32), RATE)

    def interrupt(self) -> None:
        self._unshown, self._count, self._epoch = self._unshown[:0], 0, self._t
        self._interrupts += 1

    async def step(self, skip: int = 0) -> Frame | None:
        assert self.ready > skip
        t, interrupts = self._t, self._interrupts
        audio, self._unshown = self._unshown[skip * HOP : (skip + 1) * HOP], self._unshown[(skip + 1) * HOP :]
        await asyncio.sleep(self._compute + skip * self._skip)
        if self._interrupts != interrupts:
            return None
        self._t += skip + 1
        self.steps += [(number, number == t + skip) for number in range(t, t + skip + 1)]
        return Frame(np.zeros((2, 2, 3), np.uint8), (t + skip) * HOP, audio, RATE, True)


Script = Callable[[], AsyncGenerator[AudioChunk, None]]


class ScriptedSource:
    sample_rate, channels, overruns = RATE, 1, 0

    def __init__(self, script: Script) -> None:
        self._script = script
        self.cleared = 0
        self.open = False

    async def __aiter__(self) -> AsyncGenerator[AudioChunk, None]:
        self.open = True
        try:
            async for chunk in self._script():
                yield chunk
        finally:
            self.open = False

    def clear(self) -> None:
        self.cleared += 1


class Show:
    """A sink that notes when which frame came."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self.frames: list[Frame] = []
        self.instants: list[float] = []

    async def __call__(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.instants.append(self._loop.time())


async def talk(
    loop: VirtualTimeLoop, seconds: float, start: float | None = None, block: int = BLOCK, burst: int = 1
) -> AsyncGenerator[AudioChunk, None]:
    """A steady microphone: ramps, so that every sample is told from silence and from its neighbours."""
    start = loop.time() if start is None else start
    for k in range(round(seconds * RATE / block)):
        captured = start + k * block / RATE
        last = (k // burst + 1) * burst * block / RATE
        await asyncio.sleep(max(0.0, start + last + LAG - loop.time()))
        pcm = (np.arange(k * block, (k + 1) * block, dtype=np.float32) + 1) / 1e7
        yield AudioChunk(pcm, RATE, captured)
