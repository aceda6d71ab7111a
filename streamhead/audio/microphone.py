"""Where live sound comes from: a capture device, a file played in real time, or a program that pushes it.

Every source hands over :class:`AudioChunk` objects of about 10 ms, each as soon as its last sample is there, and keeps
no more than a short, bounded queue.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamhead.audio.files import load_audio
from streamhead.audio.portaudio import find, portaudio, pulse
from streamhead.audio.resample import as_float
from streamhead.errors import AudioError, DeviceError
from streamhead.stream.clock import Now, Pacer

__all__ = ["AudioChunk", "AudioSource", "FileSource", "Microphone", "PushSource", "open_source"]

Samples = NDArray[np.float32]

BLOCKS: Final = 100
"""Chunks a second: a longer one makes its first sample wait for its last, a shorter one comes unevenly."""
PHASE: Final = 0.003
"""Seconds after the end of a frame at which a chunk best ends: a resampler holds back the last 2 ms."""
LATENCY: Final = "PULSE_LATENCY_MSEC"
"""PulseAudio's ALSA plugin takes its block size from here; without it sound comes in bursts of a second."""
LONGEST_AGE: Final = 2.0
"""A driver that says a block is older than this (or from the future) does not tell the time."""


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """A piece of a live stream.

    Attributes:
        pcm: ``(n,)`` or ``(n, channels)`` float32.
        sample_rate: Hz.
        captured_at: instant of the first sample, seconds of :func:`time.monotonic`.
        lost: samples that the source knows to have lost between the chunk before and this one.
    """

    pcm: Samples
    sample_rate: int
    captured_at: float
    lost: int = 0


class AudioSource(Protocol):
    """Live sound: ``async for chunk in source``, for ever or until it ends."""

    @property
    def sample_rate(self) -> int:
        """Of every chunk, Hz."""

    @property
    def channels(self) -> int:
        """Of every chunk; 1 means ``(n,)``."""

    @property
    def overruns(self) -> int:
        """Chunks that were lost because nobody took them in time."""

    def __aiter__(self) -> AsyncGenerator[AudioChunk, None]: ...

    def clear(self) -> None:
        """Forget what is waiting to be taken."""


def open_source(name: str | None) -> Microphone | FileSource:
    """A microphone or, if there is a file of that name, that file played in real time over and over.

    Args:
        name: part of a capture device's name, its number, a file, or None for the default microphone.

    Raises:
        AudioError: the file holds no usable sound.
        DeviceError: there is neither such a file nor such a device.
    """
    if name is not None and Path(name).is_file():
        return FileSource(name)
    return Microphone(name)


