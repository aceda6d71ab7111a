"""Four callers at once on one server: each gets its own face and its own voice, and all of them 25 frames a second.

STREAMHEAD_E2E_SECONDS=60 makes the long run of the release check out of the short one, STREAMHEAD_E2E_CALLERS=2 calls
fewer. The callers live in this process, the load generator: its share of the processors is told apart from the
server's and its engine's.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession
from calls import RATE
from e2e.serving import Served, free_port, serve
from PIL import Image
from servers import Caller, Server, call, until
from sounds import speech

from streamhead.assets import default_speech
from streamhead.timebase import FPS

SECONDS = float(os.environ.get("STREAMHEAD_E2E_SECONDS", "10"))
LONG = SECONDS >= 60
CALLERS = int(os.environ.get("STREAMHEAD_E2E_CALLERS", "4"))
SIZE = (640, 360)
PACKETS = 50
"""Of sound, a second."""
PILOTS = (1000, 1400, 1800, 2200)
"""Hz: a tone under each voice, by which it is told from the others."""


def _portraits() -> list[Image.Image]:
    """One face in four lights: from the left, the right, above and below."""
    with Image.open(default_speech().with_name("portrait.jpg")) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32)
    y, x = np.linspace(0.25, 1, pixels.shape[0])[:, None, None], np.linspace(0.25, 1, pixels.shape[1])[None, :, None]
    return [Image.fromarray(np.uint8(pixels * light)) for light in (x, x[:, ::-1], y, y[::-1])]


def _processors(served: Served) -> np.ndarray:
    """Processor seconds so far of the server, its engine and this process."""
    return np.array([served.processor_seconds, served.engine_processor_seconds, sum(os.times()[:2])])


def _voice(number: int) -> np.ndarray:
    sound = np.roll(speech(8.0, RATE), number * 2 * RATE)
    tone = 0.05 * np.sin(2 * np.pi * PILOTS[number] * np.arange(len(sound)) / RATE)
    return np.asarray(sound + tone, np.float32)


async def _upload(server: Server, picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=95)
    response = await server.ask("POST", "/portrait", data=data.getvalue(), headers={"Content-Type": "image/jpeg"})
    assert response.status == 200, await response.text()
    portrait: str = (await response.json())["portrait"]
    return portrait


def _whose_face(frames: np.ndarray, portraits: list[Image.Image]) -> np.ndarray:
    """For each of ``(n, height, width)`` the portrait it is most like."""
    flat = frames.reshape(len(frames), -1) - frames.mean((1, 2), keepdims=True).reshape(-1, 1)
    models = []
    for portrait in portraits:
        small = portrait.convert("L").resize(frames.shape[:0:-1], Image.Resampling.BOX)
        model = np.asarray(small, np.float32).ravel() - np.asarray(small, np.float32).mean()
        models.append(model / np.linalg.norm(model))
    return np.argmax(flat / np.linalg.norm(flat, axis=1, keepdims=True) @ np.array(models).T, axis=1)


def _pilot_levels(sound: np.ndarray) -> np.ndarray:
    """``(seconds, pilots)``: power at each pilot in each second of received sound ``(n, 2)``."""
    seconds = sound[: len(sound) // RATE * RATE, 0].reshape(-1, RATE).astype(float) * np.hanning(RATE)
    power = np.abs(np.fft.rfft(seconds)) ** 2
    return np.stack([power[:, pilot - 3 : pilot + 4].max(1) for pilot in PILOTS], axis=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_each_gets_the_own_face_and_the_own_voice(tmp_path: Path) -> None:
    portraits = _portraits()[:CALLERS]
    with serve(tmp_path / "serve.log", free_port(), "--size", "{}x{}".format(*SIZE)) as served:
        async with ClientSession() as client:
            server = Server(client, served.address.rstrip("/"), None, None)  # type: ignore[arg-type]
            names = [await _upload(server, portrait) for portrait in portraits]
            callers: list[Caller] = []
            try:
                for number, name in enumerate(names):
                    callers.append(await call(server, _voice(number), portrait=name, seed=number))
                await until(lambda: all(caller.received.video and caller.received.audio for caller in callers))
                await asyncio.sleep(1)
                busy, began = _processors(served), time.monotonic()
                marks = [len(caller.received.video) for caller in callers]
                await asyncio.sleep(SECONDS)
                seconds = time.monotonic() - began
                counts = [len(caller.received.video) - mark for caller, mark in zip(callers, marks, strict=True)]
                busy = (_processors(served) - busy) / seconds
                figures = {
                    "fps": [round(count / seconds, 2) for count in counts],
                    "processors": dict(zip(("server", "engine", "callers"), busy.round(2).tolist(), strict=True)),
                    "late_frames": served.metrics()["streamhead_late_frames_total"],
                    "stages_ms": served.stages_ms(),
                }
                print(json.dumps(figures))
                await until(lambda: all(len(caller.received.audio) > 4 * PACKETS for caller in callers), 240)
            finally:
                await asyncio.gather(*(caller.close() for caller in callers))
            for number, caller in enumerate(callers):
                frames = np.stack([image for *_, image in caller.received.video]).astype(np.float32)
                assert set(_whose_face(frames, portraits)) == {number}  # not a single frame of another's
                levels = _pilot_levels(caller.received.sound)[2:]
                heard = levels > 0.05 * levels.max()  # a tone is ten thousand times what speech has at its pitch
                assert not np.delete(heard, number, axis=1).any()  # not a single second of another's
                assert heard[:, number].mean() > (
                    0.95 if LONG else 0
                )  # an overloaded machine leaves holes, never another voice
    if LONG:  # the release check has a machine to itself
        assert figures["fps"] == pytest.approx([FPS] * CALLERS, abs=0.3)
