"""VP8 that does not begin anew while a receiver's estimate of the bandwidth climbs, and gives way where it must."""

from __future__ import annotations

import os
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.codecs.vpx import Vp8Decoder, vp8_depayload
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import VideoStreamTrack
from calls import Received, negotiate, two_peers
from test_webrtc import until

from streamhead.output.steady_encoder import LEAST, MOST, PATIENCE, SteadyVp8Encoder, keep_steady


def _pictures(count: int, first: int = 0, restless: bool = False) -> list[av.VideoFrame]:
    """A smooth picture with a patch that moves, or another pattern each time."""
    y, x = np.mgrid[0:180, 0:320]
    still = np.stack((x / 320, y / 180, 0.5 + 0.3 * np.sin(x / 20)), -1) * 200
    out = []
    for t in range(first, first + count):
        image = still.copy()
        if restless:
            image = np.random.default_rng(t).uniform(0, 255, (23, 40, 3)).repeat(8, 0)[:180].repeat(8, 1)
        image[60:90, 40 + t % 200 : 70 + t % 200] = 20
        frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), "rgb24")
        frame.pts, frame.time_base = t, Fraction(1, 25)
        out.append(frame)
    return out


def _whole(payloads: list[bytes]) -> bool:
    """Whether a coded picture stands alone (RFC 7741, section 4.3: P is 0)."""
    return not vp8_depayload(payloads[0])[0] & 1


def test_a_climbing_estimate_changes_nothing() -> None:
    encoder, decoder = SteadyVp8Encoder(), Vp8Decoder()
    whole, worst = [], 99.0
    for t, picture in enumerate(_pictures(100)):
        encoder.target_bitrate = round(300_000 * 1.02**t)  # aiortc's own encoder begins anew ten times
        payloads, timestamp = encoder.encode(picture)
        assert timestamp == 3600 * t
        if _whole(payloads):
            whole.append(t)
        data = b"".join(map(vp8_depayload, payloads))
        (seen,) = decoder.decode(JitterFrame(data=data, timestamp=timestamp))
        error = seen.to_ndarray(format="gray").astype(float) - picture.to_ndarray(format="gray")
        worst = min(worst, float(10 * np.log10(255**2 / np.mean(error**2))))
    assert whole == [0]
    assert worst > 35
    assert encoder.target_bitrate == MOST


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_converting_a_picture_starts_no_thread() -> None:
    # A frame's own converter would: threads that whoever drops the frame, the event loop, has to wait for.
    encoder = SteadyVp8Encoder()
    pictures = _pictures(3)
    encoder.encode(pictures[0])
    before = len(os.listdir("/proc/self/task"))
    for picture in pictures:
        encoder.encode(picture)
    assert len(os.listdir("/proc/self/task")) <= before


def test_a_whole_picture_when_asked_for() -> None:
    encoder = SteadyVp8Encoder()
    whole = [_whole(encoder.encode(picture, force_keyframe=t == 5)[0]) for t, picture in enumerate(_pictures(10))]
    assert whole == [t in (0, 5) for t in range(10)]


def test_it_gives_way_to_a_narrow_network_and_takes_more_again() -> None:
    encoder = SteadyVp8Encoder()
    for picture in _pictures(60, restless=True):
        encoder.encode(picture)
    encoder.target_bitrate = 400_000
    narrow = encoder.target_bitrate
    assert LEAST <= narrow < 400_000
    sizes = [sum(map(len, encoder.encode(picture)[0])) for picture in _pictures(75, 60, restless=True)]
    assert 8 * sum(sizes[50:]) < 1.3 * narrow  # in the last second
    encoder.target_bitrate = 100_000
    assert encoder.target_bitrate == LEAST
    for picture in _pictures(PATIENCE + 1, 135):
        encoder.encode(picture)
    encoder.target_bitrate = 3_000_000
    assert encoder.target_bitrate == MOST


def test_another_size_begins_anew() -> None:
    encoder = SteadyVp8Encoder()
    first, *_ = _pictures(1)
    encoder.encode(first)
    small = first.reformat(160, 90)
    small.pts, small.time_base = 1, Fraction(1, 25)
    assert _whole(encoder.encode(small)[0])


async def test_a_sender_uses_it() -> None:
    """If this fails aiortc has changed inside; calls still work, with its own encoder."""
    async with two_peers() as (caller, answerer):
        caller.addTransceiver("video", direction="recvonly")
        received = Received(caller)
        sender = answerer.addTrack(VideoStreamTrack())
        keep_steady(sender)
        await negotiate(caller, answerer)
        await until(lambda: len(received.video) > 2)
        assert isinstance(sender._RTCRtpSender__encoder, SteadyVp8Encoder)
