"""A look at a portrait before it is used: what was found in it, what is amiss, and a picture of that."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from streamhead.errors import OutputError, PortraitError
from streamhead.face.align import SIZE, crop, similarity
from streamhead.face.find import Found, find_faces, locate, moved
from streamhead.face.judge import Judgement, judge
from streamhead.face.landmarks import LandmarkFinder
from streamhead.face.lips import shut_lips
from streamhead.face.picture import reduced
from streamhead.face.portrait import read_source
from streamhead.files import write_whole

__all__ = ["Check", "check", "check_drawable", "draw"]

_DRAWN: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_SIDE: Final = 720
"""Height of the drawing."""
_GOOD: Final = (60, 200, 90)
_POOR: Final = (240, 170, 40)
_BAD: Final = (230, 60, 60)


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What was found in a picture.

    Attributes:
        refusal: why it cannot serve, or None where it can.
        faces: points of all faces, from left to right, in pixels of ``image``.
        image: the whole picture, ``(height, width, 3)`` RGB, no longer than ``MAX_SIDE``; None if it is unreadable.
        size: width and height of the picture as it is, or None.
        found: the face meant, in what will be shown of the picture; None where it is not clear which, or there is none.
        judgement: of that face.
        frame: number of the video's frame, or None.
    """

    refusal: str | None
    faces: list[NDArray[np.float32]]
    image: NDArray[np.uint8] | None
    size: tuple[int, int] | None
    found: Found | None
    judgement: Judgement | None
    frame: int | None

    @property
    def works(self) -> bool:
        """It can serve as a portrait."""
        return self.refusal is None

    def facts(self) -> dict[str, Any]:
        """The same without pictures and points, as JSON knows it."""
        judged = self.judgement
        return {
            "works": self.works,
            "refusal": self.refusal,
            "remarks": [] if judged is None else [{"about": r.about, "text": r.text} for r in judged.remarks],
            "faces": len(self.faces),
            "size": self.size,
            "shown": None if self.found is None else self.found.box,
            "frame": self.frame,
            "measures": None if judged is None else judged.measures(),
        }


def check(path: str | os.PathLike[str], pick: int | None = None) -> Check:
    """Look at a portrait; what it is made of and refused for is the same as in :meth:`Portrait.open`.

    Args:
        path: a picture, a video or ``webcam[:N]``.
        pick: which face of several, from 1, left to right.

    Raises:
        CheckpointError: the landmark model cannot be had.
        DeviceError: there is no such camera.
    """
    name = Path(path).name
    faces: list[NDArray[np.float32]] = []
    image: NDArray[np.uint8] | None = None
    size: tuple[int, int] | None = None
    found: Found | None = None
    judgement: Judgement | None = None
    frame: int | None = None
    refusal = None
    try:
        source, frame = read_source(path, pick)
        size, image = (source.shape[1], source.shape[0]), reduced(source)
        with LandmarkFinder(8) as finder:
            faces = [moved(points, image.shape[1] / size[0]) for points in find_faces(finder, source)]
        found = locate(source, pick, name)
        judgement = judge(found.image, found.points)
        judgement.check(name)
    except PortraitError as error:
        refusal = str(error)
    return Check(refusal, faces, image, size, found, judgement, frame)


def check_drawable(path: Path) -> None:
    """Find out before the work whether a drawing can be written.

    Raises:
        OutputError: its name does not end as a picture's.
    """
    if path.suffix.lower() not in _DRAWN:
        raise OutputError(f"{path} has no ending that tells the format; call it {path.with_suffix('.png')}")


def draw(checked: Check, path: Path) -> None:
    """Write what was found: points and the outline of the square in the picture, and beside it the square.

    Raises:
        OutputError: there is no picture to draw into, or it cannot be written.
    """
    check_drawable(path)
    if checked.image is None:
        raise OutputError(f"{path} was not written: there is no picture to draw into")
    found = checked.found
    colour = _BAD if not checked.works else _POOR if checked.judgement and checked.judgement.remarks else _GOOD
    shown = checked.image if found is None else found.image
    sheet = _marked(shown, checked.faces if found is None else [found.points], colour, numbered=found is None)
    if found is not None:
        seen = found.image
        if checked.judgement is not None and checked.judgement.can_be_shut:
            seen = shut_lips(seen, found.points)[0]
        square = Image.fromarray(crop(seen, similarity(found.points), 4 * SIZE))
        whole = Image.new("RGB", (sheet.width + _SIDE, _SIDE), (24, 24, 28))
        whole.paste(sheet, (0, 0))
        whole.paste(square.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (sheet.width, 0))
        sheet = whole
    encoded = io.BytesIO()
    sheet.save(encoded, _DRAWN[path.suffix.lower()], quality=92)
    try:
        write_whole(path, encoded.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}); choose another folder") from error


def _marked(
    image: NDArray[np.uint8], faces: list[NDArray[np.float32]], colour: tuple[int, int, int], *, numbered: bool
) -> Image.Image:
    picture = ImageOps.contain(Image.fromarray(image), (2 * _SIDE, _SIDE))
    canvas = Image.new("RGB", (picture.width, _SIDE), (24, 24, 28))
    canvas.paste(picture, (0, (_SIDE - picture.height) // 2))
    scale, down = picture.width / image.shape[1], (_SIDE - picture.height) // 2
    pencil = ImageDraw.Draw(canvas)
    corners = np.array([(0, 0), (SIZE - 1, 0), (SIZE - 1, SIZE - 1), (0, SIZE - 1)], np.float64)
    for number, points in enumerate(faces, 1):
        for x, y in (points + 0.5) * scale + (0, down):
            pencil.ellipse((x - 1, y - 1, x + 1, y + 1), fill=colour)
        transform = similarity(points)
        outline = (corners - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T * scale + (0, down)
        pencil.polygon([tuple(corner) for corner in outline], outline=colour, width=3)
        if numbered:
            pencil.text(tuple(outline[0] + (6, 4)), str(number), colour, ImageFont.load_default(32))
    return canvas
