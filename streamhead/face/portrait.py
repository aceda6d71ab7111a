"""A portrait: a picture of one person, and where its face lies in the canonical square (DESIGN section 4)."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamhead.errors import OutputError, PortraitError
from streamhead.face import footage, portrait_cache
from streamhead.face.align import SIZE, crop, mean_face, similarity
from streamhead.face.find import Found, cut, locate
from streamhead.face.judge import judge
from streamhead.face.lips import shut_lips
from streamhead.face.picture import MAX_SIDE, MOST_PIXELS, decode, opened, read_picture
from streamhead.files import write_whole

__all__ = ["MAX_SIDE", "Portrait", "read_picture", "read_source"]

_FORMAT: Final = "streamhead-portrait-1"


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """One person's picture, prepared: nothing more needs to be found in it.

    Attributes:
        image: ``(height, width, 3)`` RGB uint8; a smile or a half-open mouth is shut in it.
        landmarks: ``(478, 2)`` float32, x, y in image pixels.
        to_canonical: ``(2, 3)`` float64, image pixels to canonical pixels.
        name: for messages and file names.
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    to_canonical: NDArray[np.float64]
    name: str

    @classmethod
    def open(cls, path: str | os.PathLike[str], pick: int | None = None, *, cache: bool = True) -> Self:
        """Read a picture and find the face in it.

        Args:
            path: a picture; a video, of which the first good frame is taken; ``webcam`` or ``webcam:N``, for a look
                into a camera; or the ``.json`` of a portrait that was saved prepared.
            pick: which face, 1 being the leftmost; needed only where there are several.
            cache: remember where the face lies, so that the next time needs no landmark model.

        Raises:
            PortraitError: unreadable; no face, several faces, or one that is tiny, turned, tilted or cut off.
            DeviceError: there is no such camera.
            CheckpointError: the landmark model cannot be had.
        """
        if Path(path).suffix.lower() == ".json":
            return cls.load(path)
        name = Path(path).name
        remembered = cache and footage.camera_number(path) is None
        entry_name = portrait_cache.key(path, pick) if remembered else None
        entry = portrait_cache.read(entry_name) if entry_name else None
        if entry is not None:
            image = cut(_picture(path, entry.frame), entry.box)
            if image.shape[:2] == entry.shape:
                return cls._of(Found(image, entry.points, entry.box), name)
        image, frame = read_source(path, pick)
        found = locate(image, pick, name)
        portrait = cls._of(found, name)
        if entry_name:
            height, width = found.image.shape[:2]
            portrait_cache.write(entry_name, portrait_cache.Entry(found.points, (height, width), found.box, frame))
        return portrait

    @classmethod
    def from_bytes(
        cls, data: bytes, name: str = "the picture", pick: int | None = None, *, most_pixels: int = MOST_PIXELS
    ) -> Self:
        """As ``open``, for a picture file that is in memory; nothing of it is remembered.

        Args:
            data: the file.
            name: what errors call it.
            pick: which face.
            most_pixels: larger pictures are refused.
        """
        return cls.from_image(decode(io.BytesIO(data), name, most_pixels), pick=pick, name=name)

    @classmethod
    def from_image(cls, image: NDArray[np.uint8], pick: int | None = None, name: str = "the picture") -> Self:
        """Find the face in a picture that is already in memory, ``(height, width, 3)`` RGB uint8; else as ``open``."""
        return cls._of(locate(image, pick, name), name)

    @classmethod
    def _of(cls, found: Found, name: str) -> Self:
        judgement = judge(found.image, found.points)
        judgement.check(name)
        image, points = shut_lips(found.image, found.points) if judgement.can_be_shut else (found.image, found.points)
        return cls(image, points, similarity(found.points), Path(name).stem)

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
            write_whole(picture, encoded.getvalue())
            write_whole(target, json.dumps(facts).encode())
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
        return cls(decode(io.BytesIO(data), str(picture)), landmarks, to_canonical, name)


def _picture(path: str | os.PathLike[str], frame: int | None) -> NDArray[np.uint8]:
    """The picture of a file, or one frame of a video, in full size."""
    if frame is not None:
        return footage.frame_at(path, frame)
    with opened(path) as file:
        return decode(file, str(path))


def read_source(path: str | os.PathLike[str], pick: int | None = None) -> tuple[NDArray[np.uint8], int | None]:
    """The picture that a portrait is made of, in full size.

    Args:
        path: a picture, a video, or ``webcam[:N]``.
        pick: which face of several a video's frame or a camera's picture is chosen for.

    Returns:
        ``(height, width, 3)`` RGB, and the number of the video's frame, None for anything else.

    Raises:
        PortraitError: unreadable; a video or a camera that shows no face.
        DeviceError: there is no such camera.
        CheckpointError: the landmark model cannot be had.
    """
    camera = footage.camera_number(path)
    if camera is not None:
        return footage.snapshot(camera, pick), None
    frame = footage.good_frame(path, pick) if footage.is_video(path) else None
    return _picture(path, frame), frame
