"""One stream: sound in, frames out. Sample counts only, no wall time.

Frame ``t`` belongs to samples ``[640 t, 640 (t + 1))`` at 16 kHz and is ready when ``640 (t + 1 + look_ahead)`` of
them are in. Nothing a session computes depends on how its sound was cut into pushes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamhead.audio.frontend import AudioFrontEnd, FrontEndFrame, FrontEndState
from streamhead.audio.resample import StreamResampler, as_float, as_float_mono
from streamhead.errors import AudioError
from streamhead.face.portrait import Portrait
from streamhead.face.pose import Pose
from streamhead.output.frame import Frame
from streamhead.stream.easel import Easel, Order, Studio
from streamhead.stream.life import Life, LifeState
from streamhead.stream.mouth_gate import next_ease
from streamhead.stream.noise import CoherentNoise
from streamhead.stream.snapshot import dump
from streamhead.stream.state import Progress, Stage
from streamhead.timebase import HOP, SAMPLE_RATE

__all__ = ["Session"]

Samples = NDArray[np.float32]


class Session:
    """A live stream of one portrait; made by :meth:`TalkingHead.session`.

    Push sound of any length, take frames as they become ready::

        session.push(pcm, 48_000)
        for frame in session.frames():
            show(frame.image)
    """

    def __init__(
        self,
        studio: Studio,
        easel: Easel,
        front_end: AudioFrontEnd,
        portrait: Portrait,
        stage: Stage,
        noise: CoherentNoise,
        temperature: float,
    ) -> None:
        self._studio = studio
        self._easel = easel
        self._front_end = front_end
        self.portrait = portrait
        self.stage = stage
        self._life = Life(noise.seed)
        self.noise = noise
        self.temperature = temperature
        self._progress = Progress(0, None, 1.0, LifeState())
        self._front_state: FrontEndState = front_end.init_state()
        self._rate: int | None = None
        self._resampler: StreamResampler | None = None
        self._unread: Samples = np.zeros(0, np.float32)
        self._heard = 0  # samples at 16 kHz since the stream, or the last interrupt, began
        self._own: Samples = np.zeros(0, np.float32)  # the caller's samples not yet paired with a frame
        self._own_start = 0  # at the caller's rate, since the stream or the last interrupt began
        self._epoch_t = 0  # number of the frame at which the stream or the last interrupt began
        self._pending: deque[FrontEndFrame] = deque()
        self._flushed = False
        self._interrupts = 0
        self._lock = threading.Lock()
        self._arrived = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def look_ahead(self) -> int:
        """Frames of sound after its own that a frame waits for."""
        return self._studio.header.network.look_ahead

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of the frames, pixels."""
        return self.stage.frame_size

    @property
    def ready(self) -> int:
        """Number of frames that can be computed now."""
        return len(self._pending)

    @property
    def next_pts(self) -> int:
        """The pts of the next frame, samples at 16 kHz."""
        return self._progress.t * HOP

    def push(self, pcm: ArrayLike, sample_rate: int) -> None:
        """Add sound.

        Args:
            pcm: ``(n,)`` or ``(n, channels)``; floats in [-1, 1], or int16, int32 or uint8. May be empty.
            sample_rate: of ``pcm``, Hz; the same for a session's whole life.

        Raises:
            AudioError: not finite, of a wrong shape or type, at another rate than before, or after :meth:`flush`.
        """
        if self._flushed:
            raise AudioError("this session was flushed and takes no more sound; open a new one")
        if self._rate is not None and sample_rate != self._rate:
            raise AudioError(
                f"sample rate changed from {self._rate} to {sample_rate} within a session; resample, or open a new one"
            )
        array = np.asarray(pcm)
        if array.size == 0 and array.ndim in (1, 2):
            return
        own, mono = as_float(array), as_float_mono(array)
        if self._resampler is None:
            self._rate, self._resampler = sample_rate, StreamResampler(sample_rate)
            self._own = own[:0]
        if own.shape[1:] != self._own.shape[1:]:
            raise AudioError("the number of channels changed within a session; mix down, or open a new one")
        self._own = np.concatenate((self._own, own))
        self._hear(self._resampler.push(mono))

    def _hear(self, samples: Samples) -> None:
        self._heard += len(samples)
        unread = np.concatenate((self._unread, samples))
        whole = len(unread) // HOP
        for index in range(whole):
            frame, self._front_state = self._front_end.step(unread[index * HOP : (index + 1) * HOP], self._front_state)
            if frame is not None:
                self._pending.append(frame)
        self._unread = unread[whole * HOP :]
        if self._pending:
            self._arrived.set()

    def flush(self) -> None:
        """End the stream: the look-ahead is padded with silence, so that every frame begun comes out."""
        if self._flushed:
            return
        if self._resampler is not None:
            self._hear(self._resampler.flush())
            frames = ceil(self._heard / HOP)
            self._hear(np.zeros((frames + self.look_ahead) * HOP - self._heard, np.float32))
        self._flushed = True
        self._arrived.set()

    def interrupt(self) -> None:
        """Forget every sound not yet shown, in one step; the face eases to rest with the silence that follows.

        The next frame's pts follows the last one delivered. The level that was learnt of this voice is kept.
        """
        self._front_state = self._front_end.interrupted(self._front_state)
        self._unread = self._unread[:0]
        self._own = self._own[:0]
        self._own_start = self._heard = 0
        self._resampler = None if self._rate is None else StreamResampler(self._rate)
        with self._lock:  # a frame may be on its way through the engine's thread: it is overtaken
            self._pending.clear()
            self._interrupts += 1
            self._epoch_t = self._progress.t

    def frames(self) -> Iterator[Frame]:
        """The frames that are ready, computed here and now."""
        while self._pending:
            (frame,) = self._studio.advance([_Turn(self)])
            if frame is not None:
                yield frame

    async def step(self, skip: int = 0) -> Frame | None:
        """A ready frame, computed in the engine's thread together with other sessions'.

        Args:
            skip: frames before it that are late already: they move the face on, in the same turn, and are not drawn.

        Returns:
            The frame; None where no so many are ready, or an interrupt overtook it.
        """
        async with self._turn:
            if len(self._pending) <= skip:
                return None
            return await self._studio.run(_Turn(self, skip))

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Frames as they become ready, until :meth:`flush` was called and all are out."""
        while True:
            frame = await self.step()
            if frame is not None:
                yield frame
            elif not self._pending:
                if self._flushed:
                    return
                self._arrived.clear()
                await self._arrived.wait()

    def close(self) -> None:
        """Free what the engine keeps for this stream; it makes no frame afterwards. Without it, that goes in time."""
        self._pending.clear()
        self._easel.close()

    def snapshot(self) -> bytes:
        """The whole state, tens of kB: :meth:`TalkingHead.restore` goes on from it bit for bit, in any process.

        Take it between frames, not while a :meth:`step` is awaited.
        """
        return dump(self)

    def _take_own(self, t: int) -> Samples:
        """The caller's samples of frame t; zeros where the flush ran past their end."""
        rate = self._rate or SAMPLE_RATE
        start, stop = (-(-(t - self._epoch_t + k) * HOP * rate // SAMPLE_RATE) for k in (0, 1))
        cut = self._own[max(start - self._own_start, 0) : max(stop - self._own_start, 0)]
        self._own = self._own[max(stop - self._own_start, 0) :]
        self._own_start = max(self._own_start, stop)
        short = stop - start - len(cut)
        return np.concatenate((cut, np.zeros((short, *cut.shape[1:]), np.float32))) if short > 0 else cut


class _Turn:
    """A session's next frame, or one after it, on its way through the engine."""

    def __init__(self, session: Session, skip: int = 0) -> None:
        before, lives = session._progress, session.stage.lives
        heard = [session._pending.popleft() for _ in range(skip + 1)]
        eps, ease, life, steps = before.eps, before.ease, before.life, []
        pose: Pose | None = None
        for t, frame in enumerate(heard, before.t):
            # By what was heard before this frame: so the next one's pose is known while its sound is still to come.
            pose = session._life.pose(t, life) if lives else None
            eps = session.noise.step(t, eps)
            ease = next_ease(ease, frame.speech)
            life = session._life.step(t, life, frame.speech)
            steps.append((frame.patch, eps))
        self._session = session
        self._before = before
        self._after = Progress(before.t + skip + 1, eps, ease, life)
        self._audio = session._take_own(before.t + skip)
        self._speech = heard[-1].speech
        self._interrupts = session._interrupts
        self.easel = session._easel
        next_pose = session._life.pose(self._after.t, life) if lives else None
        self.order = Order(steps, session.temperature, ease, pose, next_pose)

    def finish(self, image: NDArray[np.uint8]) -> Frame | None:
        session, before, after = self._session, self._before, self._after
        with session._lock:
            overtaken = session._interrupts != self._interrupts
            session._progress = Progress(before.t, after.eps, after.ease, before.life) if overtaken else after
        if overtaken:
            return None
        return Frame(image, (after.t - 1) * HOP, self._audio, session._rate or SAMPLE_RATE, self._speech)
