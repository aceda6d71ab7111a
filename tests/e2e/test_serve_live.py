"""``streamhead serve`` as people run it: a capture device in, a camera out, keys, signals.

STREAMHEAD_E2E_SECONDS=75 makes the long run of the release check out of the short one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from e2e.camera_shim import CameraShim
from e2e.sound_server import RATE, SoundServer
from e2e.terminal import AT_ONCE, Served, serve, shipped_or_untrained

from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono, resample
from streamhead.timebase import FPS

SECONDS = float(os.environ.get("STREAMHEAD_E2E_SECONDS", "10"))
LONG = SECONDS >= 60


def _between(camera: CameraShim, start: float, stop: float) -> list[str]:
    return [shot.digest for shot in camera.shots if start <= shot.instant < stop]


def _watch(served: Served, camera: CameraShim, seconds: float, least: int = 3) -> list[str]:
    """What the camera sees in the next seconds; longer, until it has seen so many frames."""
    start, before = time.monotonic(), len(camera.shots)
    time.sleep(seconds)
    served.wait_for(lambda: len(camera.shots) >= before + least, 60, f"{least} frames")
    return _between(camera, start, max(start + seconds, camera.shots[before + least - 1].instant + 1e-9))


def test_a_call_from_microphone_to_camera(sound: SoundServer, camera: CameraShim, tmp_path: Path) -> None:
    samples, rate = load_audio(default_speech())
    speech = resample(as_float_mono(samples), rate, RATE)
    report = tmp_path / "report.json"
    environment = {**sound.environment, **camera.environment}
    options = ["--mic", "pulse", "--size", "1280x720", "--json", str(report)]
    with serve(tmp_path, environment, *options) as served:
        sound.play(np.tile(speech, int(3 + SECONDS + 60) * RATE // len(speech) + 1), tmp_path / "speech.raw")
        served.wait_for(lambda: len(camera.shots) > FPS, 60, "second of frames")
        assert sound.listeners == 1
        assert "speaks in /dev/video42" in served.said

        talking = _watch(served, camera, SECONDS)
        assert len(set(talking)) > 0.9 * len(talking)

        for change, undo in (
            (lambda: served.press("m"), lambda: served.press("m")),
            (
                lambda: sound.control("set-source-mute", "vmic", "1"),
                lambda: sound.control("set-source-mute", "vmic", "0"),
            ),
            (
                lambda: sound.control("suspend-source", "vmic", "1"),
                lambda: sound.control("suspend-source", "vmic", "0"),
            ),
        ):
            change()
            alive = _watch(served, camera, 1.5)
            assert len(set(alive)) > 0.5 * len(alive)  # eyes and head live on
            undo()
        time.sleep(1.5)
        assert served.end(signal.SIGINT) <= AT_ONCE
    sound.settle(lambda: sound.listeners == 0)
    assert camera.events == ["open", "format 1280 720 YU12 1382400", "close"]
    assert {shot.size for shot in camera.shots} == {1280 * 720 * 3 // 2}

    stats = json.loads(report.read_text())
    assert "frames in" in served.said
    assert stats["frames"] == len(camera.shots)
    # Whatever the machine can draw, the stream itself keeps the time: no step is lost.
    assert (stats["frames"] + stats["late_frames"]) / stats["seconds"] == pytest.approx(FPS, abs=0.5)
    assert stats["silence_s"] > 1.0  # while the source was suspended
    print(json.dumps(stats))
    if LONG or stats["late_frames"] < 0.02 * stats["frames"]:  # a free machine
        assert len(talking) / SECONDS == pytest.approx(FPS, abs=0.2 if LONG else 0.5)
        assert stats["delay_ms"]["p50"] < 200
        assert abs(stats["delay_growth_ms_per_minute"]) * stats["seconds"] / 60 < 40  # delay does not build up
        assert stats["overruns"] == 0


OFFLINE = """
import sys
import streamhead
from streamhead.output.virtual_camera import VirtualCamera
head = streamhead.load(weights=sys.argv[1])
with VirtualCamera((128, 128)) as camera:
    for frame in head.render(sys.argv[2], seed=7, view="face"):
        camera.send(frame)
"""


def test_the_camera_shows_exactly_what_is_rendered(tmp_path: Path) -> None:
    """A file in real time, seed 7: every picture on the camera is one of the rendering's, bit for bit, in order."""
    (tmp_path / "live").mkdir()
    (tmp_path / "offline").mkdir()
    live, offline = CameraShim(tmp_path / "live", keep=1000), CameraShim(tmp_path / "offline", keep=1000)
    speech = str(default_speech())
    subprocess.run(
        [sys.executable, "-c", OFFLINE, shipped_or_untrained(), speech],
        env={**os.environ, **offline.environment},
        check=True,
        timeout=240,
    )
    report = tmp_path / "report.json"
    options = ["--mic", speech, "--seed", "7", "--view", "face", "--json", str(report)]
    with serve(tmp_path, live.environment, *options) as served:
        served.wait_for(lambda: len(live.shots) > 2 * FPS, 60, "two seconds of frames")
        assert served.end(key="q") <= AT_ONCE
    place = {image.tobytes(): t for t, image in enumerate(offline.frames(128, 128))}
    assert len(place) == len(offline.shots)
    shown = [place.get(image.tobytes()) for image in live.frames(128, 128)]
    stats = json.loads(report.read_text())
    if stats["silence_s"] == 0.0:  # a machine that stands still for long lets silence in
        assert None not in shown
        assert shown == sorted(set(shown))
        assert shown[-1] + 1 == len(shown) + stats["late_frames"]
    assert live.events[-1] == "close"


def test_the_status_line_and_a_terminal_that_is_held(camera: CameraShim, tmp_path: Path) -> None:
    options = ["--mic", str(default_speech()), "--view", "face"]
    with serve(tmp_path, camera.environment, *options, on_screen=True) as served:
        served.wait_for(lambda: len(camera.shots) > FPS, 60, "second of frames")
        served.press("m")
        line = re.compile(r"\d+\.\d fps\b.*delay +\d+ ms.*drops \d")
        served.read_until(lambda screen: bool(line.search(screen)) and "muted" in screen)
        served.press("\x13")  # Ctrl-S: whoever writes to the terminal waits
        _watch(served, camera, 3.0, least=15)
        served.press("\x11")
        assert served.end(signal.SIGINT, reading=True) <= AT_ONCE
    assert camera.events[-1] == "close"


def test_it_ends_by_itself_and_by_sigterm(camera: CameraShim, tmp_path: Path) -> None:
    options = ["--mic", str(default_speech()), "--view", "face"]
    with serve(tmp_path, camera.environment, *options, "--duration", "3") as served:
        assert served.process.wait(90) == 0
    assert camera.shots
    with serve(tmp_path, camera.environment, *options) as served:
        before = len(camera.shots)
        served.wait_for(lambda: len(camera.shots) > before + 5, 60, "frames")
        assert served.end(signal.SIGTERM) <= AT_ONCE
    assert [event.split()[0] for event in camera.events] == ["open", "format", "close"] * 2
