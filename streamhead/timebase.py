"""The one time base: audio is the clock, 16 kHz inside, 25 frames a second.

Frame ``t`` belongs to samples ``[640 t, 640 (t + 1))`` and its pts is ``640 t`` for ever.
"""

from typing import Final

__all__ = ["FPS", "HOP", "SAMPLE_RATE"]

SAMPLE_RATE: Final = 16_000
"""Samples a second inside the library."""

FPS: Final = 25
"""Video frames a second."""

HOP: Final = SAMPLE_RATE // FPS
"""Samples a video frame (640)."""
