"""A head that several peers see: each gets frames of its own."""

from __future__ import annotations

from typing import cast

import numpy as np
from aiortc.contrib.media import MediaRelay
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame, VideoFrame

__all__ = ["ViewerTrack"]


class ViewerTrack(MediaStreamTrack):
    """One viewer's part of a relayed track.

    Encoders write to the frames they are given, each in a thread of its own: one frame must not go to two of them.

    Args:
        relay: between the track and all its viewers.
        track: a head's picture (RGB) or sound.
    """

    def __init__(self, relay: MediaRelay, track: MediaStreamTrack) -> None:
        super().__init__()
        self.kind = track.kind
        # Of the picture the newest frame is wanted; of the sound every packet is.
        self._relayed = relay.subscribe(track, buffered=track.kind == "audio")

    async def recv(self) -> AudioFrame | VideoFrame:
        """The next frame.

        Raises:
            MediaStreamError: the track has ended.
        """
        frame = cast(AudioFrame | VideoFrame, await self._relayed.recv())
        twin = _sound(frame) if isinstance(frame, AudioFrame) else _picture(frame)
        twin.pts, twin.time_base = frame.pts, frame.time_base
        return twin

    def stop(self) -> None:
        """Leave; the others go on."""
        super().stop()
        self._relayed.stop()


def _sound(frame: AudioFrame) -> AudioFrame:
    twin = AudioFrame.from_ndarray(frame.to_ndarray(), frame.format.name, frame.layout.name)
    twin.sample_rate = frame.sample_rate
    return twin


def _picture(frame: VideoFrame) -> VideoFrame:
    """Another frame of the same pixels, which are not copied."""
    plane = frame.planes[0]
    rows = np.frombuffer(cast(bytes, plane), np.uint8).reshape(frame.height, plane.line_size)
    pixels = np.ascontiguousarray(rows[:, : 3 * frame.width]).reshape(frame.height, frame.width, 3)
    return VideoFrame.from_numpy_buffer(pixels, "rgb24")
