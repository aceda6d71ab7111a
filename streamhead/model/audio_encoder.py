"""Feature patch of a frame -> code (the audio encoder of paper Figure 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamhead.model.config import NetworkConfig
from streamhead.model.layers import ConvBlock

__all__ = ["AudioEncoder", "LogMelEncoder", "MfccEncoder", "audio_encoder"]


class AudioEncoder(nn.Module):
    """A patch ``(N, rows, dims)`` of features becomes a code ``(N, code)``.

    The normalisation of the features belongs to the network and travels in its checkpoint.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dims))
        self.register_buffer("scale", torch.ones(dims))

    def normalise(self, patch: Tensor) -> Tensor:
        """Zero mean and unit variance per coefficient, as measured on the training set."""
        return (patch - self.mean) * self.scale


class MfccEncoder(AudioEncoder):
    """The published network: convolutions 64, 128, pool, 256, 256, pool, 6144 -> 2048 -> 128."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(dims=12)
        a, b, c, fc = (config.channels(n) for n in (64, 128, 256, 2048))
        self.net = nn.Sequential(
            ConvBlock(1, a),
            ConvBlock(a, b),
            nn.MaxPool2d(3, stride=(1, 2)),
            ConvBlock(b, c),
            ConvBlock(c, c),
            nn.MaxPool2d(3, stride=2),
            nn.Flatten(),
            nn.Linear(c * 12 * 2, fc),
            nn.LeakyReLU(0.2),
            nn.Linear(fc, config.code_size),
        )

    def forward(self, patch: Tensor) -> Tensor:
        """``(N, 28, 12)`` -> ``(N, code)``."""
        code: Tensor = self.net(self.normalise(patch).unsqueeze(1))
        return code


class LogMelEncoder(AudioEncoder):
    """Convolutions along time over log-mel rows with energy; at 256 channels about 4 M multiply-adds a frame."""

    def __init__(self, config: NetworkConfig, rows: int, dims: int) -> None:
        super().__init__(dims=dims)
        channels = config.audio_channels
        self.first = nn.Conv1d(dims, channels, 3, padding=1)
        self.second = nn.Conv1d(channels, channels, 4, stride=2, padding=1)
        self.third = nn.Conv1d(channels, channels, 4, stride=2, padding=1)
        self.out = nn.Linear(channels * (rows // 4), config.code_size)
        for layer in (self.first, self.second, self.third):
            nn.init.kaiming_normal_(layer.weight, 0.2)
        nn.init.kaiming_normal_(self.out.weight, 1.0)

    def forward(self, patch: Tensor) -> Tensor:
        """``(N, rows, dims)`` -> ``(N, code)``."""
        x = self.normalise(patch).transpose(1, 2)
        for layer in (self.first, self.second, self.third):
            x = F.leaky_relu(layer(x), 0.2)
        return torch.tanh(self.out(x.flatten(1)))


def audio_encoder(config: NetworkConfig) -> AudioEncoder:
    """The audio encoder of a configuration."""
    if config.features == "mfcc":
        return MfccEncoder(config)
    return LogMelEncoder(config, rows=4 * (3 + config.look_ahead), dims=41)
