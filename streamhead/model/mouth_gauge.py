"""How far a mouth is open, read off the picture: what a face drawn by a network does, without a landmark model."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from streamhead.errors import CheckpointError
from streamhead.face.align import MOUTH

__all__ = ["GAUGED", "MouthGauge", "load_gauge", "shipped_gauge"]

GAUGED: Final = ("inner lips", "outer lips", "mouth width")
"""What is read, in eye distances: the mouth's measures of :mod:`streamhead.training.geometry`, not off any median."""


class MouthGauge(nn.Module):
    """Canonical squares ``(B, 3, 128, 128)`` in [0, 1] -> ``(B, 3)``, see :data:`GAUGED`.

    Differentiable, and blind to light and colour. Trained by ``scripts/train_gauge.py``.
    """

    def __init__(self) -> None:
        super().__init__()
        height, width = (part.stop - part.start for part in MOUTH)
        widths = (3, 24, 40, 56, 64)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        for _ in self.convolutions:
            height, width = -(-height // 2), -(-width // 2)
        self.hidden = nn.Linear(widths[-1] * height * width, 64)
        self.out = nn.Linear(64, len(GAUGED))

    def forward(self, square: Tensor) -> Tensor:
        """See the class."""
        x = square[:, :, *MOUTH]
        mean, std = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
        x = (x - mean) / (std + 0.02)
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)
        measures: Tensor = self.out(F.leaky_relu(self.hidden(x.flatten(1)), 0.2))
        return measures


def shipped_gauge() -> MouthGauge:
    """The gauge that comes with the library, its weights final.

    Raises:
        CheckpointError: its file is missing or damaged.
    """
    return load_gauge(Path(__file__).parent.parent / "weights" / "mouth-gauge.safetensors")


def load_gauge(path: Path) -> MouthGauge:
    """A gauge written by ``scripts/train_gauge.py``, its weights final.

    Raises:
        CheckpointError: the file is missing, or holds no gauge.
    """
    gauge = MouthGauge()
    try:
        gauge.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is missing or holds no mouth gauge ({error}); install streamhead anew, or write a gauge of your "
            "own with scripts/train_gauge.py"
        ) from error
    return gauge.eval().requires_grad_(False)
