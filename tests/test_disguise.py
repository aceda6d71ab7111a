"""Disguises lie where the face is, and leave the rest and the inside of the mouth as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from drawn_clips import draw_face

from streamhead.face.align import mean_face
from streamhead.training.disguise import draw_disguise

POINTS = mean_face().astype(np.float32)


def _bearded(seed: int = 0):  # type: ignore[no-untyped-def]
    drawn = draw_disguise(np.random.default_rng(seed))
    return replace(drawn, moustache=0.8, beard=0.7, hair=np.zeros(3, np.float32))


def test_hair_is_about_the_mouth_and_nowhere_else() -> None:
    frame = np.full((1, 128, 128, 3), 180, np.uint8)
    worn = _bearded().wear(frame, POINTS[None])[0].astype(int)
    philtrum = tuple(np.round((POINTS[0] + POINTS[2]) / 2).astype(int))
    below = tuple(np.round(0.7 * POINTS[17] + 0.3 * POINTS[152]).astype(int))
    for x, y in (philtrum, below):
        assert worn[y, x].mean() < 150
    top = int(POINTS[2, 1]) - 6
    assert (worn[:top] == 180).all()
    x, y = np.round((POINTS[13] + POINTS[14]) / 2).astype(int)
    opened = POINTS.copy()
    opened[[14, 87, 317, 178, 402, 88, 318, 95, 324]] += (0, 10)
    opened[[17, 84, 314, 181, 405, 91, 321, 146, 375]] += (0, 10)
    inside = _bearded().wear(frame, opened[None])[0].astype(int)
    assert abs(inside[y + 5, x] - 180).max() <= 2  # what a mouth shows is not painted over


def test_it_moves_with_the_face_and_can_be_repeated() -> None:
    face = np.stack([draw_face(0.0)] * 2)
    moved = np.stack([POINTS, POINTS + np.float32([4, 0])])
    one, two = (_bearded(3).wear(face, moved) for _ in range(2))
    assert np.array_equal(one, two)
    hair = [np.abs(worn.astype(int) - plain).sum(-1)[70:] > 60 for worn, plain in zip(one, face, strict=True)]
    columns = [np.flatnonzero(mask.any(0)) for mask in hair]
    assert columns[1].mean() - columns[0].mean() > 2


def test_some_are_shaved() -> None:
    drawn = [draw_disguise(np.random.default_rng(seed)) for seed in range(40)]
    shaved = [d for d in drawn if not d.moustache and not d.beard]
    assert 4 < len(shaved) < 25
    frame = np.full((1, 128, 128, 3), 100, np.uint8)
    worn = shaved[0].wear(frame, POINTS[None])
    assert (worn != frame).any() and (worn != frame).mean() < 0.1  # lips alone
