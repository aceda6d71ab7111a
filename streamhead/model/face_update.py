"""The answer of the model: what to move, what to cover and with what, in the canonical square.

``frame = (1 - mask) * warp(first frame) + mask * rgb``. What a portrait shows is carried from it and so stays
sharp and stays that person's; only what it cannot contain (teeth, the dark of an open mouth, closed lids) is painted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["SQUARE", "FaceUpdate", "warp"]

SQUARE: Final = 128
"""Side of the canonical square, pixels."""


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Carry pixels: the result at ``p`` is ``image`` at ``p + flow(p)``, bilinear, borders repeated.

    Args:
        image: ``(B, C, H, W)``.
        flow: ``(B, 2, H, W)``, (dx, dy) in pixels; integer coordinates are pixel centres.

    Returns:
        ``(B, C, H, W)``. A zero flow returns the image to within rounding of the sampler.
    """
    height, width = image.shape[-2:]
    ys, xs = torch.meshgrid(
        torch.arange(height, device=flow.device, dtype=flow.dtype),
        torch.arange(width, device=flow.device, dtype=flow.dtype),
        indexing="ij",
    )
    x = (xs + flow[:, 0]) * (2.0 / (width - 1)) - 1.0
    y = (ys + flow[:, 1]) * (2.0 / (height - 1)) - 1.0
    grid = torch.stack((x, y), dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


@dataclass(frozen=True, slots=True, eq=False)
class FaceUpdate:
    """A batch of changes to canonical squares; all zeros is the exact identity.

    Attributes:
        flow: ``(B, 2, 128, 128)``, (dx, dy) in canonical pixels: pixel ``p`` takes the portrait at ``p + flow(p)``.
        mask: ``(B, 1, 128, 128)`` in [0, 1]: how much of ``rgb`` covers the carried pixels.
        rgb: ``(B, 3, 128, 128)`` in [0, 1].
    """

    flow: Tensor
    mask: Tensor
    rgb: Tensor

    @classmethod
    def from_rgb(cls, rgb: Tensor, mask: Tensor | None = None) -> FaceUpdate:
        """The update of a network that only paints: no warp, and a full mask unless it has one (``paper`` has none)."""
        batch, _, height, width = rgb.shape
        whole = rgb.new_ones(batch, 1, height, width) if mask is None else mask
        return cls(rgb.new_zeros(batch, 2, height, width), whole, rgb)

    @classmethod
    def identity(cls, batch: int = 1, device: torch.device | str = "cpu") -> FaceUpdate:
        """The update that changes nothing."""
        return cls(
            torch.zeros(batch, 2, SQUARE, SQUARE, device=device),
            torch.zeros(batch, 1, SQUARE, SQUARE, device=device),
            torch.zeros(batch, 3, SQUARE, SQUARE, device=device),
        )

    def apply(self, square: Tensor) -> Tensor:
        """Compose the canonical frame.

        Args:
            square: first frames, ``(B, 3, 128, 128)`` in [0, 1].

        Returns:
            ``(B, 3, 128, 128)`` in [0, 1].
        """
        return torch.lerp(warp(square, self.flow), self.rgb, self.mask)

    def row(self, index: int) -> FaceUpdate:
        """One row of the batch, its batch axis kept."""
        cut = slice(index, index + 1)
        return FaceUpdate(self.flow[cut], self.mask[cut], self.rgb[cut])
