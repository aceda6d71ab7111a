"""Critics that learn to tell drawn patches of mouth and eyes from real ones: an adversary against blur.

After pix2pix's PatchGAN (Isola et al., 2017), with the hinge loss (Lim and Ye, 2017) and spectral normalisation (Miyato
et al., 2018). All is one loss and one optimiser's step: what teaches the critics does not reach the picture, and what
they teach the picture does not reach them.
"""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from streamhead.face.align import EYES, MOUTH

__all__ = ["Critics", "PatchCritic"]

TEACHING: Final = 0.02
"""Weight of the critics' own loss: their gradients must not fill the norm to which all gradients are clipped."""


class PatchCritic(nn.Module):
    """Region ``(N, 3, H, W)`` -> a verdict a patch of 22 px, ``(N, 1, H / 4 - 1, W / 4 - 1)``: positive for real."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first = spectral_norm(nn.Conv2d(3, width, 4, 2, 1))
        self.second = spectral_norm(nn.Conv2d(width, 2 * width, 4, 2, 1))
        self.verdict = spectral_norm(nn.Conv2d(2 * width, 1, 4, 1, 1))

    def forward(self, region: Tensor) -> Tensor:
        """See the class."""
        x = F.leaky_relu(self.first(2.0 * region - 1.0), 0.2)
        verdict: Tensor = self.verdict(F.leaky_relu(self.second(x), 0.2))
        return verdict


class Critics(nn.Module):
    """A critic for the mouth and one for the eyes."""

    def __init__(self) -> None:
        super().__init__()
        self.regions: Final = (MOUTH, EYES)
        self.critics = nn.ModuleList(PatchCritic() for _ in self.regions)

    def forward(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """What the critics are to make small, and what the picture is, both to be added to one loss.

        Args:
            image: ``(N, 3, 128, 128)`` as drawn.
            target: the same, as it was.
        """
        teaching, fooling = image.new_zeros(()), image.new_zeros(())
        for critic, region in zip(self.critics, self.regions, strict=True):
            drawn, real = image[:, :, *region], target[:, :, *region]
            teaching = teaching + F.relu(1.0 - critic(real)).mean() + F.relu(1.0 + critic(drawn.detach())).mean()
            taught = {name: value.detach() for name, value in critic.named_parameters()}
            fooling = fooling - functional_call(critic, taught, (drawn,)).mean()
        return TEACHING * teaching, fooling
