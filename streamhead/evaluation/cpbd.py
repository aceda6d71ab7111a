"""CPBD: how much of a picture's edges is sharp to the eye, without a reference.

N. D. Narvekar and L. J. Karam, "A no-reference image blur metric based on the cumulative probability of blur detection
(CPBD)", IEEE Transactions on Image Processing 20(9), 2011. Written here from the paper: the package on PyPI no longer
imports with current SciPy and has had no release since 2018, and its fork is not under an open licence. The paper's
probability of noticing a blur, 1 - exp(-(w / w_jnb)^3.6), is at most that of a just noticeable one exactly where the
width w is at most w_jnb; so widths are compared, and the exponent drops out.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import canny

__all__ = ["cpbd", "edge_widths"]

_BLOCK: Final = 64
_EDGE_SHARE: Final = 0.002
_LOW_CONTRAST: Final = 50
_WIDTHS: Final = (5.0, 3.0)  # just noticeable blur at low and at higher contrast, pixels


def edge_widths(grey: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Widths of a picture's upright edges (within 22.5 degrees), along its rows (Marziliano et al., 2002).

    From an edge pixel the brightness goes on rising (or falling) to either side for a while; the width is how far its
    extremes lie apart.

    Args:
        grey: ``(height, width)`` 0..255.

    Returns:
        Edge pixels ``(n, 2)`` as row and column, and their widths ``(n,)`` in pixels.
    """
    grey = np.asarray(grey, np.float64)
    slope, other = cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1)
    steep = np.abs(slope)
    # Thinned to the steepest of three along the row; what is steep by the picture's own measure counts.
    peak = np.zeros(grey.shape, bool)
    peak[:, 1:-1] = (steep[:, 1:-1] > steep[:, :-2]) & (steep[:, 1:-1] >= steep[:, 2:])
    peak &= (steep > 2.0 * np.sqrt((slope**2).mean())) & (np.abs(other) < np.tan(np.pi / 8) * steep)
    pixels = np.argwhere(peak)
    step = np.diff(grey, axis=1)
    widths = np.zeros(len(pixels))
    for i, (row, column) in enumerate(pixels):
        going = step[row] * np.sign(slope[row, column]) > 0
        left = column
        while left > 0 and going[left - 1]:
            left -= 1
        right = column
        while right < len(going) and going[right]:
            right += 1
        widths[i] = right - left
    return pixels, widths


def cpbd(frame: NDArray[np.uint8]) -> float:
    """Share of a picture's edges whose blur is not noticed, from 0 (all blurred) to 1.

    Args:
        frame: ``(height, width, 3)`` RGB. Blocks of 64x64 are looked at; a margin that fills none is left out.

    Returns:
        0 where there is no edge at all.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY).astype(np.float64)
    edges = canny(grey)  # type: ignore[no-untyped-call]
    pixels, widths = edge_widths(grey)
    sharp: list[NDArray[np.bool_]] = []
    for top in range(0, grey.shape[0] - _BLOCK + 1, _BLOCK):
        for left in range(0, grey.shape[1] - _BLOCK + 1, _BLOCK):
            block = (slice(top, top + _BLOCK), slice(left, left + _BLOCK))
            if edges[block].mean() <= _EDGE_SHARE:
                continue
            low = np.ptp(grey[block]) <= _LOW_CONTRAST
            inside = ((pixels >= (top, left)) & (pixels < (top + _BLOCK, left + _BLOCK))).all(axis=1) & (widths > 0)
            sharp.append(widths[inside] <= _WIDTHS[0 if low else 1])
    every = np.concatenate(sharp) if sharp else np.zeros(0, bool)
    return float(every.mean()) if len(every) else 0.0
