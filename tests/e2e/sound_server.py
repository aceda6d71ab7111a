"""A microphone without hardware: a PulseAudio of its own, whose virtual microphone hears its virtual loudspeaker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.ndimage import minimum_filter1d

__all__ = ["CABLE", "Recording", "SoundServer"]

SPEAKER, MICROPHONE, CABLE = "vspk", "vmic", "streamhead-cable"
RATE = 48_000


class Recording:
    """What is played into a sink, as a program that records its monitor gets it, from entering to leaving the context.

    A sample counts as heard when the quickest chunks before and after it say that it arrived here. PulseAudio hands a
    block over to its listeners when it begins to play it, so that instants are up to one block of the sink early.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._chunks: list[bytes] = []
        self._arrived: list[float] = []
        self._reader = Thread(target=self._read)

    def _read(self) -> None:
        assert self._process.stdout is not None
        while chunk := os.read(self._process.stdout.fileno(), 1 << 16):
            self._arrived.append(time.monotonic())
            self._chunks.append(chunk)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reader.join(10)

    @property
    def sound(self) -> np.ndarray:
        """``(n,)`` float at 48 kHz."""
        return np.frombuffer(b"".join(self._chunks), "<i2") / np.float32(32768)

    def instants(self, places: ArrayLike) -> np.ndarray:
        """When the samples at ``places`` were heard, seconds of time.monotonic."""
        stop = np.cumsum([len(chunk) // 2 for chunk in self._chunks])
        origin = minimum_filter1d(np.asarray(self._arrived) - stop / RATE, 1000, mode="nearest")
        return np.interp(places, stop, origin) + np.asarray(places) / RATE


class SoundServer:
    """A context in which processes started with :attr:`environment` hear what is played.

    Args:
        folder: short (a socket's path may have 107 characters) and private.
    """

    def __init__(self, folder: Path) -> None:
        if sys.platform != "linux" or not all(map(shutil.which, ("pulseaudio", "pactl", "pacat"))):
            pytest.skip("needs Linux with pulseaudio and pulseaudio-utils")
        folder.chmod(0o700)
        self.environment = {
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{folder}/pulse/native",
            "PULSE_SOURCE": MICROPHONE,
            "PULSE_SINK": SPEAKER,
        }
        self._children: list[subprocess.Popen[bytes]] = []

    def _start(self, *command: str, **options: object) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            command,
            env={**os.environ, **self.environment},
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options},  # type: ignore[call-overload]
        )
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        modules = (
            "module-native-protocol-unix",
            f"module-null-sink sink_name={SPEAKER} rate={RATE} channels=2",
            f"module-remap-source master={SPEAKER}.monitor source_name={MICROPHONE} channels=1",
        )
        loads = [word for module in modules for word in ("-L", module)]
        self._start("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", *loads)
        for _ in range(300):
            if MICROPHONE in self.control("list", "short", "sources", check=False):
                break
            time.sleep(0.1)
        else:
            self.__exit__(None, None, None)
            pytest.skip("this PulseAudio does not start")
        # A loudspeaker that plays nothing sleeps, and takes up to two seconds to wake.
        self._play("/dev/zero")
        time.sleep(1.5)
        self.settle(lambda: "RUNNING" in self.control("list", "short", "sinks"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and all that plays."""
        for child in reversed(self._children):
            child.terminate()
        for child in reversed(self._children):
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def control(self, *arguments: str, check: bool = True) -> str:
        """Run ``pactl``."""
        done = subprocess.run(
            ["pactl", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )
        return done.stdout

    def settle(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until something is so: PulseAudio notices a moment later what programs do."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.control("list", "short")
            time.sleep(0.05)

    def add_cable(self) -> str:
        """A second loudspeaker that nobody hears; returns its name."""
        self.control("load-module", "module-null-sink", f"sink_name={CABLE}", f"rate={RATE}", "channels=2")
        return CABLE

    def record(self, sink: str) -> Recording:
        """Listen to what is played into a sink."""
        options = ["--raw", "--latency-msec=10", "--format=s16le", f"--rate={RATE}", "--channels=1"]
        command = ["parec", *options, f"--device={sink}.monitor"]
        return Recording(self._start(*command, stdout=subprocess.PIPE))

    def _play(self, file: str, latency: int = 20) -> subprocess.Popen[bytes]:
        options = [
            "--raw",
            f"--latency-msec={latency}",
            "--format=s16le",
            f"--rate={RATE}",
            "--channels=2",
            f"--device={SPEAKER}",
        ]
        return self._start("pacat", "--playback", *options, file)

    def play(self, samples: np.ndarray, file: Path) -> subprocess.Popen[bytes]:
        """Begin to play ``(n,)`` float samples at 48 kHz; ``file`` is for their keeping."""
        np.repeat((samples * 32767).astype("<i2"), 2).tofile(file)
        return self._play(str(file), latency=200)  # so much ahead that it does not stumble

    @property
    def players(self) -> int:
        """Streams that play into :data:`CABLE`."""
        sinks = (row.split("\t") for row in self.control("list", "short", "sinks").splitlines())
        (cable,) = (row[0] for row in sinks if row[1] == CABLE)
        return sum(row.split("\t")[1] == cable for row in self.control("list", "short", "sink-inputs").splitlines())

    @property
    def listeners(self) -> int:
        """Streams open on the microphone."""
        rows = self.control("list", "short", "source-outputs").splitlines()
        # The microphone itself listens to the loudspeaker's monitor.
        return sum("module-remap-source" not in row and bool(row.strip()) for row in rows)
