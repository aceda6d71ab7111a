"""The objective: eq. 2 (q(z|frames) matched to q(z|audio)) and eq. 1 (matched to N(0, I)), with the exact KL."""

from __future__ import annotations

import torch
from torch import Tensor

from streamhead.model.gaussian_lstm import Gaussian

__all__ = ["kl_divergence", "latent_cost"]


def kl_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """KL[q || p] of diagonal Gaussians, summed over the last axis: ``(..., z)`` -> ``(...)``, nats."""
    ratio = torch.exp(q.logvar - p.logvar)
    distance = (q.mean - p.mean).square() * torch.exp(-p.logvar)
    return 0.5 * (ratio + distance - 1.0 - (q.logvar - p.logvar)).sum(-1)


def latent_cost(frames: Gaussian, audio: Gaussian | None) -> Tensor:
    """Mean over frames of KL[q(z|f) || q(z|a)] (eq. 2), or, without q(z|a), of KL[q(z|f) || N(0, I)] (eq. 1)."""
    if audio is None:
        zero = torch.zeros_like(frames.mean)
        audio = Gaussian(zero, zero)
    return kl_divergence(frames, audio).mean()
