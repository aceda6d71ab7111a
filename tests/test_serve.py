"""``streamhead serve``: what it refuses, in one line; its summary and its report. tests/e2e runs it live."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamhead.audio.files import load_audio
from streamhead.cli.app import app
from streamhead.cli.live import summary, write_report
from streamhead.errors import OutputError
from streamhead.output.preview import PreviewWindow
from streamhead.stream.stats import Meter


def _serve(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["serve", *arguments])


def _line(result: Result) -> str:
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert len(lines) == 1, result.output
    return lines[0]


@pytest.fixture
def speech() -> str:
    from streamhead.assets import default_speech

    load_audio(default_speech())
    return str(default_speech())


def test_nowhere_to_show_it() -> None:
    result = _serve()
    assert result.exit_code == 2
    assert "--virtual-cam" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--view", "sideways"), "call or face"),
        (("--size", "12x"), "1280x720"),
        (("--size", "1281x720"), "even"),
    ],
)
def test_bad_options(arguments: tuple[str, ...], said: str) -> None:
    result = _serve("--virtual-cam", *arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_a_missing_microphone() -> None:
    line = _line(_serve("--virtual-cam", "--mic", "a microphone of this name is nowhere"))
    assert line.startswith("error: ")
    assert "streamhead devices" in line or "PortAudio is missing" in line


def test_a_missing_sound_output(speech: str) -> None:
    line = _line(_serve("--virtual-cam", "--mic", speech, "--audio-out", "a cable of this name is nowhere"))
    assert line.startswith("error: ")
    assert "streamhead devices" in line or "PortAudio is missing" in line


def test_a_missing_camera(speech: str) -> None:
    line = _line(_serve("--virtual-cam", "--mic", speech, "--camera", "/dev/video-of-nobody"))
    assert line.startswith("error: no virtual camera (")


def test_a_missing_display(speech: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "leave --preview out" in _line(_serve("--preview", "--mic", speech))
    monkeypatch.setenv("DISPLAY", ":0")
    PreviewWindow()


def test_a_missing_face_is_told_before_anything_is_loaded(speech: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    line = _line(_serve("--preview", "--mic", speech, "--face", "nobody.jpg", "--weights", "nothing.safetensors"))
    assert "nobody.jpg" in line


def test_summary_and_report(tmp_path: Path) -> None:
    meter = Meter()
    for t in range(251):
        start = 7.0 + t / 25
        meter.frame(start, start + 0.085, start + 0.086, start + 0.106, start + 0.106, start + 0.108)
    meter.late_frames, meter.late_samples, meter.silence_s = 3, 480, 1.25
    stats = meter.stats(17.2, overruns=2)
    assert summary(stats) == (
        "251 frames in 10.0 s (25.00 fps), delay p50 108 p95 108 p99 108 max 108 ms, "
        "3 late frames not drawn, 1.2 s of silence fed, 480 samples too late, 2 overruns"
    )
    path = tmp_path / "report.json"
    write_report(path, stats, source="me")
    report = json.loads(path.read_text())
    assert report["source"] == "me"
    assert report["delay_ms"]["p95"] == 108.0
    assert report["stages_ms"]["compute"]["mean"] == 20.0
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"):
        write_report(tmp_path / "missing" / "report.json", stats)
