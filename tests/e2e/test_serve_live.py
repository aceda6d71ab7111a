"""``streamhead serve`` as people run it: a capture device in, a camera out, keys, signals.

STREAMHEAD_E2E_SECONDS=75 makes the long run of the release check out of the short one.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from e2e.camera_shim import CameraShim
from e2e.sound_server import RATE, SoundServer
from heads import weights

from streamhead.assets import default_speech
from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono, resample
from streamhead.errors import CheckpointError
from streamhead.model.checkpoint import shipped_weights
from streamhead.timebase import FPS

SECONDS = float(os.environ.get("STREAMHEAD_E2E_SECONDS", "10"))
LONG = SECONDS >= 60


def _weights() -> str:
    """The weights that are shipped; an untrained network is as good for what is tested here."""
    try:
        return str(shipped_weights("call"))
    except CheckpointError:
        return str(weights("call"))


class Served:
    """A running ``streamhead serve`` with a keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int, log: Path) -> None:
        self.process = process
        self._keyboard = keyboard
        self._log = log

    def press(self, key: str) -> None:
        os.write(self._keyboard, key.encode())

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended before {what}: {self.said}"
            assert time.monotonic() < end, f"no {what} in {seconds} s: {self.said}"
            time.sleep(0.05)

    def read(self, seconds: float) -> str:
        """What the screen shows in the next seconds."""
        end, text = time.monotonic() + seconds, b""
        while (left := end - time.monotonic()) > 0:
            if select.select([self._keyboard], [], [], left)[0]:
                text += os.read(self._keyboard, 4096)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode(errors="replace"))

    def end(self, signal_number: int | None = None, key: str = "", *, reading: bool = False) -> float:
        """Ask it to end; returns how many seconds it took."""
        began = time.monotonic()
        if signal_number is not None:
            self.process.send_signal(signal_number)
        else:
            self.press(key)
        while reading and self.process.poll() is None:
            self.read(0.05)
        assert self.process.wait(20) == 0, self.said
        return time.monotonic() - began


@contextmanager
def _serve(folder: Path, environment: dict[str, str], *arguments: str, on_screen: bool = False) -> Iterator[Served]:
    controller, terminal = pty.openpty()
    log = folder / "serve.log"
    command = [sys.executable, "-m", "streamhead", "serve", "--virtual-cam", "--weights", _weights()]
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, *arguments],
                env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
                stdin=terminal,
                stdout=out,
                stderr=terminal if on_screen else out,
                start_new_session=True,
            )
        try:
            yield Served(process, controller, log)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        os.close(controller)
        os.close(terminal)


def _between(camera: CameraShim, start: float, stop: float) -> list[str]:
    return [shot.digest for shot in camera.shots if start <= shot.instant < stop]


def _watch(camera: CameraShim, seconds: float) -> list[str]:
    """What the camera sees in the next seconds."""
    start = time.monotonic()
    time.sleep(seconds)
    return _between(camera, start, start + seconds)


def test_a_call_from_microphone_to_camera(sound: SoundServer, camera: CameraShim, tmp_path: Path) -> None:
    samples, rate = load_audio(default_speech())
    speech = resample(as_float_mono(samples), rate, RATE)
    report = tmp_path / "report.json"
    environment = {**sound.environment, **camera.environment}
    options = ["--mic", "pulse", "--size", "1280x720", "--json", str(report)]
    with _serve(tmp_path, environment, *options) as served:
        sound.play(np.tile(speech, int(3 + SECONDS + 60) * RATE // len(speech) + 1), tmp_path / "speech.raw")
        served.wait_for(lambda: len(camera.shots) > FPS, 60, "second of frames")
        assert sound.listeners == 1
        assert "speaks in /dev/video42" in served.said

        talking = _watch(camera, SECONDS)
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
            alive = _watch(camera, 1.5)
            assert len(alive) >= 3
            assert len(set(alive)) > 0.5 * len(alive)  # eyes and head live on
            undo()
        time.sleep(1.5)
        assert served.end(signal.SIGINT) <= 1.0
    assert sound.listeners == 0
    assert camera.events == ["open", "format 1280 720 YU12 1382400", "close"]
    assert {shot.size for shot in camera.shots} == {1280 * 720 * 3 // 2}

    stats = json.loads(report.read_text())
    assert "frames in" in served.said
    assert stats["frames"] == len(camera.shots)
    # Whatever the machine can draw, the stream itself keeps the time: no step is lost, delay does not build up.
    assert (stats["frames"] + stats["late_frames"]) / stats["seconds"] == pytest.approx(FPS, abs=0.5)
    assert abs(stats["delay_growth_ms_per_minute"]) * stats["seconds"] / 60 < 40
    assert stats["silence_s"] > 1.0  # while the source was suspended
    assert stats["overruns"] == 0
    print(json.dumps(stats))
    if LONG or stats["late_frames"] < 0.02 * stats["frames"]:  # a free machine
        assert len(talking) / SECONDS == pytest.approx(FPS, abs=0.2 if LONG else 0.5)
        assert stats["delay_ms"]["p50"] < 200


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
        [sys.executable, "-c", OFFLINE, _weights(), speech],
        env={**os.environ, **offline.environment},
        check=True,
        timeout=240,
    )
    report = tmp_path / "report.json"
    options = ["--mic", speech, "--seed", "7", "--view", "face", "--json", str(report)]
    with _serve(tmp_path, live.environment, *options) as served:
        served.wait_for(lambda: len(live.shots) > 2 * FPS, 60, "two seconds of frames")
        assert served.end(key="q") <= 1.0
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
    with _serve(tmp_path, camera.environment, *options, on_screen=True) as served:
        served.wait_for(lambda: len(camera.shots) > FPS, 60, "second of frames")
        served.press("m")
        screen = served.read(1.5)
        assert re.search(r"\d+\.\d fps\b.*delay +\d+ ms.*drops \d", screen), screen
        assert "muted" in screen
        served.press("\x13")  # Ctrl-S: whoever writes to the terminal waits
        assert len(_watch(camera, 3.0)) >= 15
        served.press("\x11")
        assert served.end(signal.SIGINT, reading=True) <= 1.0
    assert camera.events[-1] == "close"


def test_it_ends_by_itself_and_by_sigterm(camera: CameraShim, tmp_path: Path) -> None:
    options = ["--mic", str(default_speech()), "--view", "face"]
    with _serve(tmp_path, camera.environment, *options, "--duration", "1.5") as served:
        assert served.process.wait(60) == 0
    assert len(camera.shots) >= 3
    with _serve(tmp_path, camera.environment, *options) as served:
        before = len(camera.shots)
        served.wait_for(lambda: len(camera.shots) > before + 5, 60, "frames")
        assert served.end(signal.SIGTERM) <= 1.0
    assert [event.split()[0] for event in camera.events] == ["open", "format", "close"] * 2
