"""Two real aiortc peers in one process, and sound for one of them to send."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

RATE = 48_000


class Voice(MediaStreamTrack):
    """Sound in real time, as from a microphone: 20 ms packets, over and over."""

    kind = "audio"

    def __init__(self, sound: np.ndarray) -> None:
        super().__init__()
        self._sound = np.int16(np.clip(sound, -1, 1) * 32767)
        self._packet = 0
        self._began = 0.0

    async def recv(self) -> AudioFrame:
        self._began = self._began or time.monotonic()
        self._packet += 1
        await asyncio.sleep(max(0.0, self._began + self._packet / 50 - time.monotonic()))
        start = (self._packet - 1) * RATE // 50
        pcm = self._sound[np.arange(start, start + RATE // 50) % len(self._sound)]
        frame = AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        return frame


class Received:
    """What a peer gets: every frame of every track, with the instant it came."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        self.video: list[tuple[float, int, np.ndarray]] = []
        self.audio: list[tuple[float, int, np.ndarray]] = []
        self.tasks: list[asyncio.Task[None]] = []
        pc.on("track", lambda track: self.tasks.append(asyncio.create_task(self._consume(track))))

    async def _consume(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                if isinstance(frame, AudioFrame):
                    pcm = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
                    self.audio.append((time.monotonic(), frame.pts, pcm))
                else:
                    luma = frame.planes[0]  # as it is: to_ndarray(format="gray") costs more than decoding
                    grey = np.frombuffer(luma, np.uint8).reshape(-1, luma.line_size)[::4, : luma.width : 4]
                    self.video.append((time.monotonic(), frame.pts, grey.copy()))
        except MediaStreamError:
            return

    @property
    def sound(self) -> np.ndarray:
        """``(n, 2)`` int16 so far."""
        return np.concatenate([pcm for *_, pcm in self.audio])


def peer() -> RTCPeerConnection:
    """A connection that asks no server on the internet for its address."""
    return RTCPeerConnection(RTCConfiguration([]))


async def negotiate(offering: RTCPeerConnection, answering: RTCPeerConnection) -> None:
    """Connect the two."""
    await offering.setLocalDescription(await offering.createOffer())
    await answering.setRemoteDescription(offering.localDescription)
    await answering.setLocalDescription(await answering.createAnswer())
    await offering.setRemoteDescription(answering.localDescription)


@asynccontextmanager
async def two_peers() -> AsyncIterator[tuple[RTCPeerConnection, RTCPeerConnection]]:
    """Two peers, closed at the end."""
    pair = peer(), peer()
    try:
        yield pair
    finally:
        await asyncio.gather(*(pc.close() for pc in pair))
