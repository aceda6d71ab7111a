"""A head that moves in a still picture: one smooth displacement field, zero at the picture's border.

Head, hair and neck go together; what lies around them is stretched a little, less and less towards the border, so there
is no hole to fill and no seam. A field is a sum of a few fixed ones, laid down once.
"""

from __future__ import annotations

from math import radians
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamhead.face.pose import Pose

__all__ = ["HeadMotion"]

_CENTRE: Final = (64.0, 52.0)
_RADII: Final = (62.0, 76.0)
"""The head with its hair, an ellipse in canonical pixels: measured by eye on a dozen portraits."""
_PIVOT: Final = (64.0, 172.0)
"""Foot of the neck, about which a head tilts."""
_REACH: Final = 64.0
"""Canonical pixels from the head's outline at which everything stands still, wherever the border is."""
_BORDER: Final = 28.0
"""Canonical pixels over which motion dies away where the picture's border cuts the head."""
_CELL: Final = 8
"""Rows of the frame from one for which the field is laid down to the next."""


def _smooth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = x.clip(0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x))


def _weight(
    points: NDArray[np.float64], radius: NDArray[np.float64], sides: NDArray[np.float64]
) -> NDArray[np.float64]:
    """1 on the head, 0 at the border and beyond reach; ``sides`` are the distances to the border's four sides."""
    offset = points - _CENTRE
    away = (np.hypot(offset[..., 0], offset[..., 1]) * (1.0 - 1.0 / np.maximum(radius, 1e-6))).clip(0.0)
    left = np.concatenate((sides, (_REACH - away)[None])).clip(1e-9)
    # Like resistors side by side: the nearest one counts most, and nothing has a crease.
    room = 1.0 / (1.0 / left).sum(0)
    return np.asarray(_smooth(room / (room + away)) * _smooth(sides / _BORDER).prod(0))


class HeadMotion:
    """The field of one portrait in its frame.

    Args:
        to_canonical: ``(2, 3)``, frame pixels to canonical pixels.
        box: ``(left, top, width, height)`` of the picture in the frame.
        device: where the fields live.

    Attributes:
        rows: rows of the frame that may move.
        columns: columns of the frame that may move.
    """

    def __init__(
        self, to_canonical: NDArray[np.float64], box: tuple[int, int, int, int], device: torch.device | str = "cpu"
    ) -> None:
        left, top, width, height = box
        linear = to_canonical[:, :2]
        scale = float(np.sqrt(np.linalg.det(linear)))

        def nodes(start: int, stop: int) -> NDArray[np.float64]:
            return start + _CELL * np.arange(-(-(stop - start) // _CELL) + 1, dtype=np.float64)

        def fields(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
            """``(5, rows, columns, 2)``: displacement in canonical pixels for a unit of each part of a pose."""
            x, y = np.meshgrid(xs, ys)
            points = np.stack((x, y), -1) @ linear.T + to_canonical[:, 2]
            radius = np.linalg.norm((points - _CENTRE) / _RADII, axis=-1)
            sides = np.stack((x - left, y - top, left + width - 1 - x, top + height - 1 - y)) * scale
            weight, dome = _weight(points, radius, sides), (1.0 - radius**2).clip(0.0) ** 2
            dome *= _smooth(sides / _BORDER).prod(0)
            arm, zero = points - _PIVOT, np.zeros_like(weight)
            # The frame shows the picture at p + field: what is to go right is fetched from the left.
            parts = (
                (weight * arm[..., 1], -weight * arm[..., 0]),
                (-weight, zero),
                (zero, -weight),
                (-dome, zero),
                (zero, -dome),
            )
            return np.stack([np.stack(part, -1) for part in parts])

        whole = nodes(left, left + width), nodes(top, top + height)
        moving = np.abs(fields(*whole)[1, ..., 0]) > 1e-3
        spans = []
        for axis, places, end in ((0, whole[0], left + width), (1, whole[1], top + height)):
            touched = np.flatnonzero(moving.any(axis))
            first, last = (max(touched[0] - 1, 0), min(touched[-1] + 1, len(places) - 1)) if len(touched) else (0, 1)
            spans.append((int(places[first]), min(int(places[last]), end)))
        self.columns, self.rows = (slice(*span) for span in spans)
        xs, ys = np.arange(*spans[0], dtype=np.float64), nodes(*spans[1])
        basis = fields(xs, ys) @ np.linalg.inv(linear).T * (2.0 / np.array([width, height]))
        rest = np.stack(np.meshgrid((2.0 * (xs - left) + 1.0) / width - 1.0, (2.0 * (ys - top) + 1.0) / height - 1.0))
        self._basis = torch.from_numpy(np.ascontiguousarray(basis.transpose(0, 3, 1, 2), np.float32)).to(device)
        self._steps = torch.arange(_CELL, dtype=torch.float32, device=device)[:, None] / _CELL
        self._rest = torch.from_numpy(rest.astype(np.float32)).to(device)

    def where(self, pose: Pose) -> Tensor:
        """Where each moving pixel is fetched from, ``(1, 2, rows, columns)`` in grid_sample's picture coordinates."""
        amounts = (radians(pose.roll), *pose.shift, *pose.turn)
        rows = self._rest + (self._basis.new_tensor(amounts) @ self._basis.flatten(1)).view_as(self._rest)
        # Linear between the rows that are known: positions at rest come out as they are, and a field has no detail to
        # lose. In one piece, with the long axis innermost, this is three times faster than F.interpolate.
        between = torch.addcmul(rows[:, :-1, None], rows.diff(dim=1)[:, :, None], self._steps)
        return between.flatten(1, 2)[None, :, : self.rows.stop - self.rows.start]
