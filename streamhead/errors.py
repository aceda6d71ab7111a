"""Errors a user can mend: each message is one line that says what is wrong and what to do."""

__all__ = [
    "AudioError",
    "CheckpointError",
    "DataError",
    "DeviceError",
    "OutputError",
    "PortraitError",
    "StreamheadError",
]


class StreamheadError(Exception):
    """Base of every error a user can mend; the command line prints it in one line and exits with 2."""


class AudioError(StreamheadError):
    """Sound that cannot be used: empty, not finite, not decodable, or of the wrong shape."""


class PortraitError(StreamheadError):
    """A picture that cannot serve as a portrait: unreadable, no face, several faces, a tiny or turned face."""


class CheckpointError(StreamheadError):
    """Weights that cannot be used: missing, damaged, or of another format or preset."""


class DataError(StreamheadError):
    """A data set that cannot be read or prepared."""


class DeviceError(StreamheadError):
    """A device (microphone, camera, accelerator) that is missing or refuses to open."""


class OutputError(StreamheadError):
    """A result that cannot be written: no room, no right, or no encoder."""
