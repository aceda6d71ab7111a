"""Poses in the picture: where a head goes, what stays, no fold; lids that shut and touch nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamhead.face.align import transform_points
from streamhead.face.compositor import Compositor
from streamhead.face.head_motion import HeadMotion
from streamhead.face.landmarks import LandmarkFinder
from streamhead.face.letterbox import letterbox
from streamhead.face.portrait import Portrait
from streamhead.face.pose import Pose
from streamhead.model.face_update import FaceUpdate

SIZE = (1280, 720)
FAR = Pose(1.1, (1.2, -1.0), (2.4, -1.9))


def _close_up() -> Portrait:
    """The default portrait cut so that hair, chin and an ear touch the border."""
    whole = Portrait.default()
    x, y, side = 500, 70, 440
    move = np.array([x, y], np.float64)
    to_canonical = whole.to_canonical.copy()
    to_canonical[:, 2] += to_canonical[:, :2] @ move
    image = np.ascontiguousarray(whole.image[y : y + side, x : x + side])
    return Portrait(image, whole.landmarks - np.float32(move), to_canonical, "close up")


PORTRAITS = {"default": Portrait.default, "close up": _close_up}


@pytest.mark.parametrize("name", PORTRAITS)
def test_at_rest_it_is_the_portrait(name: str) -> None:
    portrait = PORTRAITS[name]()
    frame = Compositor(portrait, SIZE).compose(FaceUpdate.identity(), Pose()).numpy()
    assert np.abs(frame.astype(int) - letterbox(portrait.image, SIZE).frame).max() <= 1


@pytest.mark.parametrize("name", PORTRAITS)
def test_the_border_stands_still(name: str) -> None:
    portrait = PORTRAITS[name]()
    fitted = letterbox(portrait.image, SIZE)
    left, top, width, height = fitted.box
    frame = Compositor(portrait, SIZE).compose(FaceUpdate.identity(), FAR).numpy()
    inner = np.zeros(SIZE[::-1], bool)
    inner[top + 1 : top + height - 1, left + 1 : left + width - 1] = True
    assert np.abs(frame[~inner].astype(int) - fitted.frame[~inner]).max() <= 1
    assert (frame[inner] != fitted.frame[inner]).mean() > 0.2


@pytest.mark.parametrize("name", PORTRAITS)
def test_the_field_neither_folds_nor_tears(name: str) -> None:
    portrait = PORTRAITS[name]()
    fitted = letterbox(portrait.image, SIZE)
    to_image = np.linalg.inv(np.vstack([fitted.to_frame, (0, 0, 1)]))
    motion = HeadMotion((np.vstack([portrait.to_canonical, (0, 0, 1)]) @ to_image)[:2], fitted.box)
    rest, moved = motion.where(Pose())[0].double(), motion.where(FAR)[0].double()
    pixels = torch.tensor(fitted.box[2:])[:, None, None] / 2
    offset = (moved - rest) * pixels
    assert 3.0 < offset.abs().max() < 30.0
    for axis in (1, 2):
        # How much otherwise a neighbouring pixel is moved: from 1 on a field folds. Hardly ever are all parts of a pose
        # at their ends at once, as here.
        assert offset.diff(dim=axis).abs().max() < (0.25 if name == "default" else 0.5)
    for edge in (offset[:, 0], offset[:, -1], offset[:, :, 0], offset[:, :, -1]):
        assert edge.abs().max() < 0.6


def test_a_head_goes_where_its_pose_says() -> None:
    """A dot between the eyes of a plain picture: shift and turn move it by themselves, roll about the neck."""
    portrait = Portrait.default()
    scale = 1 / np.sqrt(np.linalg.det(portrait.to_canonical[:, :2]))
    middle = portrait.landmarks[168].astype(np.float64)
    ys, xs = np.mgrid[0:720, 0:1280]
    dot = 255 * np.exp(-((xs - middle[0]) ** 2 + (ys - middle[1]) ** 2) / 50)
    image = np.repeat(np.rint(dot)[..., None], 3, -1).astype(np.uint8)
    compositor = Compositor(Portrait(image, portrait.landmarks, portrait.to_canonical, "dot"), SIZE)

    def moved(pose: Pose) -> np.ndarray:
        frame = compositor.compose(FaceUpdate.identity(), pose).numpy()[..., 0].astype(np.float64)
        return (np.array([(frame * xs).sum(), (frame * ys).sum()]) / frame.sum() - middle) / scale

    assert moved(Pose(shift=(2.0, -1.0))) == pytest.approx((2.0, -1.0), abs=0.1)
    assert moved(Pose(turn=(2.0, 0.0)))[0] == pytest.approx(2.0, abs=0.3)
    right = moved(Pose(roll=1.0))
    arm = 172 - transform_points(portrait.to_canonical, middle[None])[0, 1]
    assert right == pytest.approx((np.radians(1.0) * arm, 0.0), abs=0.15)


def test_shut_lids_are_shut_and_nothing_else_is_touched() -> None:
    portrait = Portrait.default()
    compositor = Compositor(portrait, SIZE)
    frames = [compositor.compose(FaceUpdate.identity(), Pose(lids=lids)).numpy() for lids in (0.0, 0.5, 1.0)]
    brows_to_cheeks = np.zeros(SIZE[::-1], bool)
    points = portrait.landmarks
    low, high = points[[46, 276, 55]].min(0), points[[145, 374, 33, 263]].max(0) + 12
    brows_to_cheeks[int(low[1]) - 12 : int(high[1]), int(low[0]) - 12 : int(points[276, 0]) + 12] = True
    assert np.array_equal(frames[2][~brows_to_cheeks], frames[0][~brows_to_cheeks])
    gaps = []
    with LandmarkFinder() as finder:
        for frame in frames:
            (face,) = finder.find(frame)
            gaps.append([float(np.linalg.norm(face[a] - face[b])) for a, b in ((159, 145), (386, 374))])
    for eye in range(2):
        assert gaps[2][eye] < 0.4 * gaps[0][eye] and gaps[2][eye] < gaps[1][eye] < gaps[0][eye]


def test_a_blink_leaves_the_mouth_alone_whatever_the_model_says() -> None:
    rng = torch.Generator().manual_seed(1)
    coarse = torch.randn(1, 6, 16, 16, generator=rng)
    fine = torch.nn.functional.interpolate(coarse, size=(128, 128), mode="bicubic")
    update = FaceUpdate(2 * fine[:, :2], fine[:, 2:3].sigmoid(), fine[:, 3:].sigmoid())
    compositor = Compositor(Portrait.default(), SIZE)
    pose = Pose(0.5, (1.0, 0.0), (1.0, 1.0))
    opened = compositor.compose(update, pose).numpy()
    shut = compositor.compose(update, Pose(0.5, (1.0, 0.0), (1.0, 1.0), 1.0)).numpy()
    assert np.array_equal(opened[390:], shut[390:])
    assert not np.array_equal(opened[290:350], shut[290:350])


def test_a_background_made_beforehand_changes_no_byte() -> None:
    rng = torch.Generator().manual_seed(1)
    coarse = torch.randn(1, 6, 16, 16, generator=rng)
    fine = torch.nn.functional.interpolate(coarse, size=(128, 128), mode="bicubic")
    update = FaceUpdate(2 * fine[:, :2], fine[:, 2:3].sigmoid(), fine[:, 3:].sigmoid())
    fresh, prepared = (Compositor(Portrait.default(), SIZE) for _ in range(2))
    blink = Pose(0.5, (1.0, 0.0), (1.0, 1.0), 0.7)
    for pose, ahead in ((None, None), (FAR, FAR), (blink, blink), (blink, FAR), (None, FAR), (FAR, None)):
        prepared.prepare(ahead)
        frame = prepared.compose(update, pose)
        assert torch.equal(frame, fresh.compose(update, pose))
        assert torch.equal(prepared.compose(update, pose), frame)  # what was prepared serves once
