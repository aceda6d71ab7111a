"""Convolution with normalisation and activation, and the convolution over [decoder map, skip map] that can be split.

``conv([d, s]) = W_d d + W_s s``: the skip maps of a portrait never change, so their half is computed once.
BatchNorm is a per-channel affine map at inference and folds into the convolution before it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConvBlock", "SkipConvBlock", "fold_batch_norm"]

LEAK = 0.2


class ConvBlock(nn.Module):
    """Convolution (or its transpose), BatchNorm, LeakyReLU 0.2."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1, *, transposed: bool = False
    ) -> None:
        super().__init__()
        conv = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.conv = conv(inputs, outputs, kernel, stride, padding)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` -> ``(B, outputs, H', W')``."""
        return F.leaky_relu(self.norm(self.conv(x)), LEAK)


class SkipConvBlock(nn.Module):
    """A :class:`ConvBlock` over the concatenation of a decoder map and a skip map, computed in two halves."""

    def __init__(
        self,
        inputs: int,
        skips: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        padding: int = 1,
        *,
        transposed: bool = False,
        activate: bool = True,
    ) -> None:
        super().__init__()
        conv = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.conv = conv(inputs + skips, outputs, kernel, stride, padding)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if activate else nn.Identity()
        self.inputs = inputs
        self.transposed = transposed
        self.activate = activate
        self._cut: tuple[Tensor, Tensor] | None = None

    def _weights(self) -> tuple[Tensor, Tensor]:
        """The weights of the decoder map's half and of the skip map's."""
        weight = self.conv.weight
        if self.transposed:
            return weight[: self.inputs], weight[self.inputs :]
        return weight[:, : self.inputs], weight[:, self.inputs :]

    def cut(self) -> None:
        """Lay the halves of the (final) weights apart in memory, so that no call has to gather them again."""
        layout = torch.channels_last
        main, skip = (half.detach().contiguous(memory_format=layout) for half in self._weights())
        self._cut = main, skip

    def _half(self, x: Tensor, *, skip: bool) -> Tensor:
        bias = None if skip else self.conv.bias
        weight = (self._cut or self._weights())[skip]
        stride, padding = self.conv.stride, self.conv.padding
        assert not isinstance(padding, str)
        if self.transposed:
            return F.conv_transpose2d(x, weight, bias, stride, padding)
        return F.conv2d(x, weight, bias, stride, padding)

    def skip_half(self, skip: Tensor) -> Tensor:
        """The part of the convolution that depends on the skip map only: compute it once per portrait."""
        return self._half(skip, skip=True)

    def forward(self, x: Tensor, half: Tensor) -> Tensor:
        """The block on a decoder map ``x`` and the skip map's :meth:`skip_half`."""
        y = self.norm(self._half(x, skip=False) + half)
        return F.leaky_relu(y, LEAK) if self.activate else y

    def plain(self, x: Tensor, skip: Tensor) -> Tensor:
        """The same block as one convolution over the concatenation, as published; tests hold the two equal."""
        y = self.norm(self.conv(torch.cat((x, skip), dim=1)))
        return F.leaky_relu(y, LEAK) if self.activate else y


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every BatchNorm of a network in evaluation mode into the convolution before it, in place."""
    for block in module.modules():
        if isinstance(block, ConvBlock | SkipConvBlock) and isinstance(block.norm, nn.BatchNorm2d):
            norm, conv = block.norm, block.conv
            assert norm.running_var is not None and norm.running_mean is not None and conv.bias is not None
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            transposed = isinstance(conv, nn.ConvTranspose2d)
            shape = (1, -1, 1, 1) if transposed else (-1, 1, 1, 1)
            conv.weight = nn.Parameter((conv.weight * scale.reshape(shape)).detach())
            conv.bias = nn.Parameter(((conv.bias - norm.running_mean) * scale + norm.bias).detach())
            block.norm = nn.Identity()
