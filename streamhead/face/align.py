"""The canonical square: every face at the same place, size and tilt, its mouth free to move (DESIGN section 2)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from math import ceil
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from streamhead.face.landmarks import DLIB_POINTS

__all__ = [
    "EYES",
    "EYE_DISTANCE",
    "LEFT_EYE",
    "MOUTH",
    "RIGHT_EYE",
    "SIZE",
    "STABLE_POINTS",
    "crop",
    "eye_centres",
    "fit",
    "mean_face",
    "similarity",
    "smooth",
    "transform_points",
]

SIZE: Final = 128
"""Side of the canonical square, pixels."""

LEFT_EYE: Final = (43.0, 50.0)
"""Where the centre of the eye on the left of the picture lies (x, y)."""

RIGHT_EYE: Final = (85.0, 50.0)
"""Where the centre of the eye on the right of the picture lies (x, y)."""

EYE_DISTANCE: Final = RIGHT_EYE[0] - LEFT_EYE[0]
"""Distance of the eye centres in the canonical square, pixels."""

MOUTH: Final = (slice(74, 122), slice(30, 98))
"""Rows and columns of the mouth region every metric uses."""

EYES: Final = (slice(36, 64), slice(26, 102))
"""Rows and columns of the eye region every metric uses."""

_LEFT_CORNERS: Final = (33, 133)
_RIGHT_CORNERS: Final = (362, 263)
STABLE_POINTS: Final = (*_LEFT_CORNERS, *_RIGHT_CORNERS, 168, 6, 197, 195)
"""mediapipe's points of a face that neither speech nor a blink moves: four eye corners and the bridge of the nose."""

_DLIB_STABLE_POINTS: Final = (36, 39, 42, 45, 27, 28, 29)
# Where dlib's points of that kind lie in the square: their mean over the talkers behind the mean face.
_DLIB_STABLE: Final = np.array(
    [(33.99, 49.76), (51.52, 50.91), (76.32, 50.92), (94.01, 49.59), (64.14, 47.69), (64.09, 56.46), (64.29, 65.10)]
)


@cache
def mean_face() -> NDArray[np.float32]:
    """Points of the average face, ``(478, 2)`` in canonical pixels; read-only."""
    with files("streamhead.face").joinpath("mean_face.npy").open("rb") as file:
        points: NDArray[np.float32] = np.load(file, allow_pickle=False)
    points.setflags(write=False)
    return points


def eye_centres(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Midpoints of the eyes' corners of ``(478, 2)`` points, ``(2, 2)``: the eye on the left of the picture first."""
    points = np.asarray(landmarks, np.float64)
    return np.stack([points[list(corners)].mean(0) for corners in (_LEFT_CORNERS, _RIGHT_CORNERS)])


def fit(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """Least-squares similarity (rotation, one scale, shift) that takes ``(n, 2)`` source points to target points."""
    # As complex numbers a similarity is z -> a z + b, so the fit is a one-dimensional regression.
    z, w = (np.asarray(points, np.float64) @ np.array([1.0, 1.0j]) for points in (source, target))
    z_mean, w_mean = z.mean(), w.mean()
    a = np.vdot(z - z_mean, w - w_mean) / np.vdot(z - z_mean, z - z_mean).real
    b = w_mean - a * z_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def similarity(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """The transform that brings a face into the canonical square.

    Args:
        landmarks: ``(478, 2)`` points of mediapipe or ``(68, 2)`` of dlib, in image pixels.

    Returns:
        ``(2, 3)`` affine matrix, image pixels to canonical pixels.
    """
    if len(landmarks) == DLIB_POINTS:
        return fit(np.asarray(landmarks)[list(_DLIB_STABLE_POINTS)], _DLIB_STABLE)
    stable = list(STABLE_POINTS)
    return fit(np.asarray(landmarks)[stable], mean_face()[stable])


def smooth(transforms: NDArray[np.float64], sigma: float = 1.5) -> NDArray[np.float64]:
    """Take the jitter out of a video's transforms ``(T, 2, 3)``; ``sigma`` in frames.

    Each entry is averaged over a few neighbouring frames. A mean of similarities is a similarity, and where it takes a
    point is the mean of where they took it; so a head that moves still stays in its place.
    """
    smoothed: NDArray[np.float64] = gaussian_filter1d(np.asarray(transforms, np.float64), sigma, axis=0, mode="nearest")
    return smoothed


def crop(image: NDArray[np.uint8], transform: NDArray[np.floating], size: int = SIZE) -> NDArray[np.uint8]:
    """Cut the canonical square out of a picture.

    Args:
        image: ``(height, width, 3)`` RGB.
        transform: ``(2, 3)``, image pixels to canonical pixels.
        size: side of the result; the square's whole content whatever the side.

    Returns:
        ``(size, size, 3)``; beyond the picture's edge the edge's colour goes on.
    """
    zoom = size / SIZE
    scale = float(np.hypot(transform[0, 0], transform[1, 0])) * zoom
    # A large face is first cut finer and then averaged down: bilinear reading alone would skip pixels.
    finer = min(max(1, ceil(1.0 / scale - 0.1)), 16)
    matrix = np.asarray(transform, np.float64) * (zoom * finer)
    matrix[:, 2] += 0.5 * (zoom * finer - 1.0)
    square = cv2.warpAffine(
        image, matrix, (size * finer, size * finer), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if finer > 1:
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(square, np.uint8)


def transform_points(transform: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Where an affine ``(2, 3)`` transform takes points ``(..., 2)``."""
    moved = np.asarray(points, np.float64) @ np.asarray(transform, np.float64)[:, :2].T + transform[:, 2]
    return moved.astype(np.float32)
