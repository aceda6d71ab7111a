"""How far drawn frames are from the true ones: -log p(f|z) of eq. 2, and what ``call`` adds against blur."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from streamhead.errors import DataError
from streamhead.face.align import EYES, MOUTH, mean_face
from streamhead.model.face_update import SQUARE
from streamhead.model.mouth_gauge import MouthGauge
from streamhead.training.config import LossConfig

__all__ = ["carry_loss", "lips_loss", "picture_loss", "structure_gap", "texture_gap"]

_L1_SCALE: Final = 0.1
"""An absolute error pulls as hard as a squared one does at 0.05; so the other terms' weights keep their meaning."""
_STRUCTURE_SCALE: Final = 0.03
"""A still first frame lacks .03 to .04 of MS-SSIM where it has a squared error of .001 (validation clips)."""
_SCALES: Final = (0.0448, 0.2856, 0.3001, 0.2363)
"""Exponents of Wang et al. (2003), but for the fifth scale: a window would not fit into 8 px."""


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


def structure_gap(image: Tensor, target: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang et al., 2003) over four scales, data range 1: a mean over ``(B, 3, 128, 128)``.

    Raises:
        DataError: torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as similarity
    except ImportError as error:
        raise DataError("loss.kind ms-ssim needs torchmetrics: pip install 'streamhead[metrics]'") from error
    betas = tuple(scale / sum(_SCALES) for scale in _SCALES)
    return 1.0 - torch.as_tensor(similarity(image.float(), target.float(), data_range=1.0, betas=betas))


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


def lips_loss(gauge: MouthGauge, image: Tensor, target: Tensor) -> Tensor:
    """How far a drawn mouth's measures are from the true one's, both as the gauge reads them: a mean, squared.

    A pixel's error hardly tells an open mouth from a shut one where both are dark; whoever looks at it does.
    """
    with torch.autocast(image.device.type, enabled=False):
        off: Tensor = gauge(image.float()) - gauge(target.float())
    return off.square().mean()


def picture_loss(image: Tensor, target: Tensor, heard: Tensor, weights: LossConfig) -> dict[str, Tensor]:
    """The terms of a batch's pictures.

    Args:
        image: ``(N, 3, 128, 128)`` as drawn.
        target: the same, as it was.
        heard: ``(N,)`` 1 where the latent came from q(z|a). Lids and gaze are not in the sound: drawn from it they
            would be learnt as their mean, a blur; so there they are learnt from q(z|f) alone.
        weights: of the terms.

    Returns:
        ``picture``, the weighted sum; ``mse`` and ``mouth``, squared errors; ``gradient``, ``texture`` and
        ``structure`` where they weigh something.
    """
    known = torch.ones_like(image[:, :1])
    known[:, :, *EYES] = 1.0 - heard[:, None, None, None]
    difference = (image - target) * known
    squared = difference.square()
    terms = {"mse": squared.mean(), "mouth": squared[:, :, *MOUTH].mean()}
    error = _L1_SCALE * difference.abs() if weights.kind == "l1" else squared
    whole = error.mean()
    if weights.kind == "ms-ssim":
        terms["structure"] = structure_gap(torch.lerp(target, image, known), target)
        whole = _STRUCTURE_SCALE * terms["structure"]
    loss = weights.square * whole + weights.mouth * error[:, :, *MOUTH].mean()
    loss = loss + weights.eyes * error[:, :, *EYES].mean()
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
