"""``streamhead serve --virtual-cam --webrtc``: this machine's microphone and callers, in one process on one model."""

from __future__ import annotations

import signal
from pathlib import Path

from aiohttp import ClientSession
from calls import RATE
from e2e.camera_shim import CameraShim
from e2e.serving import free_port
from e2e.terminal import serve
from servers import Server, call, until
from sounds import speech

from streamhead.assets import default_speech


async def test_a_camera_and_a_caller(camera: CameraShim, tmp_path: Path) -> None:
    port = free_port()
    options = ["--mic", str(default_speech()), "--webrtc", "--port", str(port), "--size", "640x360"]
    with serve(tmp_path, camera.environment, *options) as served:
        served.wait_for(lambda: len(camera.shots) > 10, 60, "frames")
        assert f"http://127.0.0.1:{port}/" in served.said
        async with ClientSession() as client:
            caller = await call(Server(client, f"http://127.0.0.1:{port}"), speech(2.0, RATE))
            await until(lambda: len(caller.received.video) > 10 and len(caller.received.audio) > 20)
            before = len(camera.shots)
            await until(lambda: len(camera.shots) > before + 10)
            assert served.end(signal.SIGINT) < 15
            await until(lambda: caller.pc.connectionState == "closed")  # the caller is told
            await caller.close()
    assert camera.events[-1] == "close"
