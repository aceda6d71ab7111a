"""Do the lips follow the sound: the mouth's opening in generated frames against the real one.

Landmarks are found anew in the frames, real and generated alike and by the same finder, so that neither side is
favoured. Sentences of one corpus share a rhythm, so plain correlation flatters: any sentence's mouth opens in the
middle. What counts is what is left after a moving average is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamhead.face.align import eye_centres

__all__ = ["MAX_LAG", "WINDOW", "Sync", "compare", "correlation", "detrend", "find_landmarks", "lag", "mouth_opening"]

WINDOW: Final = 15
"""Frames of the moving average that is taken away (0.6 s: about a word or two)."""

MAX_LAG: Final = 10
"""Frames by which the cross-correlation's peak is looked for, either way."""

_INNER_LIPS: Final = (13, 14)
_STILL: Final = 1e-9


class _Finder(Protocol):
    def find(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]: ...


@dataclass(frozen=True, slots=True)
class Sync:
    """Two mouths compared.

    Attributes:
        correlation: of the detrended openings; 0 where the generated mouth does not move, None where the real one
            does not.
        raw_correlation: the same without detrending.
        std_ratio: standard deviation of the detrended opening, generated over real; None as above.
        lag: frames by which the generated mouth comes late (negative: early); None where either does not move.
    """

    correlation: float | None
    raw_correlation: float | None
    std_ratio: float | None
    lag: int | None


def find_landmarks(frames: NDArray[np.uint8], finder: _Finder) -> NDArray[np.float32]:
    """Points of the largest face of each canonical crop, looked for afresh in each.

    Crops are taken as they are: scaling them up two to four times changed nothing but noise (correlation with points
    found in the original video .98 detrended, at every scale), and tracking from frame to frame lags behind the lips.

    Args:
        frames: ``(T, 128, 128, 3)`` RGB.
        finder: a ``LandmarkFinder``.

    Returns:
        ``(T, 478, 2)`` pixels; NaN for a frame without a face.
    """
    points = np.full((len(frames), 478, 2), np.nan, np.float32)
    for t, frame in enumerate(frames):
        image = np.ascontiguousarray(frame)
        faces = finder.find(image)
        if not faces:
            # The detector can miss a face that fills the whole picture; with air around it, it does not.
            air = len(image) // 3
            padded = np.pad(image, ((air, air), (air, air), (0, 0)), mode="edge")
            faces = [face - np.float32(air) for face in finder.find(padded)]
        if faces:
            points[t] = faces[0]
    return points


def mouth_opening(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance of the inner lips over the distance of the eyes' centres, ``(T, 478, 2)`` -> ``(T,)``.

    Frames without a face are bridged in a straight line; without any face at all the mouth counts as shut.
    """
    upper, lower = _INNER_LIPS
    gaps = np.linalg.norm(landmarks[:, upper].astype(np.float64) - landmarks[:, lower], axis=-1)
    eyes = np.array([np.linalg.norm(np.subtract(*eye_centres(points))) for points in landmarks])
    opening = gaps / eyes
    known = np.flatnonzero(np.isfinite(opening))
    if not len(known):
        return np.zeros(len(opening))
    return np.asarray(np.interp(np.arange(len(opening)), known, opening[known]))


def detrend(signal: NDArray[np.floating], window: int = WINDOW) -> NDArray[np.float64]:
    """The signal ``(T,)`` less its centred moving average; at the ends the average is of the frames there are."""
    signal = np.asarray(signal, np.float64)
    half = window // 2
    sums = np.concatenate([[0.0], np.cumsum(signal)])
    first = np.maximum(np.arange(len(signal)) - half, 0)
    last = np.minimum(np.arange(len(signal)) + half + 1, len(signal))
    return np.asarray(signal - (sums[last] - sums[first]) / (last - first))


def correlation(real: NDArray[np.floating], drawn: NDArray[np.floating]) -> float | None:
    """Pearson's; 0 where ``drawn`` does not vary (it tells nothing of ``real``), None where ``real`` does not."""
    if np.std(real) < _STILL:
        return None
    if np.std(drawn) < _STILL:
        return 0.0
    return float(np.corrcoef(real, drawn)[0, 1])


def lag(real: NDArray[np.floating], drawn: NDArray[np.floating], limit: int = MAX_LAG) -> int | None:
    """Frames by which ``drawn`` comes late: where the correlation of the overlapping parts is highest.

    Returns:
        From ``-limit`` to ``limit``; None where either signal does not vary.
    """
    if np.std(drawn) < _STILL or np.std(real) < _STILL:
        return None
    count = len(real)
    limit = min(limit, count // 2)
    shifts = range(-limit, limit + 1)
    peaks = [
        correlation(real[max(0, -shift) : count - max(0, shift)], drawn[max(0, shift) : count + min(0, shift)])
        for shift in shifts
    ]
    return shifts[int(np.argmax([-1.0 if peak is None else peak for peak in peaks]))]


def compare(real: NDArray[np.floating], drawn: NDArray[np.floating]) -> Sync:
    """Compare two mouth openings ``(T,)`` of the same frames."""
    a, b = detrend(real), detrend(drawn)
    spread = float(np.std(a))
    return Sync(
        correlation=correlation(a, b),
        raw_correlation=correlation(real, drawn),
        std_ratio=None if spread < _STILL else float(np.std(b)) / spread,
        lag=lag(a, b),
    )
