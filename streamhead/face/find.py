"""The face in a picture: all of them found, one chosen, and a small one in a large photo cut out with its detail."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamhead.errors import PortraitError
from streamhead.face.align import eye_centres
from streamhead.face.judge import MIN_EYE_DISTANCE
from streamhead.face.landmarks import LandmarkFinder
from streamhead.face.picture import MAX_SIDE, reduced

__all__ = ["Found", "choose", "cut", "find_faces", "locate", "moved"]

Points = NDArray[np.float32]
Box = tuple[int, int, int, int]

_MIN_SIDE: Final = 48
_MAX_FACES: Final = 8
_LEAST_PART: Final = 320
"""Side of the smallest squares of a picture that are looked through for a face, pixels."""
# Head and shoulders, in eye distances: what is kept around a small face, and how much of it above the eyes.
_WIDE: Final = 11.0
_HIGH: Final = 6.2
_ABOVE: Final = 2.6


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A face in its picture.

    Attributes:
        image: ``(height, width, 3)`` RGB, no longer than ``MAX_SIDE``.
        points: ``(478, 2)`` in its pixels.
        box: ``(left, top, right, bottom)`` of ``image`` in the picture it was cut out of; None for all of it.
    """

    image: NDArray[np.uint8]
    points: Points
    box: Box | None


def _distance(points: Points) -> float:
    return float(np.hypot(*np.subtract(*eye_centres(points))))


def moved(points: Points, scale: float, shift: tuple[float, float] = (0.0, 0.0)) -> Points:
    """Points of a picture after it was scaled and then shifted; pixel centres are the integers."""
    return np.asarray((points + 0.5) * scale - 0.5 + np.array(shift), np.float32)


def _in_parts(finder: LandmarkFinder, image: NDArray[np.uint8], side: int) -> list[Points]:
    """Faces too small for the detector in the whole picture: overlapping squares of it are looked through."""
    height, width = image.shape[:2]
    tops, lefts = (range(0, max(1, extent - side // 2), side // 2) for extent in (height, width))
    faces: list[Points] = []
    for top, left in product(tops, lefts):
        part = image[top : top + side, left : left + side]
        small = reduced(part)
        for points in finder.find(small):
            face = moved(points, part.shape[1] / small.shape[1], (left, top))
            if all(np.hypot(*(face.mean(0) - other.mean(0))) > _distance(other) for other in faces):
                faces.append(face)
    return faces


def find_faces(finder: LandmarkFinder, image: NDArray[np.uint8]) -> list[Points]:
    """All faces of a picture, ``(478, 2)`` points each in its pixels, from left to right."""
    small = reduced(image)
    scale = image.shape[1] / small.shape[1]
    faces = [moved(points, scale) for points in finder.find(small)]
    if not faces:
        # The detector misses a face that fills the whole picture; with air around it, it does not.
        air = max(small.shape[:2]) // 3
        padded = np.pad(small, ((air, air), (air, air), (0, 0)), mode="edge")
        faces = [moved(points - np.float32(air), scale) for points in finder.find(padded)]
    for parts in (1, 2, 4):
        side = min(image.shape[:2]) // parts
        if not faces and side >= _LEAST_PART:
            faces = _in_parts(finder, image, side)
    return sorted(faces, key=lambda points: float(points[:, 0].mean()))


def choose(faces: list[Points], pick: int | None, name: str) -> Points:
    """The face meant, ``pick`` being 1 for the leftmost.

    Raises:
        PortraitError: there is none, or it is not clear which.
    """
    count = len(faces)
    if count == 0:
        raise PortraitError(f"no face found in {name}; use a well-lit picture of one person who looks at the camera")
    if pick is None and count > 1:
        raise PortraitError(f"{count} faces found in {name}; choose one with --pick 1..{count}, from left to right")
    if pick is not None and not 1 <= pick <= count:
        found = "1 face" if count == 1 else f"{count} faces"
        raise PortraitError(f"--pick {pick}, but {found} found in {name}; choose 1..{count}, from left to right")
    return faces[(pick or 1) - 1]


def cut(image: NDArray[np.uint8], box: Box | None) -> NDArray[np.uint8]:
    """A part of a picture, or all of it, no longer than ``MAX_SIDE``."""
    if box is not None:
        left, top, right, bottom = box
        image = np.ascontiguousarray(image[top:bottom, left:right])
    return reduced(image)


def _head_and_shoulders(points: Points, shape: tuple[int, ...]) -> Box:
    x, y = eye_centres(points).mean(0)
    unit = _distance(points)
    left, top = max(0, round(x - _WIDE / 2 * unit)), max(0, round(y - _ABOVE * unit))
    return left, top, min(shape[1], left + round(_WIDE * unit)), min(shape[0], top + round(_HIGH * unit))


def locate(image: NDArray[np.uint8], pick: int | None, name: str) -> Found:
    """Find the face meant in a picture.

    A picture longer than ``MAX_SIDE`` is reduced; where that would leave its face too small and the photo itself has
    more, head and shoulders are cut out of the photo instead.

    Args:
        image: ``(height, width, 3)`` RGB, any size.
        pick: which face, 1 being the leftmost; needed only where there are several.
        name: what errors call the picture.

    Raises:
        PortraitError: too small a picture; no face, or several.
        CheckpointError: the landmark model cannot be had.
    """
    height, width = image.shape[:2]
    if min(height, width) < _MIN_SIDE:
        raise PortraitError(f"{name} is too small ({width}x{height} px); use one of at least 200x200")
    with LandmarkFinder(_MAX_FACES) as finder:
        points = choose(find_faces(finder, image), pick, name)
        scale = max(1.0, max(height, width) / MAX_SIDE)
        distance = _distance(points)
        if scale == 1.0 or distance < MIN_EYE_DISTANCE or distance / scale >= MIN_EYE_DISTANCE:
            whole = reduced(image)
            return Found(whole, moved(points, whole.shape[1] / width), None)
        box = _head_and_shoulders(points, image.shape)
        part = cut(image, box)
        expected = moved(points - np.array(box[:2], np.float32), part.shape[1] / (box[2] - box[0]))
        # Found again, finer: in the whole photo it was a few pixels.
        again = min(finder.find(part), key=lambda face: float(np.hypot(*(face - expected).mean(0))), default=expected)
        near = float(np.hypot(*(again - expected).mean(0))) < _distance(expected)
        return Found(part, again if near else expected, box)
