"""Altered pictures: landmarks move with their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from streamhead.training.picture import draw_look, plain_look


@pytest.mark.parametrize("seed", range(4))
def test_points_go_where_their_pixels_go(seed: int) -> None:
    look = draw_look(np.random.default_rng(seed))
    points = np.random.default_rng(9).uniform(24, 104, (12, 2)).round().astype(np.float32)
    ys, xs = np.mgrid[:128, :128]
    dots = [np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 18.0) for x, y in points]
    drawn = look.apply((255 * np.stack(dots)[..., None].repeat(3, -1)).astype(np.uint8)).sum(-1)
    drawn -= drawn[:, :1, :1]  # what the change makes of black
    weights = np.abs(drawn) * (np.abs(drawn) > 0.5 * np.abs(drawn).max((1, 2), keepdims=True))
    seen = np.stack([(weights * axis).sum((1, 2)) / weights.sum((1, 2)) for axis in (xs, ys)], -1)
    assert np.abs(look.carry(points) - seen).max() < 0.4
    assert np.abs(points - seen).max() > 1.0


def test_points_of_a_plain_look_stay() -> None:
    points = np.random.default_rng(1).uniform(-5, 133, (3, 20, 2)).astype(np.float32)
    assert np.abs(plain_look().carry(points) - points).max() < 0.05
