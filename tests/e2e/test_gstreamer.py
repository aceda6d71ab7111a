"""A voice published and a head played by GStreamer: an independent peer, over WHIP and WHEP, without our page."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e.serving import free_port, serve
from PIL import Image

from streamhead.assets import default_speech

PROGRAM = Path(__file__).with_name("webrtcbin.py")
PYTHON = "/usr/bin/python3"
"""The system's: GStreamer's bindings are not on PyPI."""
HZ = 660
ELEMENTS = ("webrtcbin", "nicesrc", "dtlsenc", "srtpenc", "opusenc", "opusdec", "vp8dec", "rtpvp8depay")
PROBE = (
    "import gi; [gi.require_version(name, '1.0') for name in ('Gst', 'GstSdp', 'GstWebRTC')]\n"
    "from gi.repository import Gst, GstSdp, GstWebRTC; Gst.init(None)\n"
    f"missing = [name for name in {ELEMENTS} if not Gst.ElementFactory.find(name)]\n"
    "raise SystemExit(f'missing: {missing}' if missing else 0)"
)


@pytest.fixture(scope="module", autouse=True)
def gstreamer() -> None:
    """Skips where there is no GStreamer with WebRTC in it."""
    if shutil.which(PYTHON) is None or subprocess.run([PYTHON, "-c", PROBE], capture_output=True).returncode:
        pytest.skip(
            "needs GStreamer (Debian: apt-get install gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
            "gstreamer1.0-plugins-bad gstreamer1.0-nice gir1.2-gst-plugins-bad-1.0 python3-gi)"
        )


def _start(*arguments: object) -> subprocess.Popen[str]:
    command = [PYTHON, PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(address: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}{path}", timeout=10) as response:
        answer: dict[str, Any] = json.loads(response.read())
        return answer


def test_gstreamer_speaks_and_sees(tmp_path: Path) -> None:
    with serve(tmp_path / "serve.log", free_port()) as served:
        publisher = _start("publish", f"{served.address}whip", HZ, 0)
        assert publisher.stdout is not None
        created = json.loads(publisher.stdout.readline())
        while "status" not in created:
            created = json.loads(publisher.stdout.readline())
        assert created["status"] == 201
        session = created["resource"].rsplit("/", 1)[1]
        player = _start("play", f"{served.address}whep/{session}", tmp_path, 8)
        said, _ = player.communicate(timeout=150)
        facts: dict[str, Any] = {}
        for line in said.splitlines():
            facts |= json.loads(line)
        stats = _ask(served.address, f"session/{session}/stats")
        print(json.dumps({**facts, "frames": stats["frames"], "delay_ms": stats["delay_ms"]}))
        assert facts["status"] == 201
        assert facts["deleted"] == 200
        assert stats["state"] == "connected"
        rest, _ = publisher.communicate(timeout=60)  # which closes its standard input
        assert '"deleted": 200' in rest
        with urllib.request.urlopen(f"{served.address}metrics", timeout=10) as response:
            assert "\nstreamhead_sessions 0.0\n" in response.read().decode()

    assert facts["size"] == [1280, 720]
    pictures = np.fromfile(tmp_path / "picture.raw", np.uint8).reshape(-1, 36, 64)
    assert len(pictures) >= 50
    with Image.open(default_speech().with_name("portrait.jpg")) as picture:
        portrait = np.asarray(picture.convert("L").resize((64, 36), Image.Resampling.BOX), np.float32)
    assert np.corrcoef(pictures[-1].ravel(), portrait.ravel())[0, 1] > 0.95
    sound = np.fromfile(tmp_path / "sound.raw", np.int16).astype(float)[-2 * 48_000 :]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert spectrum.argmax() * 48_000 / len(sound) == pytest.approx(HZ, abs=5)
