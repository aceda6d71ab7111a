"""streamhead: a voice and one portrait become a live, lip-synced face for video calls.

>>> import streamhead
>>> head = streamhead.load("me.jpg")
>>> for frame in head.render("speech.wav"):
...     show(frame.image)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from streamhead.errors import (
    AudioError,
    CheckpointError,
    DataError,
    DeviceError,
    OutputError,
    PortraitError,
    StreamheadError,
)

if TYPE_CHECKING:
    from streamhead.face.portrait import Portrait
    from streamhead.output.frame import Frame
    from streamhead.output.webrtc import TalkingHeadTrack, attach
    from streamhead.stream.session import Session
    from streamhead.stream.talking_head import TalkingHead, load

__all__ = [
    "AudioError",
    "CheckpointError",
    "DataError",
    "DeviceError",
    "Frame",
    "OutputError",
    "Portrait",
    "PortraitError",
    "Session",
    "StreamheadError",
    "TalkingHead",
    "TalkingHeadTrack",
    "__version__",
    "attach",
    "load",
]

__version__ = "0.1.0"

# Imported when first asked for: torch and OpenCV take seconds, and an error's name should cost nothing.
_LAZY: Final = {
    "Frame": "streamhead.output.frame",
    "Portrait": "streamhead.face.portrait",
    "Session": "streamhead.stream.session",
    "TalkingHead": "streamhead.stream.talking_head",
    "TalkingHeadTrack": "streamhead.output.webrtc",
    "attach": "streamhead.output.webrtc",
    "load": "streamhead.stream.talking_head",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'streamhead' has no attribute {name!r}")
    try:
        value = getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in ("aiortc", "aioice"):
            raise
        raise ImportError(f"streamhead.{name} needs aiortc; install it: pip install 'streamhead[webrtc]'") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
