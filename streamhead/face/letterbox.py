"""A portrait fitted whole into a frame of another shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from streamhead.errors import StreamheadError

__all__ = ["Letterbox", "letterbox"]

_BARS_SMALLER: Final = 8
_BARS_BLUR: Final = 6.0
_BARS_LIGHT: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Letterbox:
    """A picture fitted whole into a frame of another shape.

    Attributes:
        frame: ``(height, width, 3)`` RGB uint8, bars included.
        box: ``(left, top, width, height)`` of the picture within it, all even.
        to_frame: ``(2, 3)`` float64, image pixels to frame pixels.
    """

    frame: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    to_frame: NDArray[np.float64]


def _bars(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A calm fill: the picture itself, blown up to cover the frame, dark and out of focus."""
    small = (max(2, size[0] // _BARS_SMALLER), max(2, size[1] // _BARS_SMALLER))
    blurred = ImageOps.fit(picture, small, Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(_BARS_BLUR))
    return ImageEnhance.Brightness(blurred).enhance(_BARS_LIGHT).resize(size, Image.Resampling.BICUBIC)


def letterbox(image: NDArray[np.uint8], size: tuple[int, int]) -> Letterbox:
    """Fit the whole picture into a frame, centred; bars show it dark and out of focus.

    Args:
        image: ``(height, width, 3)`` RGB.
        size: ``(width, height)`` of the frame, both even (video with halved colour needs that).

    Raises:
        StreamheadError: a size that is odd or not positive.
    """
    if min(size) < 2 or size[0] % 2 or size[1] % 2:
        raise StreamheadError(f"a frame of {size[0]}x{size[1]} cannot be encoded; use even sizes such as 1280x720")
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    fitted = min(size[0], max(2, 2 * round(width * scale / 2))), min(size[1], max(2, 2 * round(height * scale / 2)))
    left, top = 2 * ((size[0] - fitted[0]) // 4), 2 * ((size[1] - fitted[1]) // 4)
    picture = Image.fromarray(image)
    frame = Image.new("RGB", size) if fitted == size else _bars(picture, size)
    frame.paste(picture.resize(fitted, Image.Resampling.LANCZOS), (left, top))
    sx, sy = fitted[0] / width, fitted[1] / height
    # Edges meet edges, so the centre of pixel 0 comes to lie half a fitted pixel inside the box.
    to_frame = np.array([[sx, 0.0, left + 0.5 * sx - 0.5], [0.0, sy, top + 0.5 * sy - 0.5]])
    return Letterbox(np.array(frame, np.uint8), (left, top, *fitted), to_frame)
