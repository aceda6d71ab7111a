"""What pictures are judged by: errors at a known difference, what they leave out, and where the flow should go."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_clips import draw_face
from safetensors.torch import save_file
from torch import Tensor

from streamhead.errors import CheckpointError
from streamhead.face.align import EYES, mean_face
from streamhead.model.config import preset
from streamhead.model.mouth_gauge import MouthGauge, load_gauge, shipped_gauge
from streamhead.training.config import LossConfig
from streamhead.training.picture_loss import carry_loss, lips_loss, picture_loss, structure_gap
from streamhead.training.trainee import StochasticTrainee

KINDS = ("mse", "l1", "ms-ssim")


def _face(gap: float = 0.0) -> Tensor:
    return torch.from_numpy(draw_face(gap)).permute(2, 0, 1)[None].float() / 255


def _loss(image: Tensor, target: Tensor, kind: str, heard: float = 0.0) -> Tensor:
    return picture_loss(image, target, torch.tensor([heard]), LossConfig(kind=kind))["picture"]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_against_the_gradient_helps(kind: str) -> None:
    target = _face(5.0)
    assert float(_loss(target, target, kind)) == pytest.approx(0, abs=1e-6)
    image = _face(0.0).requires_grad_()
    loss = _loss(image, target, kind)
    loss.backward()
    assert image.grad is not None and torch.isfinite(image.grad).all()
    nearer = image.detach() - 1e-3 * image.grad / image.grad.abs().max()
    assert float(_loss(nearer, target, kind)) < float(loss.detach())


@pytest.mark.parametrize("kind", KINDS)
def test_heard_eyes_are_left_out(kind: str) -> None:
    target = _face()
    image = target.clone()
    image[:, :, *EYES] = 0.5
    assert float(_loss(image, target, kind, heard=1.0)) == pytest.approx(0, abs=1e-6)
    assert float(_loss(image, target, kind)) > 1e-4


def test_errors_of_a_twentieth_pull_alike() -> None:
    target = torch.full((1, 3, 128, 128), 0.5)
    pulls = []
    for kind in ("mse", "l1"):
        image = (target + 0.05).requires_grad_()
        _loss(image, target, kind).backward()
        assert image.grad is not None
        pulls.append(float(image.grad.sum()))
    assert pulls[0] == pytest.approx(pulls[1]) == pytest.approx(0.1)


def test_structure_minds_blur_more_than_light() -> None:
    face = draw_face(4.0)
    blurred = cv2.GaussianBlur(face, (0, 0), 3).astype(np.float32)
    squared = float(((blurred - face) ** 2).mean())
    lighter = face.astype(np.float32) - np.sqrt(squared)
    gaps = [
        float(structure_gap(torch.from_numpy(one).permute(2, 0, 1)[None] / 255, _face(4.0)))
        for one in (blurred, lighter)
    ]
    assert 0 < gaps[1] < gaps[0] / 3 < 0.3


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


def test_lips_that_open_as_they_should_cost_nothing() -> None:
    gauge, target = shipped_gauge(), _face(6.0)
    assert float(lips_loss(gauge, target, target)) == 0
    costs = [float(lips_loss(gauge, _face(gap), target)) for gap in (6.0, 4.0, 2.0, 0.0)]
    assert costs == sorted(costs) and costs[-1] > 1e-4
    image = _face(0.0).requires_grad_()
    lips_loss(gauge, image, target).backward()
    assert image.grad is not None and float(image.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in gauge.parameters())


def test_a_gauge_of_ones_own_is_taken_or_refused(tmp_path: Path) -> None:
    own = MouthGauge()
    torch.nn.init.constant_(own.out.bias, 5.0)
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    assert float(load_gauge(tmp_path / "own.safetensors")(_face()).detach().mean()) > 3
    with pytest.raises(CheckpointError, match="train_gauge"):
        StochasticTrainee(preset("call"), LossConfig(lips=1.0, gauge=tmp_path / "none.safetensors"))
