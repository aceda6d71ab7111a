"""One WebRTC connection to a peer: from its offer to its end, however that comes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from streamhead.server.refusal import Refusal

__all__ = ["Connection", "Patience", "shut"]

NO_OFFER: Final = "this is no offer that can be answered; send the SDP that createOffer made, whole"
NO_AUDIO: Final = "the offer sends no audio; add a microphone's track to it"
NO_VIDEO: Final = "the offer takes no picture; add a video transceiver to it, recvonly"
CHECK: Final = 1.0
"""Seconds between two looks at whether the peer is still there."""
SETTLING: Final = 0.1
"""Seconds in which ICE ends what it was at."""
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
        self._taken = False
        self._over = asyncio.Event()
        self.pc.on("connectionstatechange", self._notice)

    def _notice(self) -> None:
        if self.pc.connectionState in ("closed", "failed"):
            self.end(self.pc.connectionState)

    def end(self, reason: str) -> None:
        """Let :meth:`outlast` return; the first reason counts."""
        self.reason = self.reason or reason
        self._over.set()

    async def take(self, offer: str) -> None:
        """Read the peer's offer, SDP.

        Raises:
            Refusal: 400, it is none.
        """
        if offer.count("\nm=") > MOST_SECTIONS:
            raise Refusal(400, "the offer has too many sections; offer one of audio and one of video")
        if "\nm=" not in offer:
            raise Refusal(400, NO_OFFER)
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        # aiortc's parser raises whatever Python does on what it does not expect.
        except Exception:
            raise Refusal(400, NO_OFFER) from None
        if any(transceiver.receiver.transport is None for transceiver in self.pc.getTransceivers()):
            raise Refusal(400, NO_OFFER)  # its sections are bundled with some that it does not have
        self._taken = True

    def require(self, *kinds: str) -> None:
        """See that the offer has sections of these kinds.

        Raises:
            Refusal: 400, one is missing.
        """
        for kind in kinds:
            if kind not in self.kinds:
                raise Refusal(400, NO_AUDIO if kind == "audio" else NO_VIDEO)

    @property
    def kinds(self) -> set[str]:
        """``audio`` and ``video``, as far as the offer has them."""
        return {transceiver.kind for transceiver in self.pc.getTransceivers() if transceiver.mid is not None}

    async def answer(self, *, hears: bool) -> str:
        """Answer the offer with the tracks that the connection has by now.

        Args:
            hears: whether the peer's sound is wanted, from the first section that sends some. Nothing else is taken.

        Returns:
            SDP with all addresses in it.

        Raises:
            Refusal: 400, no sound is offered though it is wanted, or what is offered makes no sense.
        """
        self._choose(hears)
        try:
            answer = await self.pc.createAnswer()
            if "a=setup:actpass" in self.pc.remoteDescription.sdp:
                # As DTLS client aiortc wants an ECDSA certificate of its peer, and GStreamer's is RSA. As server it
                # shows its own; WHIP asks for this, too.
                answer.sdp = answer.sdp.replace("a=setup:active", "a=setup:passive")
            await self.pc.setLocalDescription(answer)
        except Exception:
            raise Refusal(400, NO_OFFER) from None
        return self.pc.localDescription.sdp

    def _choose(self, hears: bool) -> None:
        """Say of each section of the offer whether we send there, take what is sent, both or neither."""
        for transceiver in self.pc.getTransceivers():
            send = transceiver.sender.track is not None
            take = hears and transceiver.kind == "audio" and transceiver.receiver.track is not None
            hears = hears and not take
            transceiver.direction = {
                (False, False): "inactive",
                (False, True): "recvonly",
                (True, False): "sendonly",
                (True, True): "sendrecv",
            }[send, take]
        if hears:
            raise Refusal(400, NO_AUDIO)

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
        if not self._taken:  # nothing is open, and aiortc would stumble over its half-made parts
            return
        await shut(self.pc)


async def shut(pc: RTCPeerConnection) -> None:
    """Close a connection, whatever it was at."""
    connected = pc.connectionState == "connected"
    await pc.close()
    if not connected:
        # Closed in the very moment it connects, aioice asks a peer for consent for ever, and aiortc begins to send and
        # to receive: both are stopped again.
        await asyncio.sleep(SETTLING)
        for transceiver in pc.getTransceivers():
            await transceiver.stop()
            await transceiver.receiver.transport.transport.stop()
