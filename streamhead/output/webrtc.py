"""A talking head in an aiortc call: its picture and its sound as two tracks that leave in step.

Both tracks are paced by one monotonic clock and stamped with it. What was captured at an instant leaves, seen and
heard, one pipeline delay later; so a receiver that plays what was sent together together is in sync.
"""

from __future__ import annotations

import asyncio
import logging
import time
from fractions import Fraction
from typing import Final

import numpy as np
from aiortc import RTCPeerConnection
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, VideoFrame

from streamhead.audio.microphone import AudioSource
from streamhead.audio.track import TrackSource
from streamhead.output.frame import Frame
from streamhead.output.steady_encoder import keep_steady
from streamhead.stream.delay_line import DelayLine
from streamhead.stream.pipeline import Pipeline
from streamhead.stream.session import Session
from streamhead.stream.talking_head import TalkingHead

__all__ = ["DelayedAudioTrack", "TalkingHeadTrack", "attach"]

PACKETS: Final = 50
"""Sound packets a second."""
VIDEO_CLOCK: Final = 90_000
"""Ticks a second of a video track's timestamps (RFC 3551)."""
QUEUE: Final = 2
"""Frames that may wait for a sender."""
BEHIND: Final = 0.5
"""Seconds that a sender of sound may be behind before it leaves some out."""

_log = logging.getLogger(__name__)


class DelayedAudioTrack(MediaStreamTrack):
    """The sound beside a :class:`TalkingHeadTrack`: what the head hears, full band, as late as the picture."""

    kind = "audio"

    def __init__(self, head: TalkingHeadTrack, line: DelayLine) -> None:
        super().__init__()
        self._head = head
        self._line = line
        self._packet: int | None = None

    async def recv(self) -> AudioFrame:
        """The next 20 ms, s16, at the pace of the clock.

        Raises:
            MediaStreamError: the track has ended.
        """
        self._head.start()
        if self.readyState != "live":
            raise MediaStreamError
        due_now = int((time.monotonic() - self._head.epoch) * PACKETS)
        if self._packet is None or self._packet < due_now - BEHIND * PACKETS:
            self._packet = due_now
        packet, self._packet = self._packet, self._packet + 1
        due = self._head.epoch + packet / PACKETS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        rate = self._line.sample_rate
        start, stop = packet * rate // PACKETS, (packet + 1) * rate // PACKETS
        pcm = np.clip(self._line.read(stop - start, due) * 32767, -32768, 32767).astype(np.int16)
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm.reshape(1, -1)), "s16", "mono" if self._line.channels == 1 else "stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        return frame


