"""A real server with a small untrained head, and what callers of it do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiohttp import ClientResponse, ClientSession
from aiohttp.web import SockSite
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame
from calls import RATE, Received, Voice, peer
from heads import head

from streamhead.server.access import Rates
from streamhead.server.app import CALLS, PORTRAITS, Settings, make_app, make_runner
from streamhead.server.calls import Calls
from streamhead.server.connection import shut
from streamhead.server.portraits import Portraits

SIZE = (320, 180)


@dataclass
class Server:
    """A running server and a client of it."""

    client: ClientSession
    address: str
    calls: Calls = None  # type: ignore[assignment]  # of a server in another process nothing is seen
    portraits: Portraits = None  # type: ignore[assignment]

    async def ask(self, method: str, path: str, **given: Any) -> ClientResponse:
        async with self.client.request(method, f"{self.address}{path}", **given) as response:
            await response.read()
            return response

    async def refused(self, method: str, path: str, **given: Any) -> tuple[int, str]:
        """Status and words of a refusal: one line."""
        response = await self.ask(method, path, **given)
        assert response.status >= 400
        text: str = (await response.json())["error"]
        assert "\n" not in text and 10 < len(text) < 160
        return response.status, text


@asynccontextmanager
async def serve(**settings: Any) -> AsyncIterator[Server]:
    """A server on loopback; its rates are those of a caller in a hurry."""
    given = Settings(**{"size": SIZE, "rates": Rates(10_000, 10_000), **settings})
    app = make_app(head(), given)
    runner = make_runner(app)
    await runner.setup()
    try:
        listening = socket.create_server(("127.0.0.1", 0))
        await SockSite(runner, listening).start()
        async with ClientSession() as client:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            yield Server(client, address, app[CALLS], app[PORTRAITS])
    finally:
        await runner.cleanup()


class Microphone(Voice):
    """A voice that does not wait for a busy machine: what is not taken in time is lost, as from a real one."""

    async def recv(self) -> AudioFrame:
        if self._began:
            due = int((time.monotonic() - self._began) * 50)
            self._packet = due if due > self._packet + 10 else self._packet
        return await super().recv()


@dataclass
class Caller:
    """One end of a call."""

    pc: RTCPeerConnection
    received: Received
    session: str = ""
    location: str = ""

    @property
    def sees(self) -> bool:
        return bool(self.received.video)

    @property
    def colour(self) -> float:
        """Mean grey level of the last picture."""
        return float(self.received.video[-1][2].mean())

    async def close(self) -> None:
        await shut(self.pc)
        for task in self.received.tasks:
            task.cancel()  # a track of a connection that never was does not end by itself
        await asyncio.gather(*self.received.tasks, return_exceptions=True)


def new_caller(sound: np.ndarray | MediaStreamTrack | None, *, video: bool = True, audio: bool = False) -> Caller:
    """A peer that sends this sound, if any, and takes a picture, and with ``audio`` sound."""
    pc = peer()
    if sound is not None:
        pc.addTrack(sound if isinstance(sound, MediaStreamTrack) else Microphone(sound))
    if video:
        pc.addTransceiver("video", direction="recvonly")
    if audio:
        pc.addTransceiver("audio", direction="recvonly")
    return Caller(pc, Received(pc))


async def offer(pc: RTCPeerConnection) -> str:
    await pc.setLocalDescription(await pc.createOffer())
    return pc.localDescription.sdp


async def call(server: Server, sound: np.ndarray | MediaStreamTrack, **wishes: Any) -> Caller:
    """Call as the page does."""
    caller = new_caller(sound)
    response = await server.ask("POST", "/offer", json={"sdp": await offer(caller.pc), "type": "offer", **wishes})
    assert response.status == 200, await response.text()
    answer = await response.json()
    caller.session = answer["session"]
    await caller.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
    return caller


async def exchange(server: Server, caller: Caller, path: str, **given: Any) -> Caller:
    """Publish or play, as WHIP and WHEP clients do."""
    response = await server.ask(
        "POST", path, data=await offer(caller.pc), headers={"Content-Type": "application/sdp"}, **given
    )
    assert response.status == 201, await response.text()
    assert response.content_type == "application/sdp"
    caller.location = response.headers["Location"]
    caller.session = caller.location.split("/")[2]
    await caller.pc.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
    return caller


def vanish(pc: RTCPeerConnection) -> None:
    """Fall silent for good without a farewell, as a machine that loses its power; ``comes_back`` mends it."""
    for transceiver in pc.getTransceivers():
        for protocol in transceiver.receiver.transport.transport._connection._protocols:
            protocol.transport.sendto = lambda *_: None


def comes_back(pc: RTCPeerConnection) -> None:
    for transceiver in pc.getTransceivers():
        for protocol in transceiver.receiver.transport.transport._connection._protocols:
            vars(protocol.transport).pop("sendto", None)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def hears(caller: Caller, frequency: float) -> bool:
    """Whether the last fifth of a second that came is a tone of this frequency and nothing else."""
    if len(caller.received.audio) < 10:
        return False
    mono = caller.received.sound[-RATE // 5 :, 0].astype(float)
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono)))) ** 2
    place = round(frequency * len(mono) / RATE)
    return bool(spectrum[place - 3 : place + 4].sum() > 0.9 * spectrum.sum() > 0)
