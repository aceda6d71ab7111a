"""Faces that the few talkers do not have: facial hair of any cut and colour, lips lighter or darker than the skin.

What a mouth looks like must not be learnt as "darker and redder than what is about it": under a moustache, or on dark
skin, it is neither. Both are painted where the landmarks are, so that they move with the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamhead.face.align import SIZE

__all__ = ["Disguise", "draw_disguise"]

Plane = NDArray[np.float32]

_UPPER: Final = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]
_LOWER: Final = [291, 375, 321, 405, 314, 17, 84, 181, 91, 146, 61]
_INNER: Final = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
_NOSE, _CHIN, _LIP, _UNDER = 2, 152, 0, 17
_BITS: Final = 3  # of a pixel, that contours are drawn to


def _fill(*contours: Plane) -> Plane:
    """``(128, 128)``: 1 within the first contour and outside of the others."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for value, contour in zip((255, *(0 for _ in contours[1:])), contours, strict=True):
        points = np.round(contour * 2**_BITS).astype(np.int32)
        cv2.fillPoly(mask, [points[:, None]], value, cv2.LINE_AA, _BITS)
    filled: Plane = (mask / 255).astype(np.float32)
    return filled


@dataclass(frozen=True)
class Disguise:
    """One clip's.

    Attributes:
        moustache: how far it reaches from the lip to the nose, 0 for none.
        beard: how far it reaches from the lip to the chin, 0 for none.
        sides: how far both reach beyond the corners of the mouth, in its widths.
        cover: ``(128, 128)`` how much of the skin the hair hides.
        hair: ``(3,)`` its colour, 0 to 255.
        lips: ``(3,)`` what the lips' colour is multiplied by.
    """

    moustache: float
    beard: float
    sides: float
    cover: Plane
    hair: Plane
    lips: Plane

    def wear(self, frames: NDArray[np.uint8], landmarks: Plane) -> NDArray[np.uint8]:
        """Frames ``(T, 128, 128, 3)`` and their landmarks ``(T, 478, 2)`` -> the frames, disguised."""
        return np.stack([self._one(*pair) for pair in zip(frames, landmarks, strict=True)]) if len(frames) else frames

    def _one(self, frame: NDArray[np.uint8], points: Plane) -> NDArray[np.uint8]:
        upper, lower = points[_UPPER], points[_LOWER]
        outer = np.concatenate((upper, lower[1:-1]))
        lips = cv2.GaussianBlur(_fill(outer, points[_INNER]), (0, 0), 0.7)[..., None]
        out = frame * (1.0 + lips * (self.lips - 1.0))
        if self.moustache or self.beard:
            width = upper[-1] - upper[0]
            out_wards = np.linspace(-self.sides, self.sides, len(_UPPER), dtype=np.float32)[:, None] * width
            bulge = np.sin(np.linspace(0.15, np.pi - 0.15, len(_UPPER), dtype=np.float32))[:, None] ** 0.5
            above = upper + out_wards + self.moustache * bulge * (points[_NOSE] - points[_LIP])
            below = lower - out_wards + self.beard * bulge * (points[_CHIN] - points[_UNDER])
            hair = cv2.GaussianBlur(_fill(np.concatenate((above, below)), outer), (0, 0), 1.2)
            # The cover moves with the nose, as far as whole pixels go.
            shift = np.round(points[_NOSE] - SIZE / 2).astype(int)
            alpha = (hair * np.roll(self.cover, (shift[1], shift[0]), (0, 1)))[..., None]
            out = out + alpha * (self.hair - out)
        worn: NDArray[np.uint8] = np.clip(out, 0, 255).astype(np.uint8)
        return worn


def draw_disguise(rng: np.random.Generator) -> Disguise:
    """Draw a clip's disguise: hair above, below or all about the mouth in two of three cases; lips in any case."""
    kind = int(rng.integers(6))  # 0 and 1 are shaved
    grain = cv2.GaussianBlur(rng.random((SIZE, SIZE)).astype(np.float32), (0, 0), 0.8, sigmaY=1.6)
    grain = (grain - grain.min()) / np.ptp(grain)
    grey = rng.uniform(5, 110)
    tint = np.array([rng.uniform(0, 25), 0.0, -rng.uniform(0, 20)])
    shade = np.exp(rng.normal(0.0, 0.25)) * np.exp(rng.normal(0.0, 0.12, 3))
    return Disguise(
        moustache=rng.uniform(0.5, 0.95) if kind in (2, 4, 5) else 0.0,
        beard=rng.uniform(0.3, 1.0) if kind in (3, 4, 5) else 0.0,
        sides=rng.uniform(0.0, 0.35),
        cover=(rng.uniform(0.3, 0.95) + rng.uniform(0.0, 0.5) * (grain - 0.5)).clip(0, 1).astype(np.float32),
        hair=(grey + tint).clip(0, 255).astype(np.float32),
        lips=shade.astype(np.float32),
    )
