"""The examples run as they stand, without hardware and without arguments."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from aiohttp import ClientError, ClientSession
from aiortc import RTCSessionDescription
from calls import RATE
from e2e.serving import free_port
from servers import new_caller, offer, until
from sounds import speech

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def _run(name: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=150, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def _lengths(path: Path) -> tuple[float, float]:
    """Seconds of picture and of sound, by decoding all of it."""
    with av.open(str(path)) as file:
        pictures = [frame.time for frame in file.decode(video=0)]
    with av.open(str(path)) as file:
        rate = file.streams.audio[0].rate
        samples = sum(frame.samples for frame in file.decode(audio=0))
    return pictures[-1] - pictures[0], samples / rate


def test_a_whole_call(tmp_path: Path) -> None:
    said = _run("call_demo.py", "--seconds", "5", "--json", "report.json", cwd=tmp_path)
    print(said)
    report = json.loads((tmp_path / "report.json").read_text())
    picture, sound = _lengths(tmp_path / "out" / "call.mp4")
    assert picture == pytest.approx(report["seconds"], abs=1)  # by the pictures' own times, and by when they came
    assert sound == pytest.approx(picture, abs=1)
    assert report["size"] == [1280, 720]
    assert {"fps", "first_frame_s", "delay_ms_p50", "delay_ms_p95", "delay_ms_p99", "dropped"} <= set(report)
    assert report["av_offset_pieces"] > 0  # the speech pauses, but not for so long that nothing could be measured
    assert "call.mp4" in said


def test_a_call_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "call_demo.py"), "--mic", "no such microphone"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert ended.returncode == 2
    assert "error: " in ended.stderr and "Traceback" not in ended.stderr


def test_an_agent_that_is_interrupted(tmp_path: Path) -> None:
    print(_run("voice_agent.py", cwd=tmp_path))
    picture, sound = _lengths(tmp_path / "out" / "agent.mp4")
    assert picture > 4
    assert sound == pytest.approx(picture, abs=1)


@pytest.fixture
def embedding() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, str(EXAMPLES / "embed_track.py")]
    process = subprocess.Popen(command, env={**os.environ, "PORT": str(port)})
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


async def test_a_track_of_ones_own(embedding: tuple[subprocess.Popen[bytes], str]) -> None:
    process, address = embedding
    caller = new_caller(speech(2.0, RATE))
    try:
        async with ClientSession() as client:
            sdp, end = await offer(caller.pc), time.monotonic() + 60
            while True:
                try:
                    async with client.post(f"{address}/offer", json={"sdp": sdp, "type": "offer"}) as answer:
                        given = await answer.json()
                    break
                except ClientError:
                    assert process.poll() is None and time.monotonic() < end
                    await asyncio.sleep(0.2)
            await caller.pc.setRemoteDescription(RTCSessionDescription(given["sdp"], given["type"]))
            await until(lambda: len(caller.received.video) > 5 and len(caller.received.audio) > 5)
            async with client.get(f"{address}/") as page:
                assert "video" in await page.text()
    finally:
        await caller.close()
