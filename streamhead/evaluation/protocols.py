"""Protocols: what exactly is measured, under a name that stands in every table.

One and the same picture scores SSIM .75 to .83 and PSNR 24 to 31 dB depending on the protocol alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamhead.evaluation.metrics import psnr, sharpness, ssim_map
from streamhead.face.align import EYES, MOUTH

__all__ = ["STANDARD", "Frames", "Protocol"]

Frames = NDArray[np.uint8]
"""``(T, 128, 128, 3)`` RGB, canonical squares."""

_SSIM_BORDER: Final = 5
"""Half the SSIM window: pixels whose window would leave the square are not counted (as scikit-image and MATLAB do)."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to score the pictures of one clip.

    Attributes:
        name: as it stands in the tables.
        description: one line for the caption.
        score: real and generated frames ``(T, 128, 128, 3)`` uint8 RGB, the first frame not among them -> the clip's
            scores, each a mean over frames.
    """

    name: str
    description: str
    score: Callable[[Frames, Frames], dict[str, float]]


def _standard(real: Frames, drawn: Frames) -> dict[str, float]:
    a, b = (np.asarray(frames, np.float64) / 255.0 for frames in (real, drawn))
    similar = ssim_map(a, b)
    inside = slice(_SSIM_BORDER, -_SSIM_BORDER)

    def decibels(rows: slice, columns: slice) -> float:
        return float(psnr(a[:, rows, columns], b[:, rows, columns]).mean())

    return {
        "ssim": float(similar[:, inside, inside].mean()),
        "psnr": float(psnr(a, b).mean()),
        "mouth_ssim": float(similar[:, *MOUTH].mean()),
        "mouth_psnr": decibels(*MOUTH),
        "eye_psnr": decibels(*EYES),
        "mouth_sharpness": sharpness(b[:, *MOUTH]) / max(sharpness(a[:, *MOUTH]), 1e-12),
    }


STANDARD: Final = Protocol(
    "standard",
    "RGB floats in [0, 1], data range 1; SSIM with a Gaussian 11x11 window; PSNR in dB a frame; frames 2..N, mean over "
    "frames, then over clips; mouth x 30..98, y 74..122, eyes x 26..102, y 36..64 of the 128 px square",
    _standard,
)
"""Scores of the raw canonical square as published metrics define them."""