class Microphone:
    """A capture device, from entering the context to leaving it.

    Chunks that nobody takes are kept for half a second, then the oldest are lost and counted.

    Args:
        name: part of its name, or its number, as ``streamhead devices`` shows them; None for the default one.
        sample_rate: Hz; None for the device's own.
        channels: 1, or as many as it has.

    Raises:
        DeviceError: no such device, it does not open (on entering), or it goes away (while iterating).
    """

    def __init__(self, name: str | int | None = None, *, sample_rate: int | None = None, channels: int = 1) -> None:
        self._sounddevice = portaudio()
        device = find(self._sounddevice, name, "input")
        if device is None:
            what = "no microphone here" if name is None else f"no microphone (and no file) called {str(name)!r}"
            raise DeviceError(f"{what}; `streamhead devices` lists them, and --mic FILE plays a recording instead")
        self.name: str = device["name"]
        self.sample_rate = sample_rate or round(device["default_samplerate"])
        self.channels = channels
        self.overruns = 0
        self._index: int = device["index"]
        self._stream: Any = None
        self._queue: deque[AudioChunk] = deque(maxlen=BLOCKS // 2)
        self._lost = 0
        self._gone = False
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        try:
            with pulse({LATENCY: os.environ.get(LATENCY, str(1000 // BLOCKS))}):
                self._stream = self._sounddevice.InputStream(
                    device=self._index,
                    samplerate=self.sample_rate,
                    channels=self.channels,
                    blocksize=self.sample_rate // BLOCKS,
                    dtype="float32",
                    latency="low",
                    callback=self._receive,
                    finished_callback=self._finished,
                )
                self._stream.start()
        except (self._sounddevice.PortAudioError, ValueError) as error:
            self._close()
            reason = " ".join(str(error).split())
            raise DeviceError(
                f"microphone {self.name!r} does not open ({reason}); choose another of `streamhead devices`"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)
            self._stream = None

    def _receive(self, block: NDArray[np.float32], count: int, clock: Any, status: object) -> None:
        # In PortAudio's own thread. Its clock has an origin of its own: only differences mean something.
        age = clock.currentTime - clock.inputBufferAdcTime
        duration = count / self.sample_rate
        captured_at = time.monotonic() - (max(age, duration) if age < LONGEST_AGE else duration)
        if len(self._queue) == self._queue.maxlen:
            with suppress(IndexError):  # taken just now
                self._lost += len(self._queue.popleft().pcm)
                self.overruns += 1
        pcm = block[:, 0].copy() if self.channels == 1 else block.copy()
        self._queue.append(AudioChunk(pcm, self.sample_rate, captured_at))
        self._wake()

    def _finished(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._arrived.set)

    def clear(self) -> None:
        """Forget what is waiting to be taken."""
        self._queue.clear()
        self._lost = 0

    async def __aiter__(self) -> AsyncGenerator[AudioChunk, None]:
        """Chunks captured from now on, the first one cut short (:data:`PHASE`)."""
        if self._stream is None:
            raise DeviceError(f"microphone {self.name!r} is not open; use it in a with block")
        self._loop = asyncio.get_running_loop()
        self.clear()
        self.overruns = 0
        skip = round((1 / BLOCKS - PHASE) * self.sample_rate)
        try:
            while True:
                self._arrived.clear()
                while self._queue:
                    chunk = self._queue.popleft()
                    lost, self._lost = self._lost, 0
                    captured_at = chunk.captured_at + skip / self.sample_rate
                    yield AudioChunk(chunk.pcm[skip:], self.sample_rate, captured_at, lost)
                    skip = 0
                if self._gone:
                    raise DeviceError(f"microphone {self.name!r} went away; plug it in again and start anew")
                await self._arrived.wait()
        finally:
            self._loop = None


class FileSource:
    """A recording played in real time, as a microphone would deliver it.

    Args:
        path: any sound or video file.
        loop: begin again at its end, for ever.
        now: the clock.

    Raises:
        AudioError: it holds no usable sound.
    """

    def __init__(self, path: str | os.PathLike[str], *, loop: bool = True, now: Now = time.monotonic) -> None:
        self._samples, self.sample_rate = load_audio(path)
        self.name = Path(path).name
        self.channels = 1 if self._samples.ndim == 1 else self._samples.shape[1]
        self.overruns = 0
        self._repeat = loop
        self._now = now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release."""

    def clear(self) -> None:
        """Nothing ever waits."""

    async def __aiter__(self) -> AsyncGenerator[AudioChunk, None]:
        """The recording from its beginning."""
        pacer = Pacer(self._now)
        rate, whole = self.sample_rate, len(self._samples)
        place, block = 0, 0
        while self._repeat or place < whole:
            block += 1
            stop = block * rate // BLOCKS
            if not self._repeat:
                stop = min(stop, whole)
            pcm = self._samples[np.arange(place, stop) % whole]
            captured_at = await pacer.step((stop - place) / rate)
            place = stop
            yield AudioChunk(pcm, rate, captured_at)


class PushSource:
    """Sound that a program makes faster than real time (speech synthesis), played in real time.

    Args:
        sample_rate: Hz.
        channels: 1 for ``(n,)``, else ``(n, channels)``.
        limit: seconds that may wait; :meth:`push` waits while there are more.
        now: the clock.
    """

    def __init__(self, sample_rate: int, *, channels: int = 1, limit: float = 2.0, now: Now = time.monotonic) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.overruns = 0
        self._limit = max(1, round(limit * sample_rate))
        self._now = now
        self._queue: deque[Samples] = deque()
        self._count = 0
        self._cleared = 0
        self._closed = False
        self._turn = asyncio.Lock()
        self._data = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def waiting(self) -> float:
        """Seconds pushed and not yet played."""
        return self._count / self.sample_rate

    async def push(self, pcm: ArrayLike) -> None:
        """Add sound; waits while ``limit`` seconds are waiting already. What :meth:`clear` overtakes is dropped.

        Raises:
            AudioError: not usable, of another number of channels, or after :meth:`close`.
        """
        if not np.size(pcm):
            return
        samples = as_float(pcm)
        if samples.shape[1:] != (() if self.channels == 1 else (self.channels,)):
            raise AudioError(f"sound of shape {samples.shape} pushed into a source of {self.channels} channel(s)")
        cleared = self._cleared
        async with self._turn:
            while len(samples) and self._cleared == cleared:
                if self._closed:
                    raise AudioError("this source was closed and takes no more sound; open a new one")
                room = self._limit - self._count
                if room > 0:
                    self._queue.append(samples[:room])
                    self._count += len(samples[:room])
                    samples = samples[room:]
                    self._data.set()
                else:
                    self._room.clear()
                    await self._room.wait()

    def close(self) -> None:
        """No more will be pushed: the stream ends after what is waiting."""
        self._closed = True
        self._data.set()
        self._room.set()

    def clear(self) -> None:
        """Forget what is waiting, and the rest of a push under way."""
        self._queue.clear()
        self._count = 0
        self._cleared += 1
        self._room.set()

    def _take(self, count: int) -> Samples:
        parts: list[Samples] = []
        while count and self._queue:
            head = self._queue.popleft()
            parts.append(head[:count])
            if len(head) > count:
                self._queue.appendleft(head[count:])
            count -= len(parts[-1])
        self._count -= sum(map(len, parts))
        self._room.set()
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    async def __aiter__(self) -> AsyncGenerator[AudioChunk, None]:
        """What was pushed, in real time from the moment it is there."""
        pacer = Pacer(self._now)
        while True:
            while not self._count:
                if self._closed:
                    return
                self._data.clear()
                await self._data.wait()
                pacer.restart()
            count = min(self._count, self.sample_rate // BLOCKS)
            captured_at = await pacer.step(count / self.sample_rate)
            pcm = self._take(count)  # only now: a clear may have come meanwhile
            if len(pcm):
                yield AudioChunk(pcm, self.sample_rate, captured_at)
