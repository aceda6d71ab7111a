"""Five measures of a face that must survive in z: what mouth and lids do (training aid of ``call``)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamhead.face.align import EYE_DISTANCE

__all__ = ["MEASURES", "MOUTH_MEASURES", "distances", "measure"]

_PAIRS: Final = {
    "inner lips": (13, 14),
    "outer lips": (0, 17),
    "mouth width": (61, 291),
    "left lid": (159, 145),
    "right lid": (386, 374),
}
MEASURES: Final = tuple(_PAIRS)
"""Names of the measures; the lids are named as seen in the picture."""

MOUTH_MEASURES: Final = 3
"""So many of them, the first, are the mouth's."""


def distances(landmarks: NDArray[np.float32], *, flipped: bool = False) -> NDArray[np.float32]:
    """Landmarks ``(T, 478, 2)`` -> ``(T, 5)`` distances in the same unit."""
    order = ["inner lips", "outer lips", "mouth width"]
    order += ["right lid", "left lid"] if flipped else ["left lid", "right lid"]
    gaps = [np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1) for a, b in (_PAIRS[name] for name in order)]
    return np.stack(gaps, axis=-1)


def measure(landmarks: NDArray[np.float32], *, flipped: bool = False) -> NDArray[np.float32]:
    """Landmarks ``(T, 478, 2)`` in canonical pixels -> ``(T, 5)`` distances in eye distances, off the clip's median.

    Off the median, because how wide somebody's mouth or eyes are is the portrait's to know, not the sound's.
    """
    found = distances(landmarks, flipped=flipped) / EYE_DISTANCE
    off: NDArray[np.float32] = (found - np.median(found, axis=0)).astype(np.float32)
    return off
