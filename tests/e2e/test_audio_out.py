"""``streamhead serve --audio-out``: a meeting app that takes the virtual camera and the cable gets them in step.

A real PulseAudio has a null sink as the microphone and another as the cable, which is recorded from its monitor; the
camera is the shim of camera_shim.c. Both write instants of time.monotonic. STREAMHEAD_E2E_SECONDS sets how long each is
watched.
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
from typing import Any

import numpy as np
import pytest
from e2e.av_probe import BITS, CELL, tone_onsets, tones
from e2e.camera_shim import CameraShim
from e2e.sound_server import CABLE, RATE, SPEAKER, SoundServer
from e2e.terminal import AT_ONCE, serve

from streamhead.assets import default_speech
from streamhead.timebase import FPS

SECONDS = float(os.environ.get("STREAMHEAD_E2E_SECONDS", "10"))
LONG = SECONDS >= 60
SETTLING = 6.0  # s at the start that are not judged
PITCH = 440  # Hz, of the sine
PATHS = {"PYTHONPATH": str(Path(__file__).parents[1])}

pytestmark = pytest.mark.timeout(240 + 2 * SECONDS)

PAINTED = """
# streamhead with every frame's number painted into it; what its last session heard goes to a file.
import os
import numpy as np
from e2e.av_probe import paint
from streamhead.cli.app import main
from streamhead.stream.session import Session
from streamhead.timebase import HOP

step, push = Session.step, Session.push
heard = {}

