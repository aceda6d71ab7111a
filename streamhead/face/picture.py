"""Picture files as people have them, read upright and in 8-bit RGB."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from streamhead.errors import PortraitError

__all__ = ["MAX_SIDE", "MOST_PIXELS", "decode", "opened", "read_picture", "reduced"]

MAX_SIDE: Final = 2048
"""Longer pictures are reduced to this: no usual output frame shows more."""

MOST_PIXELS: Final = 128_000_000
"""Larger pictures are refused before they are decoded: a small file can claim any size."""

# Not all that Pillow can: it starts other programs for some (EPS), and knows many that no camera or editor writes.
_FORMATS: Final[tuple[str, ...]] = (
    "JPEG",
    "PNG",
    "WEBP",
    "HEIF",
    "AVIF",
    "MPO",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
    "JPEG2000",
    "TGA",
    "ICO",
)
# A large JPEG is decoded at half, a quarter or an eighth of its size, so long as this is left to cut a face out of.
_DRAFT_SIDE: Final = 2 * MAX_SIDE
_BEHIND_ALPHA: Final = (224, 224, 224)
_STARTS: Final = {
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript drawing",
    b"<svg": "an SVG drawing",
    b"<?xml": "an SVG drawing or another XML file",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"PK\x03\x04": "an archive or an office document",
    b"8BPS": "a Photoshop file",
}


def _to_srgb(picture: Image.Image) -> Image.Image:
    """The picture in RGB; an embedded colour profile (print CMYK, a phone's wide gamut) is honoured where it can be."""
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (OSError, ImageCms.PyCMSError):
            converted = None  # a damaged profile spoils the colours a little, not the picture
        if converted is not None:
            return converted
    return picture.convert("RGB")


def _flatten(picture: Image.Image) -> Image.Image:
    """Any mode Pillow knows -> 8-bit RGB: deep greys are scaled, what is transparent shows light grey."""
    if picture.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(picture, np.float64))
        peak = values.max(initial=0.0)
        white = next((white for white in (1.0, 255.0, 65535.0) if peak <= white), peak)
        return Image.fromarray(np.uint8(np.rint(values.clip(0.0) * (255.0 / white)))).convert("RGB")
    if picture.has_transparency_data:
        behind = Image.new("RGBA", picture.size, (*_BEHIND_ALPHA, 255))
        return Image.alpha_composite(behind, picture.convert("RGBA")).convert("RGB")
    return _to_srgb(picture)


def _what_it_is(start: bytes) -> str | None:
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((kind for mark, kind in _STARTS.items() if head[: len(mark)].lower() == mark.lower()), None)


def decode(file: io.BufferedReader | io.BytesIO, name: str, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Read a picture file upright; of an animation, the first frame.

    Args:
        file: at its start.
        name: what errors call it.
        most_pixels: more are refused.

    Returns:
        ``(height, width, 3)`` RGB, in full size but for large JPEGs.

    Raises:
        PortraitError: not a picture, or one that is damaged or too large.
    """
    import pi_heif  # a phone's HEIC; its decoder is loaded with the first picture, not with the library

    pi_heif.register_heif_opener()
    Image.init()
    formats: list[str] = [name for name in _FORMATS if name in Image.OPEN]  # some builds of Pillow lack one
    start = file.read(64)
    file.seek(0)
    if not start:
        raise PortraitError(f"{name} is empty, no picture; use a JPEG, PNG, WebP or HEIC picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is judged below, and notes on damaged tags help nobody
            picture = Image.open(file, formats=formats)
            width, height = picture.size
            if width * height > most_pixels:
                raise PortraitError(
                    f"{name} is too large ({width}x{height}: more than {most_pixels // 10**6} million pixels); "
                    f"scale it down to about {MAX_SIDE} pixels"
                )
            with picture:
                picture.draft(None, (_DRAFT_SIDE, _DRAFT_SIDE))
                return np.array(_flatten(ImageOps.exif_transpose(picture)), np.uint8)
    except Image.DecompressionBombError as error:
        raise PortraitError(f"{name} is too large to open; scale it down to about {MAX_SIDE} pixels") from error
    except UnidentifiedImageError as error:
        kind = _what_it_is(start)
        why = f" ({kind})" if kind else ", or damaged"
        raise PortraitError(f"cannot read {name}: no picture{why}; use a JPEG, PNG, WebP or HEIC picture") from error
    # Pillow's decoders raise more than OSError on damaged files.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        RuntimeError,
        MemoryError,
        OverflowError,
        struct.error,
    ) as error:
        raise PortraitError(f"cannot read {name} as a picture (damaged?); save it again as JPEG or PNG") from error


def reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, no longer than ``MAX_SIDE``."""
    if max(image.shape[:2]) <= MAX_SIDE:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(picture, np.uint8)


def opened(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a portrait's file.

    Raises:
        PortraitError: it cannot be opened.
    """
    try:
        if Path(path).is_char_device():
            raise PortraitError(f"{path} is a device; give the path of a picture, or webcam:N for a camera")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "unreadable"
        raise PortraitError(f"cannot open {path} ({reason}); give the path of a JPEG, PNG or WebP picture") from error


def read_picture(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a picture upright, in 8-bit RGB and no longer than ``MAX_SIDE``.

    Returns:
        ``(height, width, 3)`` RGB.

    Raises:
        PortraitError: no such file, or not a picture that can be read to its end.
    """
    with opened(path) as file:
        return reduced(decode(file, str(path)))
