"""A camera for pyvirtualcam that records what it is shown: see camera_shim.c."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

__all__ = ["CameraShim", "Shot"]


@dataclass(frozen=True)
class Shot:
    """A frame as the camera saw it.

    Attributes:
        instant: seconds of time.monotonic.
        size: bytes.
        digest: equal for equal pictures.
    """

    instant: float
    size: int
    digest: str


class CameraShim:
    """A recording camera for processes started with :attr:`environment`.

    Args:
        folder: for the compiled shim and its records.
        keep: number of frames to keep byte for byte.
        first_bytes: how many of each to keep, from its top left corner on; None for all.
    """

    device = "/dev/video42"

    def __init__(self, folder: Path, keep: int = 0, first_bytes: int | None = None) -> None:
        compiler = shutil.which("gcc")
        if sys.platform != "linux" or compiler is None:
            pytest.skip("the camera shim needs Linux and gcc")
        library = folder / "camera_shim.so"
        source = Path(__file__).with_name("camera_shim.c")
        command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", str(source), "-o", str(library), "-ldl"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        self._log, self._frames = folder / "camera.log", folder / "camera.i420"
        self.environment = {
            "LD_PRELOAD": " ".join(filter(None, (str(library), os.environ.get("LD_PRELOAD")))),
            "CAMERA_SHIM_DEVICE": self.device,
            "CAMERA_SHIM_LOG": str(self._log),
            "CAMERA_SHIM_FRAMES": str(self._frames),
            "CAMERA_SHIM_KEEP": str(keep),
            **({} if first_bytes is None else {"CAMERA_SHIM_BYTES": str(first_bytes)}),
        }

    @property
    def events(self) -> list[str]:
        """What happened, without the frames."""
        return [line for line in self._lines() if not line.startswith("frame")]

    @property
    def shots(self) -> list[Shot]:
        """The frames so far."""
        rows = (line.split() for line in self._lines())
        return [Shot(int(row[1]) / 1e9, int(row[2]), row[3]) for row in rows if row[0] == "frame" and len(row) == 4]

    def _lines(self) -> list[str]:
        written = self._log.read_text() if self._log.exists() else ""
        return written[: written.rfind("\n") + 1].splitlines()  # what is being written now is seen next time

    def frames(self, width: int, height: int) -> np.ndarray:
        """The kept frames, ``(n, height * 3 / 2, width)`` I420."""
        return self.kept(height * 3 // 2 * width).reshape(-1, height * 3 // 2, width)

    def kept(self, count: int) -> np.ndarray:
        """What was kept, ``count`` bytes of each frame: ``(n, count)``."""
        return np.fromfile(self._frames, np.uint8).reshape(-1, count)