class TalkingHeadTrack(MediaStreamTrack):
    """A talking head as an aiortc video track, 25 fps; its sound is :attr:`audio`.

    It starts with the first frame asked for (or :meth:`start`) and ends with :meth:`stop`, or when a source of sound
    that can end does. While no sound comes, silence keeps the face alive. Several viewers share it through aiortc's
    ``MediaRelay``.

    Args:
        session: not yet fed; or a head, of which a session is opened.
        sound: an aiortc audio track, which is always consumed, or any source of sound; None to wait for :meth:`listen`.
    """

    kind = "video"

    def __init__(self, session: Session | TalkingHead, sound: MediaStreamTrack | AudioSource | None = None) -> None:
        super().__init__()
        self.session = session.session() if isinstance(session, TalkingHead) else session
        """Its ``temperature`` and ``noise`` may be set while it runs."""
        self._ears = TrackSource(sound if isinstance(sound, MediaStreamTrack) else None)
        self.listens = sound is None or isinstance(sound, MediaStreamTrack)
        """Whether it hears what it is told to :meth:`listen` to; one with a source of its own does not."""
        source = self._ears if sound is None or isinstance(sound, MediaStreamTrack) else sound
        line = DelayLine(source.sample_rate, source.channels)
        self.delay_line = line
        """Between the sound heard and :attr:`audio`."""
        self.pipeline = Pipeline(self.session, source, self._take, delay_line=line)
        """Its ``stats``, ``delay`` and ``muted``."""
        self.audio = DelayedAudioTrack(self, line)
        """The sound, delayed as the picture is."""
        self.dropped = 0
        """Frames that no sender took in time."""
        self.speech = False
        """Whether the frame made last heard speech."""
        self.epoch = time.monotonic()
        """Instant that both tracks' timestamps count from."""
        self._frames: asyncio.Queue[tuple[Frame, float] | None] = asyncio.Queue(QUEUE)
        self._pts = -1
        self._running: asyncio.Task[None] | None = None

    def listen(self, sound: MediaStreamTrack) -> None:
        """Hear this audio track from now on, instead of any before."""
        self._ears.listen(sound)

    def interrupt(self) -> None:
        """Forget all sound that is not yet heard and the frames that show it; the face eases to rest."""
        self.pipeline.interrupt()
        while not self._frames.empty():
            self._frames.get_nowait()

    def start(self) -> None:
        """Begin to live, within a running event loop; does nothing if it did."""
        if self._running is None and self.readyState == "live":
            self._running = asyncio.create_task(self._run())

    async def recv(self) -> VideoFrame:
        """The next frame, when it is due.

        Raises:
            MediaStreamError: the track has ended.
        """
        self.start()
        item = await self._frames.get() if self.readyState == "live" else None
        if item is None:
            self.stop()
            raise MediaStreamError
        frame, due = item
        self._pts = max(self._pts + 1, round((due - self.epoch) * VIDEO_CLOCK))
        picture = VideoFrame.from_numpy_buffer(frame.image, "rgb24")
        picture.pts, picture.time_base = self._pts, Fraction(1, VIDEO_CLOCK)
        return picture

    async def _take(self, frame: Frame) -> None:
        self.speech = frame.speech
        if self._frames.full():
            self._frames.get_nowait()
            self.dropped += 1
        self._frames.put_nowait((frame, self.pipeline.due))

    async def _run(self) -> None:
        try:
            await self.pipeline.run()
        except Exception:
            _log.exception("the talking head stopped")
        finally:
            self._end()

    def _end(self) -> None:
        if self._frames.full():
            self._frames.get_nowait()
        self._frames.put_nowait(None)

    def stop(self) -> None:
        """End both tracks."""
        super().stop()
        if self.audio.readyState == "live":
            self.audio.stop()
        if self._running is not None and not self._running.done():
            self._running.cancel()
        else:
            self._end()

    async def close(self) -> None:
        """End both tracks, and wait until everything behind them has ended."""
        self.stop()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        self.session.close()


def attach(
    pc: RTCPeerConnection, head: TalkingHead | Session | TalkingHeadTrack, *, send: bool = True
) -> TalkingHeadTrack:
    """Answer a caller with a talking head, in one line: both tracks are added, and the caller's sound is heard.

    The first audio track that the connection receives is the one it hears; what else the caller sends is thrown away,
    for it would pile up. It ends when the connection does.

    Args:
        pc: not yet negotiated, or with the caller's offer set.
        head: what to show; a head, a session not yet fed, or a track made already. One with a sound of its own (an
            agent's) keeps it, and what the caller sends is left to the program, which has to read it.
        send: False only hears the caller; the head is shown elsewhere.
    """
    track = head if isinstance(head, TalkingHeadTrack) else TalkingHeadTrack(head)
    discarded = MediaBlackhole()
    heard = False

    starting: set[asyncio.Future[None]] = set()

    def receive(media: MediaStreamTrack) -> None:
        nonlocal heard
        if media.kind == "audio" and not heard:
            heard = True
            track.listen(media)
        else:
            discarded.addTrack(media)
            starting.add(asyncio.ensure_future(discarded.start()))

    if track.listens:
        for receiver in pc.getReceivers():
            if receiver.track is not None:
                receive(receiver.track)
        pc.on("track", receive)

    @pc.on("connectionstatechange")
    async def end() -> None:
        if pc.connectionState in ("closed", "failed"):
            await asyncio.gather(track.close(), discarded.stop())

    if send:
        keep_steady(pc.addTrack(track))
        pc.addTrack(track.audio)
    return track
