"""What is shipped so that everything runs with no arguments and no network: a face and a voice that are nobody's."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["default_speech"]


def default_speech() -> Path:
    """The speech clip that comes with the library (its card: ``speech.md``)."""
    return Path(str(files("streamhead.assets"))) / "speech.ogg"
