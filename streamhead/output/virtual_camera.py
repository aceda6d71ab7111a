"""Frames to a virtual camera, which any meeting app can choose."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Final, Self

from streamhead.errors import DeviceError, OutputError
from streamhead.output.frame import Frame
from streamhead.timebase import FPS

__all__ = ["VirtualCamera"]

_MENDS: Final = {
    "linux": (
        "load the kernel module: sudo apt-get install v4l2loopback-dkms && "
        "sudo modprobe v4l2loopback exclusive_caps=1 card_label=streamhead"
    ),
    "darwin": "install OBS Studio 30 or newer, start its virtual camera once and stop it again",
    "win32": "install OBS Studio and start its virtual camera once, or install UnityCapture",
}


class VirtualCamera:
    """A virtual camera, from entering the context to leaving it: v4l2loopback, OBS or UnityCapture, by pyvirtualcam.

    Args:
        size: width and height of the frames, pixels; fixed, since meeting apps want a stable picture.
        device: which camera (``/dev/video10``, or its name on macOS and Windows); None for the first there is.

    Raises:
        DeviceError: there is none, or it is busy (on entering).
    """

    def __init__(self, size: tuple[int, int], device: str | None = None) -> None:
        self.size = size
        self._wanted = device
        self._camera: Any = None

    @property
    def device(self) -> str:
        """The camera's name, as apps show it or as a path; empty while it is not open."""
        return "" if self._camera is None else str(self._camera.device)

    def __enter__(self) -> Self:
        import pyvirtualcam

        width, height = self.size
        try:
            self._camera = pyvirtualcam.Camera(width, height, FPS, device=self._wanted)
        except RuntimeError as error:  # has a line for each system that was tried
            tried = "; ".join(line.strip().rstrip(".") for line in str(error).splitlines())
            raise DeviceError(
                f"no virtual camera ({tried}); {_MENDS.get(sys.platform, 'see `streamhead doctor`')}"
            ) from error
        return self

    def send(self, frame: Frame) -> None:
        """Show a frame; blocks for about a millisecond.

        Raises:
            OutputError: the frame is not of the camera's size.
            DeviceError: the camera is not open.
        """
        height, width = frame.image.shape[:2]
        if (width, height) != self.size:
            raise OutputError(
                f"a frame of {width}x{height} for a camera of {self.size[0]}x{self.size[1]}; use one size"
            )
        if self._camera is None:
            raise DeviceError("the virtual camera is not open; use it in a with block")
        self._camera.send(frame.image)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None
