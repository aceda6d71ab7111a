"""Altered pictures and what pictures are judged by: landmarks move with their pixels, the flow is held to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamhead.face.align import mean_face
from streamhead.training.picture import draw_look, plain_look
from streamhead.training.picture_loss import carry_loss


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


def test_flow_is_held_to_the_landmarks() -> None:
    points = torch.tensor(mean_face())[None]
    shift = torch.tensor((3.0, -2.0))
    right = shift[None, :, None, None].expand(1, 2, 128, 128)
    none, heard = torch.zeros(1), torch.ones(1)
    assert carry_loss(right, points, points + shift, none) < 1e-6
    assert carry_loss(-right, points, points + shift, none) == pytest.approx((6 + 4) / 2 - 0.25, abs=1e-3)
    # What the eyes do is not in the sound: only there may the flow of a heard frame be anything.
    blind = right.clone()
    blind[:, :, 37:63, 27:101] = 40.0
    assert carry_loss(blind, points, points + shift, heard) < 1e-3 < carry_loss(blind, points, points + shift, none)
