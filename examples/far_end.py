"""The far end of a call, for the examples: everything a peer receives, on one clock, measured and kept as a file.

A receiver knows from RTCP sender reports which instant of the sender's clock each timestamp stands for, and plays sound
and picture of one instant together (RFC 3550, section 6.4.1). So does this one.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import aioice.ice
import av
import numpy as np
from aiortc import RTCPeerConnection
from aiortc.clock import datetime_from_ntp
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtp import RtcpSrPacket

RATE, VIDEO_CLOCK = 48_000, 90_000


def reachable() -> None:
    """Let a machine without any network call itself: aiortc leaves the loopback address out."""
    if not aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True):
        aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


@dataclass
class Received:
    """One track: when each of its frames arrived, and what their timestamps mean.

    Attributes:
        clock: timestamps a second.
        arrived: (instant of time.monotonic(), timestamp counted from the first) of each frame.
        origin: RTP timestamp of the first packet.
        report: (RTP timestamp, instant of the sender's clock) of the last sender report. Both ends of an example run on
            one machine: the sender's clock is told as time.monotonic().
    """

    clock: int
    arrived: list[tuple[float, int]] = field(default_factory=list)
    origin: int | None = None
    report: tuple[int, float] | None = None

    @property
    def zero(self) -> float | None:
        """The sender's instant of timestamp 0, once there was a report."""
        if self.report is None or self.origin is None:
            return None
        timestamp, instant = self.report
        ticks = (timestamp - self.origin + 2**31) % 2**32 - 2**31
        return instant - ticks / self.clock


class FarEnd:
    """Receives on a connection that is not yet negotiated; :meth:`save` writes what came.

    Args:
        pc: the connection.
        path: an mp4, written as it would be played.
    """

    def __init__(self, pc: RTCPeerConnection, path: Path) -> None:
        self.video = Received(VIDEO_CLOCK)
        self.audio = Received(RATE)
        self.sound: list[np.ndarray] = []
        self.size = (0, 0)
        self._path = path
        self._container: Any = None
        self._packets: list[av.Packet] = []
        self._encoder: Any = None
        self._thread = ThreadPoolExecutor(1)  # encoding would hold up the event loop
        self._tasks: list[asyncio.Task[None]] = []
        self._began = time.monotonic()
        self.picture = asyncio.Event()

        @pc.on("track")
        def receive(track: MediaStreamTrack) -> None:
            kept = self.video if track.kind == "video" else self.audio
            receiver = next(one for one in pc.getReceivers() if one.track is track)
            _note_clock(receiver, kept)
            self._tasks.append(asyncio.create_task(self._consume(track, kept)))

    async def _consume(self, track: MediaStreamTrack, kept: Received) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await track.recv()
                kept.arrived.append((time.monotonic(), frame.pts))
                if isinstance(frame, av.AudioFrame):
                    self.sound.append(frame.to_ndarray().reshape(-1, frame.layout.nb_channels))
                else:
                    self.picture.set()
                    await loop.run_in_executor(self._thread, self._encode, frame)
        except MediaStreamError:
            return

    def _encode(self, frame: av.VideoFrame) -> None:
        if self._encoder is None:
            self._container = av.open(str(self._path), "w")
            self._encoder = self._container.add_stream("h264", rate=25, options={"preset": "superfast", "crf": "21"})
            self._encoder.width, self._encoder.height = self.size = (frame.width, frame.height)
            self._encoder.pix_fmt = "yuv420p"
            self._encoder.codec_context.time_base = Fraction(1, VIDEO_CLOCK)
            self._encoder.codec_context.max_b_frames = 0
        picture = frame.reformat(*self.size, format="yuv420p")
        picture.pts, picture.time_base = frame.pts, Fraction(1, VIDEO_CLOCK)
        self._packets += self._encoder.encode(picture)

    async def save(self) -> None:
        """Stop listening and write the file, sound and picture at the instants that the sender gave them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._save)
        self._thread.shutdown()

    def _save(self) -> None:
        if self._container is None:
            raise SystemExit("no picture arrived: is a firewall between this machine and itself?")
        behind = round(((self.video.zero or 0.0) - (self.audio.zero or 0.0)) * VIDEO_CLOCK)  # of the picture's zero
        voice = self._container.add_stream("aac", rate=RATE, layout="stereo")
        for packet in (*self._packets, *self._encoder.encode(None)):
            packet.pts += max(0, behind)
            packet.dts += max(0, behind)
            self._container.mux(packet)
        sound = av.AudioFrame.from_ndarray(self.received_sound().reshape(1, -1), "s16", "stereo")
        sound.rate, sound.pts = RATE, max(0, -behind) * RATE // VIDEO_CLOCK
        resampler = av.AudioResampler("fltp", "stereo", RATE)
        for piece in (*resampler.resample(sound), *resampler.resample(None)):
            self._container.mux(voice.encode(piece))
        self._container.mux(voice.encode(None))
        self._container.close()

    def received_sound(self) -> np.ndarray:
        """``(n, 2)`` int16 at 48 kHz from timestamp 0 on; silence where packets were lost."""
        if not self.sound:
            return np.zeros((RATE // 50, 2), np.int16)
        end = self.audio.arrived[-1][1] + len(self.sound[-1])
        whole = np.zeros((end, 2), np.int16)
        for (_, start), piece in zip(self.audio.arrived, self.sound, strict=False):
            whole[start : start + len(piece)] = piece[: end - start]
        return whole


def _note_clock(receiver: Any, kept: Received) -> None:
    """Take down a receiver's first timestamp and its sender reports, which aiortc keeps to itself."""
    take_media, take_control = receiver._handle_rtp_packet, receiver._handle_rtcp_packet

    async def media(packet: Any, arrival_time_ms: int) -> None:
        if kept.origin is None and packet.payload:
            kept.origin = packet.timestamp
        await take_media(packet, arrival_time_ms)

    async def control(packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket):
            sent = datetime_from_ntp(packet.sender_info.ntp_timestamp)
            kept.report = (packet.sender_info.rtp_timestamp, sent.timestamp() - time.time() + time.monotonic())
        await take_control(packet)

    receiver._handle_rtp_packet, receiver._handle_rtcp_packet = media, control
