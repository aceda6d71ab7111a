"""What landmarks tell beside the lips' step: how far the mouth's shape is off, and how often eyes blink."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamhead.timebase import FPS

__all__ = ["MOUTH_POINTS", "blinks", "blinks_per_minute", "eye_opening", "landmark_distance"]

MOUTH_POINTS: Final = (
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""mediapipe's points where dlib's 20 mouth points (48..67) are: 12 around the lips, 8 inside."""

# Corner, two of the upper lid, corner, two of the lower: the six points of Soukupova and Cech (2016).
_EYES: Final = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))
_SHUT: Final = 0.65
_LONGEST: Final = FPS // 2


def landmark_distance(real: NDArray[np.floating], drawn: NDArray[np.floating]) -> float | None:
    """LMD of Chen et al. (2018): distance of the 20 mouth points once both mouths are centred.

    Args:
        real: ``(T, 478, 2)`` canonical pixels; NaN for a frame without a face.
        drawn: the same.

    Returns:
        Mean over points and over the frames in which both have a face, pixels of the 128 px square; None where there is
        no such frame.
    """
    mouths = [np.asarray(points, np.float64)[:, list(MOUTH_POINTS)] for points in (real, drawn)]
    a, b = (points - points.mean(axis=1, keepdims=True) for points in mouths)
    distances = np.linalg.norm(a - b, axis=-1).mean(axis=1)
    known = distances[np.isfinite(distances)]
    return float(known.mean()) if len(known) else None


def eye_opening(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Height of the eyes over their width (the eye aspect ratio), mean of both, ``(T, 478, 2)`` -> ``(T,)``.

    Frames without a face are bridged in a straight line; without any face at all the eyes count as open, at 1.
    """
    points = np.asarray(landmarks, np.float64)

    def distance(a: int, b: int) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(points[:, a] - points[:, b], axis=-1))

    ratios = np.mean([(distance(b, f) + distance(c, e)) / (2 * distance(a, d)) for a, b, c, d, e, f in _EYES], axis=0)
    known = np.flatnonzero(np.isfinite(ratios))
    if not len(known):
        return np.ones(len(ratios))
    return np.asarray(np.interp(np.arange(len(ratios)), known, ratios[known]))


def blinks(opening: NDArray[np.floating]) -> int:
    """How often the eyes shut and open again: dips under 65 % of the median opening, of half a second at most.

    Args:
        opening: ``(T,)`` from :func:`eye_opening`. A dip that begins before or goes on after it is not counted.
    """
    shut = np.concatenate([[False], np.asarray(opening) < _SHUT * np.median(opening), [False]])
    edges = np.flatnonzero(np.diff(shut.astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    whole = (starts > 0) & (ends < len(opening)) & (ends - starts <= _LONGEST)
    return int(whole.sum())


def blinks_per_minute(landmarks: NDArray[np.floating]) -> float:
    """Blinks of ``(T, 478, 2)`` landmarks, a minute."""
    return blinks(eye_opening(landmarks)) * 60.0 * FPS / max(1, len(landmarks))
