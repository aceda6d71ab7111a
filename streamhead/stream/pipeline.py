"""The live path: a source of sound, a session, a sink for its frames. The one place that owns wall time.

    source -> session.push -> session.step -> sink
       |
       +----> delay line -> whoever plays the sound beside the picture

Sound is the clock: a frame is made when its sound is in, and nothing waits for a tick. Delay is the instant at which
the sink has taken a frame minus the instant at which the first sample of the frame's interval was captured. With a
delay line frames are held until all of them leave at the same delay, the one at which the line gives their sound.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from statistics import median
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamhead.audio.microphone import AudioChunk, AudioSource
from streamhead.output.frame import Frame
from streamhead.stream.clock import Now, Timeline
from streamhead.stream.delay_line import DelayLine
from streamhead.stream.even_delay import EvenDelay
from streamhead.stream.stats import Meter, Stats, Tally
from streamhead.timebase import FPS, HOP, SAMPLE_RATE

__all__ = ["LiveSession", "Pipeline", "Sink", "ThreadSink"]

Sink = Callable[[Frame], Awaitable[None]]
"""Takes a frame; while it does, the pipeline waits."""

PATIENCE: Final = 0.06
"""Seconds without sound after which silence is fed."""
TICK: Final = 0.02
"""Seconds between two helpings of silence."""
HELD_UP: Final = 0.02
"""A timer that comes this many seconds late tells of a busy event loop, not of a silent source."""
LONGEST_FILL: Final = 1.0
"""A longer gap (the machine slept) is not made up for: the stream goes on as if it had not been."""
JUMP: Final = 0.2
"""Gaps in a running source's capture instants up to this are jitter; only what it counted as lost is filled."""
RESAMPLED: Final = 36
"""Samples of the lower rate, a few to spare, that must be in beyond a sample before it comes out at 16 kHz."""
BACKLOG: Final = FPS
"""Frames that may wait to be made before the source is left waiting."""
HELD: Final = 2
"""Finished frames that may wait to leave before the next one is made."""


class LiveSession(Protocol):
    """What the pipeline needs of a :class:`streamhead.stream.session.Session`."""

    @property
    def look_ahead(self) -> int:
        """Frames of sound after its own that a frame waits for."""

    @property
    def ready(self) -> int:
        """Frames that can be made now."""

    @property
    def next_pts(self) -> int:
        """The pts of the next frame, samples at 16 kHz."""

    def push(self, pcm: ArrayLike, sample_rate: int) -> None:
        """Add sound."""

    def flush(self) -> None:
        """End the stream."""

    def interrupt(self) -> None:
        """Forget sound not yet shown."""

    async def step(self, skip: int = 0) -> Frame | None:
        """Make the next frame, or one after it: those before it only move the face on."""


class ThreadSink:
    """A sink that blocks (a camera, a window), kept off the event loop in a thread of its own.

    Leaving the context waits for the frame under way, so that what it writes to can then be closed.

    Args:
        send: takes a frame; called in one thread only.
    """

    def __init__(self, send: Callable[[Frame], None]) -> None:
        self._send = send
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="streamhead-sink")

    async def __call__(self, frame: Frame) -> None:
        """Send a frame and wait until it is sent."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._send, frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A finished frame on its way out: how many interrupts there had been, when it is due, and its instants so far."""

    frame: Frame
    interrupts: int
    due: float
    instants: tuple[float, float, float, float]


