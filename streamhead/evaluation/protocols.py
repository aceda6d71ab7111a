"""Protocols: what exactly is measured, under a name that stands in every table.

One and the same picture scores SSIM .75 to .83 and PSNR 24 to 31 dB depending on the protocol alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamhead.evaluation.metrics import box_ssim_map, psnr, sharpness, ssim_map, wrapped_psnr
from streamhead.face.align import EYES, MOUTH, SIZE

__all__ = ["ATVGNET", "PROTOCOLS", "STANDARD", "SVG", "Frames", "Protocol"]

Frames = NDArray[np.uint8]
"""``(T, 128, 128, 3)`` RGB, canonical squares."""

Region = tuple[slice, slice]

_ATVGNET_SIZE: Final = 256


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Real and generated frames, ready for a protocol.

    Attributes:
        similar: SSIM around each pixel, ``(T, side, side)``.
        decibels: PSNR of a region, mean over frames.
        border: pixels at the edge whose SSIM window would leave the picture; they are not counted (as scikit-image and
            MATLAB do).
        scale: picture pixels a canonical pixel.
    """

    similar: NDArray[np.float64]
    decibels: Callable[[Region], float]
    border: int
    scale: int = 1

    def region(self, region: Region) -> Region:
        """A region of the canonical square in the protocol's own pixels."""
        rows, columns = (slice(part.start * self.scale, part.stop * self.scale) for part in region)
        return rows, columns


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to score the pictures of one clip.

    Attributes:
        name: as it stands in the tables.
        description: one line for the caption.
        pictures: real and generated frames -> what SSIM and PSNR are of them.
    """

    name: str
    description: str
    pictures: Callable[[Frames, Frames], _Pictures]

    def score(self, real: Frames, drawn: Frames) -> dict[str, float]:
        """The clip's scores, each a mean over frames.

        Args:
            real: ``(T, 128, 128, 3)`` uint8 RGB, the first frame not among them.
            drawn: the same of the generated.
        """
        seen = self.pictures(real, drawn)
        inside = slice(seen.border, -seen.border)
        mouths = [frames[:, *MOUTH].astype(np.float32) / 255.0 for frames in (drawn, real)]
        return {
            "ssim": float(seen.similar[:, inside, inside].mean()),
            "psnr": seen.decibels((slice(0, SIZE), slice(0, SIZE))),
            "mouth_ssim": float(seen.similar[:, *seen.region(MOUTH)].mean()),
            "mouth_psnr": seen.decibels(MOUTH),
            "eye_psnr": seen.decibels(EYES),
            "mouth_sharpness": sharpness(mouths[0]) / max(sharpness(mouths[1]), 1e-12),
        }


def _standard(real: Frames, drawn: Frames) -> _Pictures:
    a, b = (np.asarray(frames, np.float64) / 255.0 for frames in (real, drawn))

    def decibels(region: Region) -> float:
        return float(psnr(a[:, *region], b[:, *region]).mean())

    return _Pictures(ssim_map(a, b), decibels, border=5)


def _svg(real: Frames, drawn: Frames) -> _Pictures:
    a, b = (np.asarray(frames, np.float64) / 255.0 for frames in (real, drawn))

    def decibels(region: Region) -> float:
        channels = [psnr(a[:, *region, c : c + 1], b[:, *region, c : c + 1]) for c in range(3)]
        return float(np.mean(channels))

    return _Pictures(box_ssim_map(a, b, data_range=2.0), decibels, border=3)


def _atvgnet(real: Frames, drawn: Frames) -> _Pictures:
    size = (_ATVGNET_SIZE, _ATVGNET_SIZE)
    a, b = (np.stack([cv2.resize(frame, size) for frame in frames]).astype(np.uint8) for frames in (real, drawn))
    grey_a, grey_b = (
        np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]).astype(np.uint8) for frames in (a, b)
    )
    scale = _ATVGNET_SIZE // SIZE

    def decibels(region: Region) -> float:
        rows, columns = (slice(part.start * scale, part.stop * scale) for part in region)
        return float(wrapped_psnr(grey_a[:, rows, columns], grey_b[:, rows, columns]).mean())

    return _Pictures(box_ssim_map(a, b, data_range=255.0), decibels, border=3, scale=scale)


_SHARED: Final = (
    "frames 2..N, mean over frames, then over clips; mouth x 30..98, y 74..122, eyes x 26..102, y 36..64 of the 128 px "
    "square"
)

STANDARD: Final = Protocol(
    "standard",
    "RGB floats in [0, 1], data range 1; SSIM with a Gaussian 11x11 window; PSNR in dB a frame; " + _SHARED,
    _standard,
)
"""Scores of the raw canonical square as published metrics define them."""

SVG: Final = Protocol(
    "svg",
    "as code in the line of SVG takes them: each colour on its own, floats in [0, 1]; SSIM with a 7x7 box window and a "
    "data range of 2, scikit-image's former default for floats (which flatters); PSNR with a data range of 1; "
    + _SHARED,
    _svg,
)
"""How stochastic video generation (Denton and Fergus, 2018), and so the paper's code, scores."""

ATVGNET: Final = Protocol(
    "atvgnet",
    "as ATVGNet's published script takes them: pictures scaled to 256 px, uint8; SSIM of the colours with a 7x7 box "
    "window; PSNR of the grey picture whose differences and squares wrap around at 256, so that it never falls under "
    "24 dB however wrong a picture is; " + _SHARED,
    _atvgnet,
)
"""How ATVGNet (Chen et al., 2019) scores; its PSNR tells little, see ``metrics.wrapped_psnr``."""

PROTOCOLS: Final = MappingProxyType({protocol.name: protocol for protocol in (STANDARD, SVG, ATVGNET)})
"""By name."""
