"""PortAudio and, on Linux, the PulseAudio (or PipeWire) behind it: what microphones and sound outputs share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from streamhead.errors import DeviceError

__all__ = ["Sink", "find", "portaudio", "pulse", "pulse_sinks"]

_PATIENCE: Final = 3.0
"""Seconds after which a sound server counts as absent."""


@dataclass(frozen=True, slots=True)
class Sink:
    """An output of PulseAudio or PipeWire, which PortAudio cannot tell from the others.

    Attributes:
        name: what ``--audio-out`` takes.
        rate: its sample rate, Hz.
        channels: of it.
        cable: whether it is a null sink: what is played there is only heard by who records its monitor.
    """

    name: str
    rate: int
    channels: int
    cable: bool


def portaudio() -> Any:
    """The module ``sounddevice``, imported when first needed.

    Raises:
        DeviceError: PortAudio is not installed.
    """
    try:
        import sounddevice
    except OSError as error:  # the wheels for macOS and Windows bring PortAudio with them
        raise DeviceError("PortAudio is missing; install it: sudo apt-get install libportaudio2") from error
    return sounddevice


def find(sounddevice: Any, name: str | int | None, direction: Literal["input", "output"]) -> Any:
    """PortAudio's description of the device meant, or None.

    Args:
        sounddevice: the module.
        name: part of the device's name, or its number; None for the default one.
        direction: only devices that have channels in it.

    Raises:
        DeviceError: the sound system does not answer.
    """
    try:
        known = sounddevice.query_devices()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the sound system does not answer ({error}); check that it runs") from error
    devices = [device for device in known if device[f"max_{direction}_channels"] > 0]
    wanted = str(name)
    if name is None:
        default = sounddevice.default.device[direction]
        matches = [device for device in devices if device["index"] == default]
    elif wanted.isdecimal():
        matches = [device for device in devices if device["index"] == int(wanted)]
    else:
        # One device stands in the list once for each host API of Windows; PortAudio puts the best supported first.
        matches = [device for device in devices if wanted.casefold() in device["name"].casefold()]
        matches.sort(key=lambda device: device["name"].casefold() != wanted.casefold())
    return matches[0] if matches else None


@contextmanager
def pulse(settings: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that libpulse reads when a device is opened within the context; only on Linux."""
    before = {name: os.environ.get(name) for name in settings} if sys.platform == "linux" else {}
    os.environ.update({name: settings[name] for name in before})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def pulse_sinks() -> list[Sink]:
    """The outputs of PulseAudio or PipeWire; none on other systems, or where ``pactl`` is not installed."""
    cables = {
        word.removeprefix("sink_name=")
        for row in _pactl("modules")
        if "module-null-sink" in row
        for word in row[2].split()
        if word.startswith("sink_name=")
    }
    sinks = []
    for row in _pactl("sinks"):
        _, channels, rate = row[3].split()  # as in "s16le 2ch 48000Hz"
        sinks.append(Sink(row[1], int(rate.removesuffix("Hz")), int(channels.removesuffix("ch")), row[1] in cables))
    return sinks


def _pactl(kind: str) -> list[list[str]]:
    """The rows of ``pactl list short``, each in its columns."""
    if sys.platform != "linux":
        return []
    command = ["pactl", "list", "short", kind]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [row.split("\t") for row in done.stdout.splitlines()]
