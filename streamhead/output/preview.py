"""Frames in a window on this machine."""

from __future__ import annotations

import os
import sys

from streamhead.errors import DeviceError
from streamhead.output.frame import Frame

__all__ = ["PreviewWindow"]


class PreviewWindow:
    """A window that shows frames until it is closed by hand. All calls from one thread; on macOS, the main thread.

    Raises:
        DeviceError: there is no display.
    """

    def __init__(self, title: str = "streamhead") -> None:
        # Asked first: where there is no display, the window system ends the whole process.
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeviceError("no display for a preview window; leave --preview out, or run in a desktop session")
        self._title = title
        self._shown = False
        self._closed = False

    def send(self, frame: Frame) -> None:
        """Show a frame."""
        import cv2

        if self._closed:
            return
        try:
            if self._shown and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
                self._closed = True
                return
            cv2.imshow(self._title, frame.image[:, :, ::-1])
            cv2.waitKey(1)
        except cv2.error as error:  # an OpenCV without windows
            raise DeviceError("this OpenCV cannot open windows; leave --preview out") from error
        self._shown = True
