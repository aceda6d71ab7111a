"""One WebRTC connection to a peer: from its offer to its end, however that comes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack

from streamhead.server.refusal import Refusal

__all__ = ["Connection", "Patience"]

CHECK: Final = 1.0
"""Seconds between two looks at whether the peer is still there."""
MOST_SECTIONS: Final = 8
"""Parts of an offer: a caller needs two."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer may keep the server waiting.

    Attributes:
        to_connect: seconds from the answer to the first packet.
        silence: seconds without any packet, longer than a network that comes and goes is away. A peer that is there
            sends a report every few seconds at least.
    """

    to_connect: float = 20.0
    silence: float = 15.0


class Connection:
    """A peer that made an offer.

    Args:
        patience: how long it may keep silent.
    """

    def __init__(self, patience: Patience) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration([]))  # [] asks no server on the internet for our address
        self.reason = ""
        """Why it ended, in a word or two."""
        self._patience = patience
        self._over = asyncio.Event()
        self.pc.on("connectionstatechange", self._notice)

    def _notice(self) -> None:
        if self.pc.connectionState in ("closed", "failed"):
            self.end(self.pc.connectionState)

    def end(self, reason: str) -> None:
        """Let :meth:`outlast` return; the first reason counts."""
        self.reason = self.reason or reason
        self._over.set()

    async def answer(self, offer: str, *, hears: bool) -> str:
        """Answer an offer with the tracks that the connection has by now.

        Args:
            offer: SDP.
            hears: whether the peer's sound is wanted, from the first section that sends some. Nothing else is taken.

        Returns:
            SDP with all addresses in it.

        Raises:
            Refusal: 400, the offer is none, or lacks what is needed.
        """
        if offer.count("\nm=") > MOST_SECTIONS:
            raise Refusal(400, "the offer has too many sections; offer one of audio and one of video")
        if "\nm=" not in offer:
            raise Refusal(400, "this is no SDP offer; send what createOffer made")
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        # aiortc's parser raises whatever Python does on what it does not expect.
        except Exception:
            raise Refusal(400, "this is no offer that can be answered; send the SDP that createOffer made") from None
        self._choose(hears)
        try:
            await self.pc.setLocalDescription(await self.pc.createAnswer())
        except Exception:
            raise Refusal(400, "the offer cannot be answered; send the SDP that createOffer made, whole") from None
        return self.pc.localDescription.sdp

    def _choose(self, hears: bool) -> None:
        """Say of each section of the offer whether we send there, take what is sent, both or neither."""
        sends = False
        for transceiver in self.pc.getTransceivers():
            track: MediaStreamTrack | None = transceiver.sender.track
            if track is not None and transceiver.mid is None:
                if track.kind == "video":
                    raise Refusal(400, "the offer takes no picture; add a video transceiver to it, recvonly")
                continue
            take = hears and transceiver.kind == "audio" and transceiver.receiver.track is not None
            hears = hears and not take
            sends = sends or track is not None
            transceiver.direction = {
                (False, False): "inactive",
                (False, True): "recvonly",
                (True, False): "sendonly",
                (True, True): "sendrecv",
            }[track is not None, take]
        if hears:
            raise Refusal(400, "the offer sends no audio; add a microphone's track to it")

    async def outlast(self) -> str:
        """Wait until the connection is over: closed, failed, ended, never made, or the peer has vanished.

        Returns:
            The reason.
        """
        packets, changed = 0, time.monotonic()
        while not self._over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), CHECK)
            before, packets = packets, await self._received()
            if packets != before:
                changed = time.monotonic()
            limit = self._patience.silence if packets else self._patience.to_connect
            if time.monotonic() - changed > limit:
                self.end("vanished" if packets else "never connected")
        return self.reason

    async def _received(self) -> int:
        """Packets that came from the peer."""
        report = await self.pc.getStats()
        return sum(entry.packetsReceived for entry in report.values() if entry.type == "transport")

    async def close(self) -> None:
        """Close the connection, and wait until it is."""
        await self.pc.close()
