"""Callers who fall silent: they mute without a word (no packets at all), or the network is away for a while.

The face lives on, and what comes after is as prompt as what came before. STREAMHEAD_E2E_SECONDS=60 makes the figures
count (the release check has a machine to itself).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession
from av import AudioFrame
from calls import RATE, Voice
from e2e.serving import Served, free_port, serve
from servers import Caller, Server, call, until
from sounds import speech

from streamhead.timebase import FPS

LONG = float(os.environ.get("STREAMHEAD_E2E_SECONDS", "10")) >= 60
AWAY = 5.0
"""Seconds of silence."""
PLACE, THERE, HERE = "streamhead-test", "10.77.91.2", "10.77.91.1"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Pausing(Voice):
    """A voice that can be held: then it sends nothing at all, as with discontinuous transmission."""

    held = False

    async def recv(self) -> AudioFrame:
        frame = await super().recv()
        while self.held:
            await asyncio.sleep(0.02)
            frame = await super().recv()  # time goes on, and so do the timestamps
        return frame


async def _delays(server: Server, seconds: float) -> tuple[int, float]:
    """Frames handed over in the next seconds, and the bound (ms) under which 95 of 100 of their delays were."""

    async def counts() -> dict[float, float]:
        text = await (await server.ask("GET", "/metrics")).text()
        found = {}
        for line in text.splitlines():
            if line.startswith("streamhead_delay_seconds_bucket"):
                found[float(line.split('le="')[1].split('"')[0])] = float(line.split()[-1])
        return found

    before = await counts()
    await asyncio.sleep(seconds)
    grown = {edge: count - before.get(edge, 0.0) for edge, count in (await counts()).items()}
    total = grown[float("inf")]
    return round(total), 1000 * min(edge for edge, count in grown.items() if count >= 0.95 * total)


async def _falls_silent(
    server: Server, caller: Caller, go: Callable[[], Awaitable[None]], come: Callable[[], Awaitable[None]]
) -> None:
    await until(lambda: len(caller.received.video) > 2 * FPS)
    _, usual = await _delays(server, 3)
    drawn, late = await _frames(server)
    await go()
    await asyncio.sleep(AWAY)
    await come()
    lived, passed_over = (now - before for now, before in zip(await _frames(server), (drawn, late), strict=True))
    await asyncio.sleep(1.0)
    seen = len(caller.received.video)
    _, after = await _delays(server, 3)
    print(json.dumps({"frames_while_away": lived, "delay_p95_ms_before": usual, "from_1_s_after_return": after}))
    # The face lives on at its pace, though a busy machine does not draw all of it.
    assert lived > AWAY
    assert lived + passed_over > AWAY * FPS / 2
    await until(lambda: len(caller.received.video) > seen + 10)
    if LONG:
        assert lived > 0.95 * AWAY * FPS
        assert after <= usual + 20


async def _frames(server: Server) -> tuple[float, float]:
    """How many were handed over, and how many were not drawn because they were late."""
    text = await (await server.ask("GET", "/metrics")).text()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return float(figures["streamhead_frames_total"]), float(figures["streamhead_late_frames_total"])


async def _call(client: ClientSession, address: str, voice: Voice, **headers: str) -> tuple[Server, Caller]:
    server = Server(client, address, None, None)  # type: ignore[arg-type]
    return server, await call(server, voice)


async def test_a_caller_who_sends_nothing_for_a_while(tmp_path: Path) -> None:
    voice = Pausing(speech(8.0, RATE))

    async def go() -> None:
        voice.held = True

    async def come() -> None:
        voice.held = False

    with serve(tmp_path / "serve.log", free_port(), "--size", "640x360") as served:
        async with ClientSession() as client:
            server, caller = await _call(client, served.address.rstrip("/"), voice)
            try:
                await _falls_silent(server, caller, go, come)
            finally:
                await caller.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A network namespace that a cable leads to; the name of the cable's end here."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and ip (Debian: apt-get install iproute2)")
    subprocess.run(["ip", "netns", "del", PLACE], check=False, capture_output=True)
    try:
        _ip("netns", "add", PLACE)
        _ip("link", "add", "shtest0", "type", "veth", "peer", "name", "shtest1")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        _ip("link", "set", "shtest1", "netns", PLACE)
        _ip("addr", "add", f"{HERE}/24", "dev", "shtest0")
        _ip("link", "set", "shtest0", "up")
        for arguments in (
            ("addr", "add", f"{THERE}/24", "dev", "shtest1"),
            ("link", "set", "shtest1", "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("netns", "exec", PLACE, "ip", *arguments)
        yield "shtest0"
    finally:
        subprocess.run(["ip", "link", "del", "shtest0"], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", PLACE], check=False, capture_output=True)


async def test_a_network_that_is_away_for_a_while(tmp_path: Path, elsewhere: str) -> None:
    async def go() -> None:
        await asyncio.to_thread(_ip, "link", "set", elsewhere, "down")

    async def come() -> None:
        await asyncio.to_thread(_ip, "link", "set", elsewhere, "up")
        await asyncio.sleep(0.1)

    port = free_port()
    options = ("--host", THERE, "--token", "a-token-for-the-test", "--size", "640x360")
    inside = ("ip", "netns", "exec", PLACE)
    with serve(tmp_path / "serve.log", port, *options, inside=inside) as served:
        assert isinstance(served, Served)
        headers = {"Authorization": "Bearer a-token-for-the-test"}
        async with ClientSession(headers=headers) as client:
            server, caller = await _call(client, f"http://{THERE}:{port}", Voice(np.asarray(speech(8.0, RATE))))
            try:
                await _falls_silent(server, caller, go, come)
            finally:
                await caller.close()
