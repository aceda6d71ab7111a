"""Live sound from an aiortc track: what a caller says, on the receiving machine's clock."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from streamhead.audio.microphone import PHASE, AudioChunk
from streamhead.stream.clock import Now

if TYPE_CHECKING:
    from aiortc.mediastreams import MediaStreamTrack

__all__ = ["ArrivalClock", "TrackSource"]

RATE: Final = 48_000
"""What Opus is decoded to; anything else is resampled to it."""
CHANNELS: Final = 2
LONGEST_QUEUE: Final = 25
"""Packets that may wait to be taken, half a second of them."""
MEMORY: Final = 5.0
"""Seconds over which the quickest packet tells how old sound is when it arrives."""
DISCONTINUITY: Final = 1.0
"""Seconds that timestamps may differ from the clock between two packets; more means that they were begun anew."""


class ArrivalClock:
    """When sound was captured, from when its packets arrive.

    The quickest packet of the last seconds is taken to have come at the instant its last sample was captured; the
    others were held up on their way, and are as much older.
    """

    def __init__(self) -> None:
        self._quickest: deque[tuple[float, float]] = deque()  # (arrived, its origin); origins ascend
        self._last: tuple[float, float] | None = None

    def captured_at(self, start: float, duration: float, arrived: float) -> float:
        """The instant of a packet's first sample, s.

        Args:
            start: its timestamp, s from any origin.
            duration: of its sound, s.
            arrived: now.
        """
        if self._last is not None:
            step, passed = start - self._last[0], arrived - self._last[1]
            if abs(step - passed) > DISCONTINUITY and (step < 0 or step > passed):
                self._quickest.clear()  # new timestamps; late packets have old ones
        self._last = start, arrived
        origin = arrived - start - duration  # where timestamp 0 lies, were this packet the quickest
        while self._quickest and self._quickest[-1][1] >= origin:
            self._quickest.pop()
        self._quickest.append((arrived, origin))
        while self._quickest[0][0] < arrived - MEMORY:
            self._quickest.popleft()
        return self._quickest[0][1] + start


class TrackSource:
    """An :class:`~streamhead.audio.microphone.AudioSource` over an aiortc audio track, which may come, go and change.

    Chunks are 48 kHz stereo. A track is always consumed, so that nothing piles up in it; what nobody takes is lost
    after half a second, and counted. Losses on the way are told by the packets' timestamps. Without a track, or when it
    ends, nothing comes.

    Args:
        track: of kind audio; None to wait for :meth:`listen`.
        now: the clock.
    """

    sample_rate = RATE
    channels = CHANNELS

    def __init__(self, track: MediaStreamTrack | None = None, *, now: Now = time.monotonic) -> None:
        self.overruns = 0
        self._track = track
        self._now = now
        self._queue: deque[AudioChunk] = deque()
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._phase_set = False

    def listen(self, track: MediaStreamTrack) -> None:
        """Take sound from this track from now on."""
        self._track = track
        self._changed.set()

    def clear(self) -> None:
        """Forget what is waiting to be taken."""
        self._queue.clear()

    async def __aiter__(self) -> AsyncGenerator[AudioChunk, None]:
        """What the track brings from now on, for ever."""
        pump = asyncio.create_task(self._pump())
        try:
            while True:
                self._arrived.clear()
                while self._queue:
                    yield self._queue.popleft()
                if pump.done():
                    pump.result()
                await self._arrived.wait()
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self) -> None:
        try:
            while True:
                self._changed.clear()
                if self._track is None:
                    await self._changed.wait()
                    continue
                reading = asyncio.create_task(self._read(self._track))
                changing = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait({reading, changing}, return_when=asyncio.FIRST_COMPLETED)
                    if reading.done():
                        reading.result()
                        await changing  # it ended; another may come
                finally:
                    for task in (reading, changing):
                        task.cancel()
                    await asyncio.gather(reading, changing, return_exceptions=True)
        finally:
            self._arrived.set()

    async def _read(self, track: MediaStreamTrack) -> None:
        """Read one track to its end."""
        from aiortc.mediastreams import MediaStreamError

        clock, decode = ArrivalClock(), _Decoder()
        expected: int | None = None
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if not isinstance(frame, AudioFrame):
                    continue
                pcm = decode(frame)
                start = expected or 0
                if frame.pts is not None and frame.time_base is not None:
                    start = round(float(frame.pts * frame.time_base) * RATE)
                duration = frame.samples / frame.sample_rate
                lost = max(0, start - expected) if expected is not None else 0
                expected = start + round(duration * RATE)
                captured_at = clock.captured_at(start / RATE, duration, self._now())
                if len(pcm):
                    self._put(AudioChunk(pcm, RATE, captured_at, lost))

    def _put(self, chunk: AudioChunk) -> None:
        if not self._phase_set:
            # Frames shall end shortly before packets do: what a resampler holds back then waits for no other packet.
            self._phase_set = True
            skip = max(0, len(chunk.pcm) - round(PHASE * RATE))
            chunk = AudioChunk(chunk.pcm[skip:], RATE, chunk.captured_at + skip / RATE, chunk.lost)
        if len(self._queue) == LONGEST_QUEUE:
            oldest = self._queue.popleft()
            self._queue[0] = replace(self._queue[0], lost=self._queue[0].lost + oldest.lost + len(oldest.pcm))
            self.overruns += 1
        self._queue.append(chunk)
        self._arrived.set()


class _Decoder:
    """Any sound that a track carries -> ``(n, 2)`` float32 at 48 kHz."""

    def __init__(self) -> None:
        self._format: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None

    def __call__(self, frame: AudioFrame) -> NDArray[np.float32]:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form == ("s16", "stereo", RATE):
            return np.asarray(frame.to_ndarray().reshape(-1, CHANNELS) / np.float32(1 << 15), np.float32)
        if form != self._format or self._resampler is None:
            self._format = form
            # Mono stays mono here: libav would take 3 dB off to spread it.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = AudioResampler(format="fltp", layout=layout, rate=RATE)
        parts = [part.to_ndarray().T for part in self._resampler.resample(frame)]
        pcm = np.asarray(np.concatenate(parts) if parts else np.zeros((0, CHANNELS)), np.float32)
        return pcm if pcm.shape[1] == CHANNELS else pcm.repeat(CHANNELS, axis=1)
