"""A portrait: a picture of one person, and where its face lies in the canonical square (DESIGN section 4)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from streamhead.errors import OutputError, PortraitError
from streamhead.face.align import SIZE, crop, eye_centres, mean_face, similarity
from streamhead.face.landmarks import LandmarkFinder

__all__ = ["MAX_SIDE", "MAX_TURN", "MIN_EYE_DISTANCE", "Portrait", "read_picture"]

MAX_SIDE: Final = 2048
"""Longer pictures are reduced to this when they are opened: no output frame shows more."""

MIN_EYE_DISTANCE: Final = 24.0
"""Pixels between the eyes below which a face has too little to show (the canonical square has 42)."""

MAX_TURN: Final = 30.0
"""Degrees a head may be turned to the side; the model has met faces that look at the camera."""

_MAX_TILT: Final = 50.0
_MIN_SIDE: Final = 48
_MAX_FACES: Final = 8
# The tip of the nose stands about this far in front of the eyes' corners, in eye distances: it moves sideways by
# this times the tangent of the turn. Measured on mediapipe's points of twelve people, rotated in space.
_NOSE_HEIGHT: Final = 0.65
_NOSE_TIP: Final = (1, 4)
_MUST_BE_SEEN: Final = (33, 133, 362, 263, 61, 291, 0, 17)
_BEHIND_ALPHA: Final = (224, 224, 224)
_FORMAT: Final = "streamhead-portrait-1"


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


def _reduced(picture: Image.Image) -> NDArray[np.uint8]:
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(picture, np.uint8)


def _decode(file: BinaryIO, name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as picture:
            picture.draft(None, (MAX_SIDE, MAX_SIDE))  # a large JPEG is decoded at a fraction of its size
            upright = _flatten(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        raise PortraitError(f"{name} is too large to open; scale it down to about {MAX_SIDE} pixels") from error
    # Pillow's decoders raise more than OSError on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error) as error:
        raise PortraitError(f"cannot read {name} as a picture (damaged?); save it again as JPEG or PNG") from error
    return _reduced(upright)


def read_picture(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a picture upright, in 8-bit RGB and no longer than ``MAX_SIDE``.

    Returns:
        ``(height, width, 3)`` RGB.

    Raises:
        PortraitError: no such file, or not a picture that Pillow can read to its end.
    """
    try:
        with open(path, "rb") as file:
            return _decode(file, str(path))
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise PortraitError(f"cannot open {path} ({reason}); give the path of a JPEG, PNG or WebP picture") from error


