"""Lids that shut: the skin above each eye is drawn down over it, its lashes first, along the portrait's own lid lines.

The eye is covered, not squeezed, so gaze stays; nothing but the strip between brow and lower lid is touched.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Lid"]

# mediapipe's points of each eye from corner to corner as seen in the picture: upper lid, lower lid, brow's lower edge.
_EYES: Final = (
    (
        (33, 246, 161, 160, 159, 158, 157, 173, 133),
        (33, 7, 163, 144, 145, 153, 154, 155, 133),
        (46, 53, 52, 65, 55),
    ),
    (
        (362, 398, 384, 385, 386, 387, 388, 466, 263),
        (362, 382, 381, 380, 374, 373, 390, 249, 263),
        (285, 295, 282, 283, 276),
    ),
)
_LASHES: Final = 0.2
"""How much darker the line of the lashes is on a shut lid."""
_LASH_WIDTH: Final = 0.7
_OVERLAP: Final = 0.5
"""How far a shut lid covers the lower one, so that no white shows, canonical pixels, as is the width above."""
_MIN_SKIN: Final = 5.0
"""Canonical pixels of skin that are taken to lie between lid and brow at least."""


class Lid:
    """The upper lid of one eye, in canonical pixels.

    Args:
        upper: ``(n, 2)`` points of the open lid's edge from corner to corner.
        lower: the same of the lower lid; its ends are those of ``upper``.
        brow: points of the brow's lower edge.

    Attributes:
        box: ``(left, top, right, bottom)`` beyond which nothing moves.
    """

    def __init__(self, upper: NDArray[np.floating], lower: NDArray[np.floating], brow: NDArray[np.floating]) -> None:
        ends = np.asarray(upper, np.float64)[[0, -1]]
        self._centre = ends.mean(0)
        self._half = float(np.linalg.norm(ends[1] - ends[0])) / 2
        along = (ends[1] - ends[0]) / (2 * self._half)
        self._axes = np.stack((along, (-along[1], along[0])))  # rows: along the eye, and down across it

        def local(points: NDArray[np.floating]) -> NDArray[np.float64]:
            return np.asarray((np.asarray(points, np.float64) - self._centre) @ self._axes.T)

        def arch(points: NDArray[np.floating]) -> list[float]:
            """(a, b, c) of the curve (1 - s^2)(a + b s + c s^2) between the corners, s from -1 to 1."""
            x, y = local(points[1:-1]).T
            s = x / self._half
            terms = (1.0 - s**2)[:, None] * s[:, None] ** np.arange(3)
            return [float(value) for value in np.linalg.lstsq(terms, y, rcond=None)[0]]

        self._upper, self._lower = arch(upper), arch(lower)
        self._skin = max(_MIN_SKIN, self._upper[0] - float(np.median(local(brow)[:, 1])))
        reach = self._skin - self._upper[0] + 2.0
        corners = np.array([(x, y) for x in (-self._half, self._half) for y in (-reach, self._lower[0] + 3.0)])
        corners = corners @ self._axes + self._centre
        self.box = (*corners.min(0).tolist(), *corners.max(0).tolist())

    @classmethod
    def both(cls, landmarks: NDArray[np.floating]) -> tuple[Lid, ...]:
        """The lids of a face, ``(478, 2)`` points in canonical pixels."""
        return tuple(cls(*(landmarks[list(part)] for part in eye)) for eye in _EYES)

    def shut(self, points: Tensor, closure: float) -> tuple[Tensor, Tensor]:
        """Draw the lid down.

        Args:
            points: ``(2, h, w)`` canonical pixels.
            closure: 0 as the portrait has it, 1 down to the lower lid.

        Returns:
            ``(2, h, w)``: where the skin at each point comes from, off it; ``(h, w)``: light that is left there.
        """
        centre, axes = points.new_tensor(self._centre)[:, None, None], self._axes
        x, y = points - centre
        s = ((x * axes[0, 0] + y * axes[0, 1]) / self._half).clamp(-1.0, 1.0)
        down = x * axes[1, 0] + y * axes[1, 1]
        arch = 1.0 - s * s
        upper, lower = (arch * (a + s * (b + s * c)) for a, b, c in (self._upper, self._lower))
        fall = (lower - upper + _OVERLAP * arch).clamp_min(0.0) * closure
        edge = upper + fall
        # Brow and lashes keep their shape; the skin between them unfolds over what it covers now.
        way = ((down - upper + self._skin) / (fall + self._skin)).clamp(0.0, 1.0)
        offset = torch.where(down < edge, -fall * way * way * (3.0 - 2.0 * way), 0.0)
        line = torch.exp(-(((down - edge) / _LASH_WIDTH) ** 2)) * arch
        light = 1.0 - (_LASHES * closure) * line
        return torch.stack((offset * axes[1, 0], offset * axes[1, 1])), light
