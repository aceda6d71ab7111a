"""A portrait's open mouth, shut: its lips are drawn together over what is between them, as they would meet at rest.

The model parts lips that touch; teeth or a dark gap that are in the portrait it could only paint over. Nothing but the
strip from nose to chin moves.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamhead.face.align import EYE_DISTANCE, eye_centres

__all__ = ["shut_lips"]

Reals = NDArray[np.float64]

# mediapipe's points from corner to corner as seen in the picture.
_INNER: Final = (
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
_OUTER: Final = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
)
_NOSE: Final = 2
_CHIN: Final = 152
# In canonical pixels.
_TRIM: Final = 0.5
"""How much of each inner rim goes: landmarks leave a fringe of teeth there."""
_UPPER: Final = 0.35
"""Share of the gap that the upper lip goes; jaw and lower lip go the rest."""
_WIDER: Final = 1.35
"""Half widths of the mouth over which the skin around it follows, softly."""
_LINE: Final = 0.6
_SKIN: Final = 4.0
"""Skin between a lip and nose or chin that is taken to be there at least."""
_DARKER: Final = 0.25
"""The line where lips meet, against the lips."""


def _arch(s: Reals, curve: tuple[float, float, float]) -> Reals:
    a, b, c = curve
    return np.asarray((1.0 - s * s) * (a + s * (b + s * c)))


def _fitted(s: Reals, y: Reals) -> tuple[float, float, float]:
    """(a, b, c) of the curve (1 - s^2)(a + b s + c s^2) through points from corner to corner."""
    terms = (1.0 - s * s)[:, None] * s[:, None] ** np.arange(3)
    a, b, c = np.linalg.lstsq(terms, y, rcond=None)[0]
    return float(a), float(b), float(c)


class _Mouth:
    """An open mouth in its own axes: x along it, y down across it; pixels."""

    def __init__(self, points: Reals) -> None:
        corners = points[[78, 308]]
        self.centre = corners.mean(0)
        self.half = float(np.linalg.norm(corners[1] - corners[0])) / 2
        along = (corners[1] - corners[0]) / (2 * self.half)
        self.axes = np.stack((along, (-along[1], along[0])))
        left, right = eye_centres(points)
        self.pixel = float(np.hypot(*(right - left))) / EYE_DISTANCE
        inner = [self.local(points[list(part)]) for part in _INNER]
        outer = [self.local(points[list(part)]) for part in _OUTER]
        self.upper, self.lower = (_fitted(x / self.half, y) for x, y in (part.T for part in inner))
        # How thick each lip is, at its middle, and how much skin there is beyond it.
        middle = np.array([float(np.median(part[4:7, 1])) for part in outer])
        self.thick = np.maximum([self.upper[0] - middle[0], middle[1] - self.lower[0]], self.pixel)
        beyond = self.local(points[[_NOSE, _CHIN]])[:, 1]
        self.skin = np.maximum([middle[0] - beyond[0], 0.6 * (beyond[1] - middle[1])], _SKIN * self.pixel)

    def local(self, points: Reals) -> Reals:
        return np.asarray((points - self.centre) @ self.axes.T)

    def offset(self, x: Reals, y: Reals) -> tuple[Reals, Reals]:
        """Of points of the shut mouth: how far down of each it was, and its distance from the line where lips meet."""
        s = np.clip(x / self.half, -1.0, 1.0)
        upper, lower = _arch(s, self.upper), _arch(s, self.lower)
        gap = np.maximum(lower - upper, 0.0)
        # The trim opens within the corners, where the lips touch already.
        gap = gap + 2 * _TRIM * self.pixel * np.minimum(gap / (2 * self.pixel), 1.0)
        wide = np.clip(x / (_WIDER * self.half), -1.0, 1.0)
        soft = (self.lower[0] - self.upper[0]) * (1.0 - wide * wide) ** 2
        down = y - self.meeting(s)
        out = np.zeros_like(y)
        for lip, (sign, share) in enumerate(((-1.0, _UPPER), (1.0, 1.0 - _UPPER))):
            # A lip keeps its shape; the skin beyond it gives, the less sharply the farther off it lies.
            way = np.clip(1.0 - (sign * down - self.thick[lip]) / self.skin[lip], 0.0, 1.0)
            way = way * way * (3.0 - 2.0 * way)
            near = np.clip(1.0 - sign * down / (self.thick[lip] + 0.5 * self.skin[lip]), 0.0, 1.0)
            fall = soft + (gap - soft) * near
            out = np.where(sign * down > 0, sign * share * fall * way, out)
        return out, down

    def meeting(self, s: Reals) -> Reals:
        """The line where lips meet."""
        return np.asarray((1.0 - _UPPER) * _arch(s, self.upper) + _UPPER * _arch(s, self.lower))


def shut_lips(image: NDArray[np.uint8], points: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Shut a mouth.

    Args:
        image: ``(height, width, 3)`` RGB.
        points: ``(478, 2)`` of its face.

    Returns:
        A picture and points of the same shapes; the picture is the same outside the strip from nose to chin.
    """
    mouth = _Mouth(points.astype(np.float64))
    wide = _WIDER * mouth.half
    reach = mouth.thick + mouth.skin + mouth.half
    corners = np.array([(x, y) for x in (-wide, wide) for y in (-reach[0], reach[1])])
    corners = corners @ mouth.axes + mouth.centre
    size = np.array([image.shape[1], image.shape[0]])
    left, top = np.clip(np.floor(corners.min(0)), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0)) + 1, 0, size).astype(int)
    at = np.stack(np.meshgrid(np.arange(left, right), np.arange(top, bottom)), -1).astype(np.float64)
    x, y = np.moveaxis(mouth.local(at), -1, 0)
    offset, down = mouth.offset(x, y)
    source = (at + offset[..., None] * mouth.axes[1]).astype(np.float32)
    drawn = cv2.remap(image, source[..., 0], source[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    s = np.clip(x / mouth.half, -1.0, 1.0)
    line = np.exp(-((down / (_LINE * mouth.pixel)) ** 2)) * (1.0 - s**8)
    shut = image.copy()
    shaded = np.round(drawn * (1.0 - _DARKER * line[..., None]))
    moved = (offset != 0.0) | (line > 0.02)
    shut[top:bottom, left:right][moved] = shaded.astype(np.uint8)[moved]
    return shut, _moved(mouth, points)


def _moved(mouth: _Mouth, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where points of the open mouth's face have gone."""
    x, y = mouth.local(points.astype(np.float64)).T
    inside = np.abs(x) < _WIDER * mouth.half
    place = y.copy()
    for _ in range(20):  # the offset is less steep than its argument, so this settles
        place = y - mouth.offset(x, place)[0]
    s = np.clip(x / mouth.half, -1.0, 1.0)
    for inner in _INNER:
        chosen = list(inner)
        place[chosen] = mouth.meeting(s[chosen])
    out = points.copy()
    back = np.stack((x, np.where(inside, place, y)), -1) @ mouth.axes + mouth.centre
    out[inside] = back[inside]
    return out