def _find(image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """All faces, from left to right."""
    with LandmarkFinder(_MAX_FACES) as finder:
        faces = finder.find(image)
        if not faces:
            # The detector misses a face that fills the whole picture; with air around it, it does not.
            height, width = image.shape[:2]
            air = max(height, width) // 3
            padded = np.pad(image, ((air, air), (air, air), (0, 0)), mode="edge")
            faces = [points - np.float32(air) for points in finder.find(padded)]
    return sorted(faces, key=lambda points: float(points[:, 0].mean()))


def _choose(faces: list[NDArray[np.float32]], pick: int | None, name: str) -> NDArray[np.float32]:
    count = len(faces)
    if count == 0:
        raise PortraitError(f"no face found in {name}; use a well-lit picture of one person who looks at the camera")
    if pick is None and count > 1:
        raise PortraitError(f"{count} faces found in {name}; choose one with --pick 1..{count}, from left to right")
    if pick is not None and not 1 <= pick <= count:
        found = "1 face" if count == 1 else f"{count} faces"
        raise PortraitError(f"--pick {pick}, but {found} found in {name}; choose 1..{count}, from left to right")
    return faces[(pick or 1) - 1]


def _check(points: NDArray[np.float32], shape: tuple[int, ...], name: str) -> None:
    """Refuse a face that is tiny, turned away, lying on its side or cut off."""
    left, right = eye_centres(points)
    across = right - left
    distance = float(np.hypot(*across))
    if distance < MIN_EYE_DISTANCE:
        raise PortraitError(
            f"the face in {name} is too small (eyes {distance:.0f} px apart, {MIN_EYE_DISTANCE:.0f} needed); "
            "use a closer picture or cut this one to head and shoulders"
        )
    tilt = float(np.degrees(np.arctan2(across[1], across[0])))
    if abs(tilt) > _MAX_TILT:
        raise PortraitError(f"the face in {name} is tilted by {abs(tilt):.0f} degrees; rotate the picture upright")
    sideways = float((points[list(_NOSE_TIP)].mean(0) - (left + right) / 2) @ across) / distance**2
    turn = float(np.degrees(np.arctan(sideways / _NOSE_HEIGHT)))
    if abs(turn) > MAX_TURN:
        raise PortraitError(
            f"the face in {name} is turned about {abs(turn):.0f} degrees to the side, at most {MAX_TURN:.0f} work; "
            "use a picture that looks at the camera"
        )
    seen = points[list(_MUST_BE_SEEN)]
    if (seen < 0).any() or (seen > (shape[1] - 1, shape[0] - 1)).any():
        raise PortraitError(f"the face in {name} is cut off by the picture's edge; use a picture of the whole head")


def _write_whole(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """One person's picture, prepared: nothing more needs to be found in it.

    Attributes:
        image: ``(height, width, 3)`` RGB uint8.
        landmarks: ``(478, 2)`` float32, x, y in image pixels.
        to_canonical: ``(2, 3)`` float64, image pixels to canonical pixels.
        name: for messages and file names.
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    to_canonical: NDArray[np.float64]
    name: str

    @classmethod
    def open(cls, path: str | os.PathLike[str], pick: int | None = None) -> Self:
        """Read a picture and find the face in it.

        Args:
            path: a picture in any format Pillow reads, or the ``.json`` of a portrait that was saved prepared.
            pick: which face, 1 being the leftmost; needed only where there are several.

        Raises:
            PortraitError: unreadable; no face, several faces, or one that is tiny, turned, tilted or cut off.
            CheckpointError: the landmark model cannot be had.
        """
        if Path(path).suffix.lower() == ".json":
            return cls.load(path)
        return cls.from_image(read_picture(path), pick=pick, name=Path(path).name)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "the picture", pick: int | None = None) -> Self:
        """As ``open``, for a picture file that is in memory; ``name`` is what errors call it."""
        return cls.from_image(_decode(io.BytesIO(data), name), pick=pick, name=name)

    @classmethod
    def from_image(cls, image: NDArray[np.uint8], pick: int | None = None, name: str = "the picture") -> Self:
        """Find the face in a picture that is already in memory, ``(height, width, 3)`` RGB uint8; else as ``open``."""
        height, width = image.shape[:2]
        if min(height, width) < _MIN_SIDE:
            raise PortraitError(f"{name} is too small ({width}x{height} px); use one of at least 200x200")
        if max(height, width) > MAX_SIDE:
            image = _reduced(Image.fromarray(image))
        points = _choose(_find(image), pick, name)
        _check(points, image.shape, name)
        return cls(image, points, similarity(points), Path(name).stem)

    @classmethod
    def from_square(cls, square: NDArray[np.uint8], name: str = "square") -> Self:
        """A portrait that is a canonical square already, ``(128, 128, 3)`` RGB uint8, as in prepared data sets.

        Its points are the mean face's.

        Raises:
            PortraitError: another shape or type.
        """
        if square.shape != (SIZE, SIZE, 3) or square.dtype != np.uint8:
            raise PortraitError(f"a canonical square is uint8 ({SIZE}, {SIZE}, 3), not {square.dtype} {square.shape}")
        return cls(square, mean_face().copy(), np.eye(2, 3), name)

    @classmethod
    def default(cls) -> Self:
        """The portrait that comes with the library: the average of several people, so nobody. No model is needed."""
        return cls.load(Path(str(files("streamhead") / "assets" / "portrait.json")))

    def square(self) -> NDArray[np.uint8]:
        """The canonical crop the model sees, ``(128, 128, 3)`` RGB."""
        return crop(self.image, self.to_canonical)

    def save(self, path: str | os.PathLike[str], jpeg_quality: int | None = None) -> None:
        """Keep the portrait prepared: ``path`` (``.json``) and the picture beside it.

        Args:
            path: the ``.json``; the picture takes the same name with ``.png``, or ``.jpg``.
            jpeg_quality: keep the picture as a JPEG of this quality instead of losslessly.

        Raises:
            OutputError: another suffix, a picture of that name is there already, or the folder cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".json":
            raise OutputError(f"a prepared portrait is kept as .json with its picture beside it, not as {target.name}")
        encoded = io.BytesIO()
        if jpeg_quality is None:
            Image.fromarray(self.image).save(encoded, "PNG", optimize=True)
        else:
            Image.fromarray(self.image).save(encoded, "JPEG", quality=jpeg_quality, subsampling=0, optimize=True)
        picture = target.with_suffix(".png" if jpeg_quality is None else ".jpg")
        if picture.exists() and not target.exists():
            raise OutputError(f"{picture} is a picture already and would be overwritten; choose another name")
        facts = {
            "format": _FORMAT,
            "name": self.name,
            "picture": picture.name,
            "sha256": hashlib.sha256(encoded.getvalue()).hexdigest(),
            "to_canonical": self.to_canonical.tolist(),
            "landmarks": np.round(self.landmarks.astype(np.float64), 2).tolist(),
        }
        try:
            _write_whole(picture, encoded.getvalue())
            _write_whole(target, json.dumps(facts).encode())
        except OSError as error:
            raise OutputError(f"cannot write {target} ({error.strerror}); choose another folder") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what ``save`` wrote; finds nothing anew and needs no landmark model.

        Raises:
            PortraitError: missing, damaged, or the picture beside it is another one.
        """
        source = Path(path)
        try:
            facts = json.loads(source.read_text("utf-8"))
            if facts["format"] != _FORMAT:
                raise ValueError(f"format {facts['format']}")
            landmarks = np.array(facts["landmarks"], np.float32)
            to_canonical = np.array(facts["to_canonical"], np.float64)
            picture = source.with_name(Path(facts["picture"]).name)
            name, expected = str(facts["name"]), facts["sha256"]
            data = picture.read_bytes()
            if landmarks.shape != (478, 2) or to_canonical.shape != (2, 3) or not np.isfinite(to_canonical).all():
                raise ValueError("wrong shapes")
        except FileNotFoundError as error:
            missing = Path(error.filename or source)
            raise PortraitError(
                f"no prepared portrait at {source} ({missing.name} is missing); prepare it again"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PortraitError(f"{source} is no prepared portrait ({error}); prepare it again") from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise PortraitError(f"{picture} has changed since it was prepared; prepare it again")
        return cls(_decode(io.BytesIO(data), str(picture)), landmarks, to_canonical, name)
