"""An open mouth in a portrait is shut in it, and nothing else is touched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from streamhead.face.align import similarity
from streamhead.face.judge import judge
from streamhead.face.landmarks import LandmarkFinder
from streamhead.face.portrait import Portrait

Picture = NDArray[np.uint8]

INNER_LIPS = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]


@pytest.fixture(scope="module")
def finder() -> LandmarkFinder:
    return LandmarkFinder(1)


def turned(degrees: float) -> Picture:
    """The astronaut, who smiles with her teeth, leaning."""
    picture = data.astronaut()
    centre = (picture.shape[1] / 2, picture.shape[0] / 3)
    return np.asarray(
        cv2.warpAffine(picture, cv2.getRotationMatrix2D(centre, degrees, 1.0), picture.shape[1::-1]), np.uint8
    )


def teeth(picture: Picture, points: NDArray[np.float32]) -> int:
    """Bright pixels without colour between the lips."""
    area = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(area, [np.round(points[INNER_LIPS]).astype(np.int32)], (1,))
    colours = picture[area > 0].astype(int)
    return int(((colours.min(-1) > 150) & (np.ptp(colours, axis=-1) < 45)).sum())


@pytest.mark.parametrize("degrees", [0.0, -20.0, 20.0])
def test_a_smile_is_shut(degrees: float, finder: LandmarkFinder) -> None:
    picture = turned(degrees)
    (before,) = finder.find(picture)
    portrait = Portrait.from_image(picture)
    (after,) = finder.find(portrait.image)
    assert judge(picture, before).mouth > 0.1 and teeth(picture, before) > 60
    assert judge(portrait.image, after).mouth < 0.03 and teeth(portrait.image, after) < 6
    # The points that come with it are where a look at the new picture finds them.
    lips = [13, 14, 0, 17, 61, 291, 82, 87, 312, 317]
    assert np.abs(portrait.landmarks[lips] - after[lips]).max() < 2.5
    assert np.allclose(portrait.to_canonical, similarity(before))


def test_only_the_strip_from_nose_to_chin_is_touched(finder: LandmarkFinder) -> None:
    picture = data.astronaut()
    (points,) = finder.find(picture)
    changed = np.argwhere((Portrait.from_image(picture).image != picture).any(-1))
    assert len(changed)
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert top >= points[4, 1] and bottom <= points[152, 1]
    width = points[291, 0] - points[61, 0]
    assert left > points[61, 0] - 0.4 * width and right < points[291, 0] + 0.4 * width


def test_shut_lips_are_left_alone() -> None:
    picture = Portrait.default().image
    assert Portrait.from_image(picture).image is picture


def test_a_mouth_too_wide_open_is_left_and_told(finder: LandmarkFinder) -> None:
    (points,) = finder.find(data.astronaut())
    wide = points.copy()
    wide[[14, 87, 317], 1] += 0.3 * np.hypot(*(points[33] - points[263]))
    judged = judge(data.astronaut(), wide)
    assert not judged.can_be_shut and "wide open" in " ".join(remark.text for remark in judged.remarks)
