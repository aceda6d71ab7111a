"""A VP8 encoder for aiortc that does not blink.

aiortc's own begins anew, with a coarse whole picture, whenever the receiver's estimate of the bandwidth has moved by a
tenth: while the estimate climbs, the face turns to grey blocks every other second. This one spends what a clear picture
takes, up to a ceiling, and begins anew only where the network cannot carry what is sent, or can again carry much more.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Any, Final

from aiortc import RTCRtpSender
from aiortc.codecs.vpx import Vp8Encoder
from av import CodecContext, Packet, VideoCodecContext, VideoFrame
from av.frame import Frame
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from streamhead.timebase import FPS

__all__ = ["SteadyVp8Encoder", "keep_steady"]

MOST: Final = 1_500_000
"""Bits a second that are aimed at on a good network: a face at 1280x720 without visible loss."""
LEAST: Final = 250_000
CLOCK: Final = 90_000
WINDOW: Final = 2 * FPS
"""Frames over which it is counted what is sent."""
PATIENCE: Final = 10 * FPS
"""Frames before more is tried again."""


class SteadyVp8Encoder(Vp8Encoder):
    """Encodes one video track; ``target_bitrate`` is set to what the receiver believes the network can carry."""

    def __init__(self) -> None:
        super().__init__()
        self._rate = MOST
        self._sizes: deque[int] = deque(maxlen=WINDOW)
        self._since = 0  # frames since the rate was changed
        self._encoding: VideoCodecContext | None = None
        self._reformatter = VideoReformatter()  # a frame's own one makes threads, and ends them with the frame

    @property
    def target_bitrate(self) -> int:
        """Bits a second that are aimed at."""
        return self._rate

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        # An estimate says little above what is sent: it is made from what arrives.
        sent = 8 * sum(self._sizes) * FPS / max(1, len(self._sizes))
        if self._since < FPS:
            return
        if bitrate < 0.8 * min(sent, self._rate):
            rate = max(LEAST, round(0.9 * bitrate))
        elif bitrate > 1.5 * self._rate and self._since > PATIENCE:
            rate = min(MOST, round(0.9 * bitrate))
        else:
            return
        if rate != self._rate:
            self._rate, self._since, self._encoding = rate, 0, None

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """A frame's payloads, and its timestamp on the 90 kHz clock."""
        assert isinstance(frame, VideoFrame) and frame.pts is not None and frame.time_base is not None
        codec = self._encoding
        if codec is None or (codec.width, codec.height) != (frame.width, frame.height):
            codec = self._encoding = self._opened(frame.width, frame.height)
        timestamp = round(frame.pts * frame.time_base * CLOCK)
        picture = self._reformatter.reformat(frame, format="yuv420p", threads=1)
        picture.pts, picture.time_base = timestamp, Fraction(1, CLOCK)
        picture.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        data = b"".join(bytes(packet) for packet in codec.encode(picture))
        self._sizes.append(len(data))
        self._since += 1
        packet = Packet(data)
        packet.pts, packet.time_base = timestamp, Fraction(1, CLOCK)
        return self.pack(packet)

    def _opened(self, width: int, height: int) -> VideoCodecContext:
        codec: Any = CodecContext.create("libvpx", "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, CLOCK), Fraction(FPS)
        codec.bit_rate, codec.gop_size = self._rate, 120 * FPS  # whole pictures are asked for by who needs them
        codec.qmin, codec.qmax = 4, 60
        codec.thread_count = 1  # two would wait for each other spinning, and so eat both cores
        codec.options = {
            "deadline": "realtime",
            "cpu-used": "-8",
            "lag-in-frames": "0",
            "static-thresh": "100",  # what stands still costs nothing
            "maxrate": str(2 * self._rate),
            "bufsize": str(self._rate),
        }
        opened: VideoCodecContext = codec
        return opened


def keep_steady(sender: RTCRtpSender) -> None:
    """Let a video sender, not yet started, encode VP8 with :class:`SteadyVp8Encoder`; other codecs stay as they are."""
    # aiortc has no door for an encoder of one's own. Should it rename these, its own encoder is what is used.
    slot, encode = "_RTCRtpSender__encoder", sender._next_encoded_frame

    async def next_encoded_frame(codec: Any) -> Any:
        if codec.name == "VP8" and getattr(sender, slot, codec) is None:
            setattr(sender, slot, SteadyVp8Encoder())
        return await encode(codec)

    sender._next_encoded_frame = next_encoded_frame  # type: ignore[method-assign]
