"""Frame -> code and skip maps (the image encoders of paper Figure 2; sizes from the released code)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamhead.model.config import NetworkConfig
from streamhead.model.layers import ConvBlock

__all__ = ["FrameEncoder", "ImageEncoder", "skip_channels"]


def skip_channels(config: NetworkConfig) -> tuple[int, ...]:
    """Channels of the five skip maps, finest first: 128..8 px (``vgg``, ``warp``) or 64..4 px (``dcgan``)."""
    published = {
        "warp": (16, 32, 64, 96, 128),
        "vgg": (64, 128, 256, 512, 512),
        "dcgan": (64, 128, 256, 512, 512),
    }[config.backbone]
    return tuple(config.channels(count) for count in published)


class ImageEncoder(nn.Module):
    """A 128 px frame becomes a code in [-1, 1] and five skip maps.

    ``vgg``: one 3x3 convolution a level, max-pooling between; ``dcgan``: 4x4 convolutions of stride 2; ``warp``: a
    stride-2 and a 3x3 convolution a level. All end in one convolution over the whole map and tanh.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths = skip_channels(config)
        levels: list[nn.Module] = []
        inputs = 3
        for level, width in enumerate(widths):
            if config.backbone == "dcgan":
                levels.append(ConvBlock(inputs, width, 4, 2, 1))
            elif config.backbone == "vgg":
                block = ConvBlock(inputs, width)
                levels.append(block if level == 0 else nn.Sequential(nn.MaxPool2d(2), block))
            elif level == 0:
                levels.append(ConvBlock(inputs, width))
            else:
                levels.append(nn.Sequential(ConvBlock(inputs, width, 4, 2, 1), ConvBlock(width, width)))
            inputs = width
        self.levels = nn.ModuleList(levels)
        # VGG pools once more before its last convolution, as released.
        self.pool = nn.MaxPool2d(2) if config.backbone == "vgg" else nn.Identity()
        self.head = nn.Conv2d(inputs, config.code_size, 8 if config.backbone == "warp" else 4)
        self.head_norm = nn.Identity() if config.emits == "face-update" else nn.BatchNorm2d(config.code_size)

    def forward(self, frame: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``(B, 3, 128, 128)`` in [0, 1] -> code ``(B, code)`` and the skip maps, finest first."""
        skips: list[Tensor] = []
        x = frame
        for level in self.levels:
            x = level(x)
            skips.append(x)
        code = torch.tanh(self.head_norm(self.head(self.pool(x))))
        return code.flatten(1), tuple(skips)


class FrameEncoder(nn.Module):
    """Frames -> codes for q(z|f) of ``call``; training only, and 64 px are enough for it."""

    SIDE = 64

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths = (16, 32, 64, 96, 128)
        self.stem = ConvBlock(3, widths[0])
        self.downs = nn.Sequential(*(ConvBlock(a, b, 4, 2, 1) for a, b in pairwise(widths)))
        self.head = nn.Conv2d(widths[-1], config.code_size, 4)

    def forward(self, frames: Tensor) -> Tensor:
        """``(N, 3, H, W)`` in [0, 1] -> ``(N, code)``; larger frames are reduced to 64 px first."""
        if frames.shape[-1] != self.SIDE:
            frames = F.interpolate(frames, (self.SIDE, self.SIDE), mode="area")
        return torch.tanh(self.head(self.downs(self.stem(frames)))).flatten(1)
