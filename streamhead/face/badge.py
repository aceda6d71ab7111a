"""A small mark in a frame's corner: what is seen is made by an AI."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["TEXT", "Badge"]

TEXT: Final = "AI"

_HEIGHT: Final = 0.055
"""Of the frame's shorter side."""
_LEAST: Final = 14
_FILL: Final = (20, 20, 24)
_INK: Final = (255, 255, 255)
_FINER: Final = 4
"""Drawn so much larger and averaged down, for smooth edges."""


class Badge:
    """A mark for frames of one size, at the top left, where call programs lay nothing of their own over a picture.

    Args:
        size: ``(width, height)`` of the frames.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        high = max(_LEAST, round(_HEIGHT * min(size)))
        wide = round(1.7 * high)
        big = (wide * _FINER, high * _FINER)
        picture = Image.new("RGB", big, _FILL)
        font = ImageFont.load_default(0.72 * big[1])
        ImageDraw.Draw(picture).text((big[0] / 2, big[1] / 2), TEXT, _INK, font, anchor="mm")
        shape = Image.new("L", big, 0)
        ImageDraw.Draw(shape).rounded_rectangle((0, 0, big[0] - 1, big[1] - 1), big[1] // 3, 255)
        cover = np.asarray(shape.reduce(_FINER), np.float32)[..., None] / 255.0
        self._paint = np.asarray(picture.reduce(_FINER), np.float32) * cover + 0.5
        self._through = 1.0 - cover
        margin = max(4, high // 2)
        self.rows: Final = slice(margin, margin + high)
        self.columns: Final = slice(margin, margin + wide)

    def stamp(self, image: NDArray[np.uint8]) -> None:
        """Draw the mark into a frame ``(height, width, 3)`` RGB; no other pixel changes."""
        corner = image[self.rows, self.columns]
        corner[...] = (corner * self._through + self._paint).astype(np.uint8)
