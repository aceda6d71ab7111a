"""Offset between picture and sound as the sender's own reports tell it to any receiver (RFC 3550, section 6.4.1).

A receiver plays two streams in step by what their reports say: which instant of one clock belongs to which RTP time.
Here a peer reads number and tone out of what it gets, and the reports beside it; no player's taste is in the figure, as
it is in test_av_offset.py's. STREAMHEAD_E2E_SECONDS as there.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from aiortc import RTCPeerConnection
from aiortc.rtp import RtcpSrPacket
from calls import RATE, Received, Voice, negotiate, peer
from e2e.av_offset import DRIFTS, LONG, SECONDS, SETTLING, drift, numbered
from e2e.av_probe import read, tone_onsets, tones

import streamhead
from streamhead.output.webrtc import TalkingHeadTrack
from streamhead.timebase import FPS

VIDEO_RATE = 90_000


class _Reports:
    """The sender reports that a connection's receivers get: (RTP time, s of the sender's clock) by kind of track."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        self._receivers = {receiver.track.kind: receiver for receiver in pc.getReceivers()}
        self.of: dict[str, list[tuple[int, float]]] = {kind: [] for kind in self._receivers}
        for kind, receiver in self._receivers.items():
            receiver._handle_rtcp_packet = self._noting(receiver._handle_rtcp_packet, self.of[kind])

    @staticmethod
    def _noting(handle: Any, rows: list[tuple[int, float]]) -> Any:
        async def noted(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket):
                rows.append((packet.sender_info.rtp_timestamp, packet.sender_info.ntp_timestamp / 2**32))
            await handle(packet)

        return noted

    def instants(self, kind: str, rate: int, pts: np.ndarray) -> np.ndarray:
        """When, on the sender's clock, frames of these pts were due: by the reports of the ten seconds about each."""
        # A frame's pts counts from the first RTP time that came, which is a random number.
        origin = self._receivers[kind]._RTCRtpReceiver__timestamp_mapper._origin
        at = np.array([(rtp - origin) % 2**32 for rtp, _ in self.of[kind]]) / rate
        late = np.array([ntp for _, ntp in self.of[kind]]) - at
        return np.array([time + np.median(late[np.abs(at - time) < 5]) for time in pts / rate])


@pytest.mark.timeout(SECONDS + 180)
async def test_a_talking_head_by_its_reports() -> None:
    head = await asyncio.to_thread(streamhead.load, own_process=True)
    session = head.session(size=(640, 360))
    heard = numbered(session)
    track = TalkingHeadTrack(session, Voice(tones(SECONDS + 60)))
    sender, receiver = peer(), peer()
    received = Received(receiver)
    try:
        sender.addTrack(track.audio)
        sender.addTrack(track)
        await negotiate(sender, receiver)
        reports = _Reports(receiver)
        await asyncio.sleep(SETTLING + SECONDS + 1)
    finally:
        await track.close()
        await sender.close()
        await receiver.close()
        head.engine.close()

    shown = {read(grey): pts for _, pts, grey in received.video}
    began = received.audio[0][1]
    got = received.sound.astype(np.float32).mean(1) / 32768
    tones_got = np.array(tone_onsets(got)) / RATE
    tones_sent = np.array(tone_onsets(np.concatenate(heard))) / RATE
    # Their spacing tells which is which: the first few tones may have been lost while the connection was made.
    lost = min(
        range(len(tones_sent) - len(tones_got) // 2),
        key=lambda k: float(np.std([g - s for g, s in zip(tones_got, tones_sent[k:], strict=False)])),
    )
    pairs = [(s, g) for g, s in zip(tones_got, tones_sent[lost:], strict=False) if s >= SETTLING]
    pairs = [(s, g) for s, g in pairs if int(s * FPS) in shown]
    sent, out = np.array(pairs).T
    heard_at = reports.instants("audio", RATE, began + out * RATE)
    frame = (sent * FPS).astype(int)
    shown_at = reports.instants("video", VIDEO_RATE, np.array([shown[number] for number in frame]))
    offset = 1e3 * (shown_at + sent - frame / FPS - heard_at)
    figures = {
        "tones": len(offset),
        "reports": {kind: len(rows) for kind, rows in reports.of.items()},
        "offset_ms_mean": round(float(offset.mean()), 1),
        "abs_offset_ms_p95": round(float(np.percentile(np.abs(offset), 95)), 1),
        "drift_ms": round(drift(sent, offset), 2),
    }
    print("by its reports", json.dumps(figures))
    assert len(offset) > SECONDS / 3
    assert abs(np.median(offset)) < 100
    if LONG:  # the release check has a machine to itself
        assert abs(offset.mean()) <= 40
        assert np.percentile(np.abs(offset), 95) <= 80
        assert abs(drift(sent, offset)) <= 10 or not DRIFTS
