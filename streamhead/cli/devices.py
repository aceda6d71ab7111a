"""``streamhead devices``: the microphones, loudspeakers and cameras of this machine."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streamhead.audio.portaudio import portaudio, pulse_sinks
from streamhead.errors import DeviceError

__all__ = ["Camera", "SoundDevice", "cameras", "devices", "sound_devices"]

_VIDEO: Final = Path("/sys/class/video4linux")
_CABLES: Final = re.compile("blackhole|cable|loopback|voicemeeter", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SoundDevice:
    """A device of PortAudio in one direction, or an output of PulseAudio or PipeWire.

    Attributes:
        index: PortAudio's number of it, None for PulseAudio's.
        name: what ``--mic`` or ``--audio-out`` looks for.
        api: the sound system it belongs to, such as ALSA, Core Audio or WASAPI.
        channels: most channels it has in this direction.
        rate: its own sample rate, Hz.
        default: whether it is the one taken when none is named.
        cable: whether it is an output into a virtual cable, whose other end is a microphone to other programs.
    """

    index: int | None
    name: str
    api: str
    channels: int
    rate: int
    default: bool
    cable: bool = False


@dataclass(frozen=True, slots=True)
class Camera:
    """A video device of Linux.

    Attributes:
        device: its path, for ``--camera``.
        name: what meeting apps call it.
        virtual: whether it is made by software, so that frames can be written to it.
    """

    device: str
    name: str
    virtual: bool


def sound_devices() -> tuple[list[SoundDevice], list[SoundDevice]]:
    """The inputs and the outputs that there are now.

    Raises:
        DeviceError: PortAudio is not installed, or fails.
    """
    sounddevice = portaudio()
    try:
        found: Any = sounddevice.query_devices()
        apis: Any = sounddevice.query_hostapis()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the sound system does not answer ({error}); check that it runs") from error

    def of(direction: str, default: int) -> list[SoundDevice]:
        return [
            SoundDevice(
                index=one["index"],
                name=one["name"],
                api=apis[one["hostapi"]]["name"],
                channels=one[f"max_{direction}_channels"],
                rate=round(one["default_samplerate"]),
                default=one["index"] == default,
                cable=direction == "output" and bool(_CABLES.search(one["name"])),
            )
            for one in found
            if one[f"max_{direction}_channels"] > 0
        ]

    sinks = [
        SoundDevice(None, sink.name, "PulseAudio", sink.channels, sink.rate, default=False, cable=sink.cable)
        for sink in pulse_sinks()
    ]
    return of("input", sounddevice.default.device[0]), of("output", sounddevice.default.device[1]) + sinks


def cameras(root: Path = _VIDEO) -> list[Camera]:
    """The video devices that Linux knows, in the order of their numbers; none on other systems."""
    nodes = sorted(root.glob("video*"), key=lambda node: int(re.sub(r"\D", "", node.name) or 0))
    return [
        Camera(
            f"/dev/{node.name}", (node / "name").read_text(errors="replace").strip(), "virtual" in node.resolve().parts
        )
        for node in nodes
    ]


def devices(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False) -> None:
    """List microphones, loudspeakers and cameras, by the names that other commands take."""
    from rich.console import Console

    note = None
    inputs: list[SoundDevice] = []
    outputs: list[SoundDevice] = []
    try:
        inputs, outputs = sound_devices()
    except DeviceError as error:
        note = str(error)
    seen = cameras()
    if as_json:
        listed = {
            "microphones": [asdict(one) for one in inputs],
            "outputs": [asdict(one) for one in outputs],
            "cameras": [asdict(one) for one in seen],
            "note": note,
        }
        print(json.dumps(listed, indent=2))
        return
    console = Console()
    for title, found in (("Microphones", inputs), ("Sound outputs", outputs)):
        rows = [
            (
                "" if one.index is None else str(one.index),
                one.name,
                one.api,
                str(one.channels),
                f"{one.rate} Hz",
                "virtual cable" if one.cable else "default" if one.default else "",
            )
            for one in found
        ]
        _print_table(console, title, ("no.", "name", "system", "channels", "rate", ""), rows, note or "none found")
    nodes = [(one.device, one.name, "virtual" if one.virtual else "") for one in seen]
    hint = "none found" if platform.system() == "Linux" else "only listed on Linux"
    empty = f"{hint}; `streamhead doctor` says whether there is a virtual one"
    _print_table(console, "Cameras", ("device", "name", ""), nodes, empty)


def _print_table(console: Any, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    console.print(f"[bold]{title}[/bold]" + ("" if rows else f": {escape(empty)}"), highlight=False, soft_wrap=True)
    if rows:
        table = Table(*heads, box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
