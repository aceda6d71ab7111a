"""``streamhead doctor``: what works here, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Annotated, Final, Literal

import typer

from streamhead.errors import StreamheadError

__all__ = ["CHECKS", "Check", "Finding", "doctor", "examine"]

Status = Literal["ok", "warn", "missing"]

_SECONDS: Final = 1.0
_CABLE_MENDS: Final = {
    "linux": (
        "pactl load-module module-null-sink sink_name=streamhead "
        "sink_properties=device.description=streamhead-cable && "
        "pactl load-module module-remap-source master=streamhead.monitor source_name=streamhead-mic "
        "source_properties=device.description=streamhead-mic"
    ),
    "darwin": "install BlackHole: brew install blackhole-2ch",
    "win32": "install VB-Cable from https://vb-audio.com/Cable and start the computer anew",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw, and the command or deed that mends it, empty where nothing need be."""

    status: Status
    detail: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``needed`` if `streamhead render` cannot do without it."""

    name: str
    needed: bool
    look: Callable[[], Finding]

    def run(self) -> Finding:
        """Look; a failure is a finding too."""
        try:
            return self.look()
        except StreamheadError as error:
            what, _, mend = str(error).rpartition("; ")
            return Finding("missing", what or mend, mend)
        except ImportError as error:
            return Finding("missing", str(error), "pip install --upgrade --force-reinstall streamhead")
        except Exception as error:
            return Finding("missing", f"{type(error).__name__}: {error}", "report this at the project's issues")


def _python() -> Finding:
    return Finding("ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _torch() -> Finding:
    import torch

    from streamhead.stream.device import Device

    device = Device().torch
    return Finding("ok", f"{torch.__version__}, runs on {device.type}, {torch.get_num_threads()} threads")


def _weights() -> Finding:
    from streamhead.model.checkpoint import read_header, shipped_weights

    paths = [shipped_weights(preset) for preset in ("call", "paper-thin")]
    said = [f"{path.name}, {path.stat().st_size / 1e6:.1f} MB, {read_header(path).steps} steps" for path in paths]
    return Finding("ok", f"{'; '.join(said)}; hashes right")


def _face_and_voice() -> Finding:
    from streamhead.assets import default_speech
    from streamhead.audio.files import load_audio
    from streamhead.face.portrait import Portrait

    portrait = Portrait.default()
    samples, rate = load_audio(default_speech())
    height, width = portrait.image.shape[:2]
    return Finding("ok", f"{width}x{height} portrait, {len(samples) / rate:.1f} s of speech")


def _encoders() -> Finding:
    from av.codec import Codec, codecs_available

    lacking = [name for name in ("h264", "aac") if name not in codecs_available or not Codec(name, "w").is_encoder]
    if lacking:
        return Finding("missing", f"PyAV without {' and '.join(lacking)}", "pip install --force-reinstall av")
    return Finding("ok", f"H.264 by {Codec('h264', 'w').name}, AAC")


def _speed() -> Finding:
    import numpy as np

    import streamhead
    from streamhead.timebase import FPS, SAMPLE_RATE

    try:
        head = streamhead.load()
    except StreamheadError:
        return Finding("warn", "not measured, for nothing can be rendered yet", "see to the other checks first")
    session = head.session()
    noise = np.random.default_rng(0).normal(0.0, 0.1, round(SAMPLE_RATE * _SECONDS)).astype(np.float32)
    session.push(noise, SAMPLE_RATE)
    frames = session.frames()
    next(frames)  # the first one pays for warming up
    began = perf_counter()
    count = sum(1 for _ in frames)
    rate = count / (perf_counter() - began)
    head.engine.close()
    detail = f"{rate:.0f} frames a second at 1280x720 just now; a live call takes {FPS}"
    if rate < FPS:
        return Finding("warn", detail, "close other programs, or choose a smaller --size; render works, only slower")
    return Finding("ok", detail)


def _landmarks() -> Finding:
    from streamhead.face.landmarks import stored_landmark_model

    path = stored_landmark_model()
    if path is not None:
        return Finding("ok", str(path))
    return Finding(
        "warn",
        "not here yet, only the default portrait works offline",
        "streamhead render --face PICTURE fetches it once (4 MB)",
    )


def _microphone() -> Finding:
    from streamhead.cli.devices import sound_devices

    inputs, _ = sound_devices()
    if not inputs:
        return Finding("missing", "no microphone found", "plug one in, or speak from a file: serve --mic FILE")
    chosen = next((one for one in inputs if one.default), inputs[0])
    return Finding("ok", f"{chosen.name} ({len(inputs)} in all)")


def _virtual_camera() -> Finding:
    from streamhead.output.virtual_camera import VirtualCamera

    # Only opening it tells whether it will do.
    with VirtualCamera((1280, 720)) as camera:
        hint = "; Chrome only shows it if loaded with exclusive_caps=1" if platform.system() == "Linux" else ""
        return Finding("ok", camera.device + hint)


def _virtual_cable() -> Finding:
    from streamhead.cli.devices import sound_devices

    _, outputs = sound_devices()
    cables = list(dict.fromkeys(one.name for one in outputs if one.cable))
    if cables:
        return Finding("ok", f"{', '.join(cables)}: serve --audio-out takes it")
    mend = _CABLE_MENDS.get(sys.platform, "see docs/guides/virtual-camera.md")
    return Finding("warn", "none, so a meeting app hears the voice ahead of the picture", mend)


def _webrtc() -> Finding:
    lacking = [name for name in ("aiohttp", "aiortc", "prometheus_client") if importlib.util.find_spec(name) is None]
    if lacking:
        return Finding("warn", f"not installed: {', '.join(lacking)}", "pip install 'streamhead[webrtc]'")
    return Finding("ok", "aiortc, aiohttp, prometheus-client")


CHECKS: Final = (
    Check("Python", True, _python),
    Check("PyTorch", True, _torch),
    Check("Weights", True, _weights),
    Check("Default face and voice", True, _face_and_voice),
    Check("Video encoders", True, _encoders),
    Check("Speed", False, _speed),
    Check("Landmark model", False, _landmarks),
    Check("Microphone", False, _microphone),
    Check("Virtual camera", False, _virtual_camera),
    Check("Virtual cable", False, _virtual_cable),
    Check("WebRTC extra", False, _webrtc),
)
"""All checks, what rendering needs first."""


def examine() -> dict[Check, Finding]:
    """Run every check, in order."""
    return {check: check.run() for check in CHECKS}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Say what works here, what is missing, and how to mend it. Exit code 2 if `streamhead render` cannot work."""
    findings = examine()
    able = all(finding.status != "missing" for check, finding in findings.items() if check.needed)
    if as_json:
        checks = [{"name": one.name, "needed": one.needed, **asdict(finding)} for one, finding in findings.items()]
        print(json.dumps({"render": able, "checks": checks}, indent=2))
    else:
        _print(findings, able)
    if not able:
        raise typer.Exit(2)


def _print(findings: dict[Check, Finding], able: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    colours: dict[Status, str] = {"ok": "green", "warn": "yellow", "missing": "red"}
    console = Console()
    table = Table("", "", Column(overflow="fold"), box=box.SIMPLE, show_header=False)
    for check, finding in findings.items():
        table.add_row(f"[{colours[finding.status]}]{finding.status}[/]", check.name, escape(finding.detail))
    console.print(table)
    # Below the table and never wrapped, so that a command can be copied.
    for check, finding in findings.items():
        if finding.mend:
            console.print(f"{check.name}: {escape(finding.mend)}", highlight=False, soft_wrap=True)
    verdict = "streamhead render works here." if able else "streamhead render cannot work yet: see what is missing."
    console.print(verdict, highlight=False)