async def painted_step(self, *given, **named):
    frame = await step(self, *given, **named)
    if frame is not None:
        paint(frame.image, frame.pts // HOP)
    return frame

def noted_push(self, pcm, rate):
    heard.setdefault(id(self), []).append(np.int16(np.asarray(pcm) * 32767))
    heard["rate"] = rate
    push(self, pcm, rate)

Session.step, Session.push = painted_step, noted_push
try:
    main()
finally:
    rate = heard.pop("rate")
    np.savez(os.environ["HEARD"], pcm=np.concatenate(list(heard.values())[-1]), rate=rate)
"""


PLAYED = """
# A tone every half second, captured at round instants and heard 0.3 s later; prints when that is.
import sys, time
import numpy as np
from streamhead.output.delayed_audio import DelayedAudio
from streamhead.stream.delay_line import DelayLine

line = DelayLine(48000, 1, 0.3)
tone = 0.5 * np.sin(2 * np.pi * 2000 * np.arange(480) / 48000)
with DelayedAudio(line, sys.argv[1]) as sound:
    sound.start()
    began = time.monotonic()
    for block in range(100 * int(sys.argv[2])):
        captured = began + block / 100
        time.sleep(max(0.0, captured + 0.01 - time.monotonic()))
        line.write(tone * (block % 50 == 0), captured)
        if block % 50 == 0:
            print(captured + line.delay)
    time.sleep(1)
"""


def test_a_cable_is_heard_when_the_device_says(sound: SoundServer) -> None:
    """The instrument's own zero, and that of PortAudio and PulseAudio: there is no picture here, and no microphone."""
    cable = sound.add_cable()
    with sound.record(cable) as recording:
        done = subprocess.run(
            [sys.executable, "-c", PLAYED, cable, "8"],
            env={**os.environ, **sound.environment},
            capture_output=True,
            check=True,
            timeout=200,
        )
        block = re.search(rf"Name: {cable}\n.*?configured (\d+) usec", sound.control("list", "sinks"), re.DOTALL)
    due = np.array(done.stdout.split(), float)[4:]
    heard = recording.instants(tone_onsets(recording.sound))
    early = 1e3 * (due - heard[np.argmin(np.abs(due[:, None] - heard[None]), axis=1)])
    figures = {"tones": len(due), "early_ms_mean": early.mean().round(1), "early_ms_sd": early.std().round(1)}
    print(json.dumps({**figures, "block_ms": int(block[1]) / 1e3 if block else None}))
    assert abs(np.median(early)) < (30 if LONG else 100)


def _offsets(onsets: np.ndarray, number: np.ndarray, when: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """``(k, 2)``: where each tone that was heard begins, s of pts, and how much later its picture was seen, s.

    Args:
        onsets: ``(n,)`` where tones begin, s of pts.
        number: ``(m,)`` frames shown.
        when: ``(m,)`` instants at which they were.
        heard: ``(l,)`` instants at which tones began to be heard.
    """
    # A tone's picture: that of the frame whose interval it begins in, as far into the interval.
    seen = onsets + np.interp(onsets, number / FPS, when - number / FPS)
    nearest = heard[np.argmin(np.abs(seen[:, None] - heard[None]), axis=1)]
    offset = seen - nearest
    matched = (np.abs(offset) < 0.3) & (onsets < number[-1] / FPS)  # they are twice as far from each other
    return np.column_stack((onsets, offset))[matched]


def test_picture_and_voice_leave_in_step(sound: SoundServer, tmp_path: Path) -> None:
    camera = CameraShim(tmp_path, keep=1 << 20, first_bytes=BITS * CELL)
    report, log = tmp_path / "report.json", tmp_path / "heard.npz"
    environment = {**sound.environment, **camera.environment, "HEARD": str(log), **PATHS}
    cable = sound.add_cable()
    options = ["--mic", "pulse", "--audio-out", cable, "--json", str(report)]
    with sound.record(cable) as recording, serve(tmp_path, environment, *options, program=("-c", PAINTED)) as served:
        served.wait_for(lambda: len(camera.shots) > FPS, 60, "second of frames")
        sound.settle(lambda: sound.players == 1)
        sound.play(tones(SETTLING + SECONDS + 60), tmp_path / "tones.raw")
        time.sleep(SETTLING + SECONDS)
        assert served.end(signal.SIGINT) <= AT_ONCE
        sound.settle(lambda: sound.players == 0)
    stats, heard = json.loads(report.read_text()), np.load(log)
    number = (camera.kept(BITS * CELL)[:, CELL // 2 :: CELL] > 127) @ (1 << np.arange(BITS)[::-1])
    shown = np.array([shot.instant for shot in camera.shots])
    onsets = np.array(tone_onsets(heard["pcm"] / 32767)) / float(heard["rate"])
    tone = _offsets(onsets, number, shown, recording.instants(tone_onsets(recording.sound)))
    tone = tone[tone[:, 0] > tone[0, 0] + SETTLING]
    at, offset = tone[:, 0], 1e3 * tone[:, 1]
    fifth = (at[-1] - at[0]) / 5
    drift = np.median(offset[at > at[-1] - fifth]) - np.median(offset[at < at[0] + fifth])
    figures = {
        "tones": len(offset),
        "seconds": round(float(at[-1] - at[0]), 1),
        "offset_ms_mean": round(float(offset.mean()), 1),
        "offset_ms_sd": round(float(offset.std()), 1),
        "offset_ms_min_max": [round(float(offset.min()), 1), round(float(offset.max()), 1)],
        "abs_offset_ms_p95": round(float(np.percentile(np.abs(offset), 95)), 1),
        "drift_ms": round(float(drift), 1),
        "microphone_rate": int(heard["rate"]),
        **{name: value for name, value in stats.items() if name.startswith("audio_")},
        **{name: stats[name] for name in ("delay_ms", "late_frames", "overruns", "silence_s")},
    }
    print(json.dumps(figures))
    assert len(offset) > (0.8 if LONG or not stats["audio_underruns"] else 0.3) * SECONDS
    assert "sound" in served.said
    assert abs(np.median(offset)) < 100
    if LONG:  # the release check has a machine to itself
        assert stats["audio_delay_ms"] == pytest.approx(stats["delay_now_ms"], abs=40)
        assert abs(offset.mean()) <= 40
        assert np.percentile(np.abs(offset), 95) <= 80
        assert abs(drift) <= 10


def _is_whole(sine: np.ndarray) -> bool:
    """Whether ``(n,)`` is as loud as what was played."""
    return bool(np.sqrt(np.mean(sine**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05))


def _clicks(sine: np.ndarray, rate: int) -> int:
    """How many samples of ``(n,)`` depart from the sine that was played, as jumps of 1 % of full scale would."""
    # Zero for a sine of this pitch, and nearly so for one that is a little higher or lower.
    rest = sine[2:] + sine[:-2] - 2 * np.cos(2 * np.pi * PITCH / rate) * sine[1:-1]
    return int(np.count_nonzero(np.abs(rest) > 0.01))


def test_a_sine_comes_through_whole_and_a_muted_one_not_at_all(
    sound: SoundServer, camera: CameraShim, tmp_path: Path
) -> None:
    report, log = tmp_path / "report.json", tmp_path / "heard.npz"
    environment = {**sound.environment, **camera.environment, "HEARD": str(log), **PATHS}
    time_line = np.arange(round((SETTLING + SECONDS + 60) * RATE)) / RATE
    sound.play(0.5 * np.sin(2 * np.pi * PITCH * time_line), tmp_path / "sine.raw")
    options = ["--mic", "pulse", "--audio-out", sound.add_cable(), "--json", str(report)]
    with sound.record(CABLE) as recording, serve(tmp_path, environment, *options, program=("-c", PAINTED)) as served:
        served.wait_for(lambda: len(camera.shots) > FPS, 60, "second of frames")
        time.sleep(SETTLING)
        start = len(recording.sound)
        time.sleep(SECONDS)
        stop, muted_at = len(recording.sound), time.monotonic()
        served.press("m")
        served.wait_for(lambda: not recording.sound[-RATE:].any(), 30, "silence")
        time.sleep(0.5)
        muted = recording.sound[-RATE:]
        served.press("m")
        served.wait_for(lambda: _is_whole(recording.sound[-RATE // 2 :]), 30, "sine again")
        since_muted = time.monotonic() - muted_at
        assert served.end(key="q") <= AT_ONCE
        sound.settle(lambda: sound.players == 0)
    stats, given = json.loads(report.read_text()), np.load(log)
    rate = int(given["rate"])
    until_muted = given["pcm"][: -round((since_muted + 1) * rate)]
    captured = until_muted[-round((SECONDS - 1) * rate) :] / 32767
    clicks_captured, clicks_heard = _clicks(captured, rate), _clicks(recording.sound[start:stop], RATE)
    print(json.dumps({"clicks_captured": clicks_captured, "clicks_heard": clicks_heard}), served.said)
    assert not muted.any()
    # On a loaded machine the player stumbles, and the cable too.
    if LONG or not (clicks_captured or stats["audio_underruns"]):
        assert clicks_heard == 0


def test_a_cable_that_is_cut(sound: SoundServer, camera: CameraShim, tmp_path: Path) -> None:
    options = ["--mic", str(default_speech()), "--view", "face", "--audio-out", sound.add_cable()]
    with serve(tmp_path, {**sound.environment, **camera.environment}, *options) as served:
        served.wait_for(lambda: len(camera.shots) > FPS, 60, "second of frames")
        sound.stop()
        assert served.process.wait(60) == 2
    assert "error: sound output 'streamhead-cable' went away" in served.said.splitlines()[-1]
    assert camera.events[-1] == "close"


def test_the_cable_is_listed_and_found_by_the_doctor(sound: SoundServer) -> None:
    def ask(command: str) -> dict[str, Any]:
        run = [sys.executable, "-m", "streamhead", command, "--json"]
        done = subprocess.run(run, env={**os.environ, **sound.environment}, capture_output=True, timeout=120)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    sound.add_cable()
    cables = [one for one in ask("devices")["outputs"] if one["cable"]]
    assert {one["name"] for one in cables} == {SPEAKER, CABLE}  # a null sink each
    assert {(one["rate"], one["channels"], one["index"]) for one in cables} == {(RATE, 2, None)}
    (finding,) = (check for check in ask("doctor")["checks"] if check["name"] == "Virtual cable")
    assert finding["status"] == "ok"
    assert CABLE in finding["detail"]