class Pipeline:
    """Runs one session live. Cancel :meth:`run` to stop it.

    When the source gives nothing for 60 ms, silence is fed, up to where a chunk that came now would begin: the face
    lives on, and nothing is lost of a source that returns. What comes later than the silence that stood in for it is
    not shown, but still heard if its time has not come. A frame that is late while the next one is ready already is not
    drawn; so delay never accumulates.

    Args:
        session: not yet fed.
        source: where sound comes from; its end is flushed and shown, then the run ends.
        sink: where frames go.
        delay_line: of the source's rate and channels; gets all sound that the session gets, and its delay set.
        exact: begin as the source does, so that a recording gives the frames that ``TalkingHead.render`` gives; else up
            to a block of silence goes before a voice, for a shorter delay.
        now: the clock.
    """

    def __init__(
        self,
        session: LiveSession,
        source: AudioSource,
        sink: Sink,
        *,
        delay_line: DelayLine | None = None,
        exact: bool = False,
        now: Now = time.monotonic,
    ) -> None:
        self.muted = False
        """Whether silence goes in instead of the source's sound."""
        self.due = 0.0
        """Instant at which the frame that the sink is given should leave."""
        self._session = session
        self._source = source
        self._sink = sink
        self._delay_line = delay_line
        self._exact = exact
        self._even = EvenDelay(session.look_ahead)
        self._handing_over: deque[float] = deque([0.0], maxlen=FPS)  # s from when a frame might go
        self._leaving: asyncio.Queue[_Made] = asyncio.Queue(HELD)
        self._interrupts = 0
        self._now = now
        self._rate = source.sample_rate
        self._meter = Meter()
        self._timeline = Timeline(self._rate, now())
        self._origin, self._origin_t = 0, session.next_pts // HOP  # a frame, and where its interval starts
        self._ready_at = deque([now()] * session.ready)
        self._ages: deque[float] = deque([TICK], maxlen=FPS)
        self._patience = PATIENCE
        self._silence_due = 0.0
        self._quiet = False  # whether what was fed last is silence
        self._arriving: asyncio.Task[AudioChunk | None] | None = None
        self._overtaken: asyncio.Task[AudioChunk | None] | None = None
        self._ended = False
        self._arrived = asyncio.Event()
        self._advanced = asyncio.Event()

    @property
    def delay(self) -> float:
        """Seconds from capture until the sink has taken a frame, with a delay line; its sound has the same."""
        return self._even.seconds + median(self._handing_over)

    @property
    def stats(self) -> Stats:
        """The figures so far."""
        return self._meter.stats(self._now(), self._source.overruns)

    @property
    def tallies(self) -> dict[str, Tally]:
        """All delays so far and their parts, as :meth:`Meter.tallies`."""
        return self._meter.tallies()

    async def run(self) -> None:
        """Live until the source ends.

        Raises:
            StreamheadError: whatever source, session or sink raise.
        """
        started = self._now()
        self._timeline = Timeline(self._rate, started)
        self._silence_due = started + self._patience
        listen, show, leave = (asyncio.create_task(work()) for work in (self._listen, self._show, self._leave))
        tasks = {listen, show, leave}
        try:
            running = tasks
            while running > {leave}:  # which never ends by itself
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def interrupt(self) -> None:
        """Forget every sound not yet shown, in one step; silence takes its place, so that time goes on unbroken."""
        if self._ended:
            return
        self._source.clear()
        self._session.interrupt()
        if self._delay_line is not None:
            self._delay_line.clear()
        self._interrupts += 1
        self._ready_at.clear()
        self._overtaken = self._arriving if self._arriving and self._arriving.done() else None
        t = self._session.next_pts // HOP
        self._origin, self._origin_t = self._start_of(t), t
        self._push(self._zeros(max(0, self._timeline.position - self._origin)))
        self._silence_due = self._now()

    async def _listen(self) -> None:
        async with aclosing(aiter(self._source)) as chunks:
            try:
                while (chunk := await self._next(chunks)) is not None:
                    self._hear(chunk)
            finally:
                if self._arriving is not None:
                    self._arriving.cancel()
                    await asyncio.gather(self._arriving, return_exceptions=True)
        self._push(None)
        self._ended = True
        self._arrived.set()

    async def _next(self, chunks: AsyncGenerator[AudioChunk, None]) -> AudioChunk | None:
        """The source's next chunk, None at its end; while none comes, silence is fed."""

        async def take() -> AudioChunk | None:
            return await anext(chunks, None)

        while self._session.ready >= BACKLOG:
            self._advanced.clear()
            await self._advanced.wait()
        self._arriving = arriving = asyncio.create_task(take())
        while not arriving.done():
            await asyncio.wait({arriving}, timeout=min(TICK, max(0.0, self._silence_due - self._now())))
            if self._now() - self._silence_due > HELD_UP:
                await asyncio.wait({arriving}, timeout=TICK / 4)
            if not arriving.done() and self._now() >= self._silence_due:
                self._feed_silence()
        self._arriving = None
        chunk = arriving.result()
        if chunk is not None and arriving is self._overtaken:
            return replace(chunk, pcm=np.zeros_like(chunk.pcm))
        return chunk

    def _hear(self, chunk: AudioChunk) -> None:
        now = self._now()
        duration = len(chunk.pcm) / self._rate
        self._ages.append(now - chunk.captured_at)
        self._patience = max(PATIENCE, 2 * duration)
        self._silence_due = now + self._patience
        pcm, captured_at = chunk.pcm, chunk.captured_at
        gap = captured_at - self._timeline.edge
        begins = self._quiet or not (self._timeline.position or self._exact)
        if self._quiet:
            late = min(len(pcm), max(0, round(-gap * self._rate)))
            self._meter.late_samples += late
            if late and self._delay_line is not None and not self.muted:
                self._delay_line.mend(pcm[:late], -round(gap * self._rate))  # late for the face, not for the voice
            pcm, captured_at = pcm[late:], captured_at + late / self._rate
            missing = max(0, round(gap * self._rate))
        else:
            missing = round(gap * self._rate) if gap > JUMP else chunk.lost
        self._fill(missing, captured_at)
        if len(pcm):
            self._quiet = False
            if begins:
                self._align(len(pcm), len(chunk.pcm), captured_at)
            self._extend(np.zeros_like(pcm) if self.muted else pcm, captured_at)

    def _feed_silence(self) -> None:
        now = self._now()
        # How old its first sample is when a chunk comes: what a chunk that came now would begin with.
        age = median(self._ages)
        if self._session.ready < BACKLOG:
            self._fill(round((now - age - self._timeline.edge) * self._rate), now - age)
        self._quiet = True
        self._silence_due = now + TICK

    def _fill(self, count: int, until: float) -> None:
        """Feed ``count`` samples of silence that end at the instant ``until``."""
        count = min(count, round(LONGEST_FILL * self._rate))
        if count > 0:
            self._meter.silence_s += count / self._rate
            self._extend(self._zeros(count), until - count / self._rate)

    def _align(self, count: int, block: int, until: float) -> None:
        """Let the session hear silence until ``count`` samples to come end where the last that a frame needs do.

        Else each frame would wait for most of a block of which it needs no more than the beginning.
        """
        if block and HOP * self._rate // SAMPLE_RATE % block == 0:
            lag = 0 if self._rate == SAMPLE_RATE else -(-RESAMPLED * self._rate // min(self._rate, SAMPLE_RATE))
            missing = (self._start_of(self._session.next_pts // HOP) + lag - self._timeline.position - count) % block
            if missing:
                self._timeline.extend(missing, until - missing / self._rate)
                self._push(self._zeros(missing))

    def _zeros(self, count: int) -> NDArray[np.float32]:
        channels = self._source.channels
        return np.zeros(count if channels == 1 else (count, channels), np.float32)

    def _extend(self, pcm: NDArray[np.float32], captured_at: float) -> None:
        self._timeline.extend(len(pcm), captured_at)
        if self._delay_line is not None:
            self._delay_line.write(pcm, captured_at)
        self._push(pcm)

    def _push(self, pcm: NDArray[np.float32] | None) -> None:
        ready = self._session.ready
        if pcm is None:
            self._session.flush()
        else:
            self._session.push(pcm, self._rate)
        self._ready_at.extend([self._now()] * (self._session.ready - ready))
        if self._ready_at:
            self._arrived.set()

    def _start_of(self, t: int) -> int:
        """The first sample of frame t's interval, in the source's samples."""
        return self._origin - (self._origin_t - t) * HOP * self._rate // SAMPLE_RATE

    def _captured_at(self, t: int) -> float:
        """The instant at which frame t's interval began."""
        return self._timeline.captured_at(self._start_of(t))

    async def _show(self) -> None:
        while True:
            while self._session.ready:
                await self._step()
            if self._ended:
                return await self._leaving.join()
            self._arrived.clear()
            await self._arrived.wait()

    async def _step(self) -> None:
        t, ready, started = self._session.next_pts // HOP, self._session.ready, self._now()
        # A frame needs look_ahead + 1 frames of sound, the last chunk of which comes at some age; one frame to spare.
        in_time = (self._session.look_ahead + 2) / FPS + median(self._ages)
        skip, captured = 0, self._captured_at(t)
        while started - captured > in_time and skip + 1 < ready:
            skip += 1
            captured = self._captured_at(t + skip)
        self._timeline.forget(self._start_of(t + skip))
        for _ in range(skip):
            self._ready_at.popleft()
        ready_at = self._ready_at.popleft()
        interrupts = self._interrupts
        frame = await self._session.step(skip)
        self._advanced.set()
        if frame is None:
            return
        self._meter.late_frames += skip
        computed = self._now()
        instants = (captured, ready_at, started, computed)
        if self._delay_line is None:
            return await self._hand_over(_Made(frame, interrupts, computed, instants))
        if not self._quiet:  # what stands in for missing sound comes when it is missed, whatever sound needs
            self._even.follow(max(computed - captured, self._delay_line.need))
        self._delay_line.delay = self.delay
        await self._leaving.put(_Made(frame, interrupts, captured + self._even.seconds, instants))

    async def _leave(self) -> None:
        """With a delay line: hand each frame over when its sound leaves; the next one is made meanwhile."""
        while True:
            made = await self._leaving.get()
            await asyncio.sleep(max(0.0, made.due - self._now()))
            await self._hand_over(made)
            self._leaving.task_done()

    async def _hand_over(self, made: _Made) -> None:
        if made.interrupts == self._interrupts:
            held, self.due = self._now(), made.due
            await self._sink(made.frame)
            taken = self._now()
            self._handing_over.append(taken - max(made.due, made.instants[-1]))
            self._meter.frame(*made.instants, held, taken)
