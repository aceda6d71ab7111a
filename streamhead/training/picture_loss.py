"""How far drawn frames are from the true ones: -log p(f|z) of eq. 2, and what ``call`` adds against blur."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from streamhead.face.align import EYES, MOUTH, mean_face
from streamhead.model.face_update import SQUARE
from streamhead.training.config import LossConfig

__all__ = ["carry_loss", "picture_loss", "texture_gap"]


def _edges(image: Tensor) -> Tensor:
    """Local contrast ``(B, 1, H / 4, W / 4)``: root mean square of neighbouring grey levels' steps, 8 px about."""
    grey = image.mean(1, keepdim=True)
    across = torch.diff(grey, dim=-1)[:, :, :-1].square() + torch.diff(grey, dim=-2)[:, :, :, :-1].square()
    return torch.sqrt(F.avg_pool2d(across, 8, 4) + 1e-5)


def texture_gap(image: Tensor, target: Tensor) -> Tensor:
    """By how much a drawn region is smoother, or rougher, than the true one: a mean over ``(B, 3, H, W)``.

    The squared error is least for the mean of all that might be there, which is a blur. This asks for as much contrast
    as the truth has, wherever exactly its edges lie; the nearest way to it is to carry pixels of the portrait.
    """
    return (_edges(image) - _edges(target)).abs().mean()


def carry_loss(flow: Tensor, points: Tensor, origins: Tensor, heard: Tensor) -> Tensor:
    """How far from the first frame's landmarks the flow takes the pixels at the drawn frame's: a mean, in pixels.

    The picture's error says little about where a mouth should go while it is far from there; the landmarks do.

    Args:
        flow: ``(N, 2, 128, 128)``.
        points: ``(N, 478, 2)``, (x, y) in pixels, of the frames as they were.
        origins: the same, of their first frames.
        heard: ``(N,)`` 1 where the latent came from q(z|a): nothing is asked about the eyes there.
    """
    grid = (points * (2.0 / (SQUARE - 1)) - 1.0)[:, :, None]
    taken = F.grid_sample(flow, grid, padding_mode="border", align_corners=True)[..., 0].transpose(1, 2)
    off = F.smooth_l1_loss(taken, origins - points, beta=0.5, reduction="none").mean(-1)
    x, y = torch.tensor(mean_face()).to(points).unbind(-1)
    rows, columns = EYES
    eyes = (x >= columns.start) & (x < columns.stop) & (y >= rows.start) & (y < rows.stop)
    known = 1.0 - eyes.to(off) * heard[:, None]
    return (off * known).sum() / known.sum()


def picture_loss(image: Tensor, target: Tensor, heard: Tensor, weights: LossConfig) -> dict[str, Tensor]:
    """The terms of a batch's pictures.

    Args:
        image: ``(N, 3, 128, 128)`` as drawn.
        target: the same, as it was.
        heard: ``(N,)`` 1 where the latent came from q(z|a). Lids and gaze are not in the sound: drawn from it they
            would be learnt as their mean, a blur; so there they are learnt from q(z|f) alone.
        weights: of the terms.

    Returns:
        ``picture``, the weighted sum; ``mse`` and ``mouth``, squared errors; ``gradient`` and ``texture`` where they
        weigh something.
    """
    known = torch.ones_like(image[:, :1])
    known[:, :, *EYES] = 1.0 - heard[:, None, None, None]
    difference = (image - target) * known
    error = difference.square()
    terms = {"mse": error.mean(), "mouth": error[:, :, *MOUTH].mean()}
    loss = weights.square * terms["mse"] + weights.mouth * terms["mouth"] + weights.eyes * error[:, :, *EYES].mean()
    if weights.gradient:
        across = torch.diff(difference, dim=-1).abs().mean() + torch.diff(difference, dim=-2).abs().mean()
        terms["gradient"] = across
        loss = loss + weights.gradient * across
    if weights.texture:
        gaps = [texture_gap(image[:, :, *region], target[:, :, *region]) for region in (MOUTH, EYES)]
        terms["texture"] = torch.stack(gaps).mean()
        loss = loss + weights.texture * terms["texture"]
    terms["picture"] = loss
    return terms
