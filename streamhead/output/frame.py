"""One finished picture with the sound that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A video frame of a stream.

    Attributes:
        image: ``(H, W, 3)`` RGB uint8.
        pts: first sample of the frame's interval, at 16 kHz.
        audio: ``(n,)`` or ``(n, channels)`` float32 in [-1, 1]: the caller's own samples of the interval.
        sample_rate: of ``audio``, Hz.
        speech: whether the voice detector's gate was open.
    """

    image: NDArray[np.uint8]
    pts: int
    audio: NDArray[np.float32]
    sample_rate: int
    speech: bool
