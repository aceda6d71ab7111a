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
        return F.leaky_relu(self.norm(self.conv(x)), LEAK, inplace=not torch.is_grad_enabled())


class SkipConvBlock(nn.Module):
    """A :class:`ConvBlock` over the concatenation of a decoder map and a skip map, computed in two halves.

    With ``doubles`` the decoder map comes at half the size and is doubled first, each pixel becoming four. Doubling and
    a 3x3 convolution are one transposed convolution with a 4x4 kernel, at less than half the price.
    """

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
        doubles: bool = False,
    ) -> None:
        super().__init__()
        conv = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.conv = conv(inputs + skips, outputs, kernel, stride, padding)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if activate else nn.Identity()
        self.inputs = inputs
        self.transposed = transposed
        self.activate = activate
        self.doubles = doubles
        self._cut: tuple[Tensor, Tensor] | None = None

    def _weights(self) -> tuple[Tensor, Tensor]:
        """The weights of the decoder map's half and of the skip map's."""
        weight = self.conv.weight
        if self.transposed:
            return weight[: self.inputs], weight[self.inputs :]
        main, skip = weight[:, : self.inputs], weight[:, self.inputs :]
        return (_doubling(main) if self.doubles else main), skip

    def cut(self) -> None:
        """Lay the halves of the (final) weights apart in memory, so that no call has to gather them again."""
        layout = torch.channels_last
        main, skip = (half.detach().contiguous(memory_format=layout) for half in self._weights())
        self._cut = main, skip

    def skip_half(self, skip: Tensor) -> Tensor:
        """The part of the convolution that depends on the skip map only: compute it once per portrait."""
        _, weight = self._cut or self._weights()
        return self._convolve(skip, weight, None, transposed=self.transposed)

    def forward(self, x: Tensor, half: Tensor) -> Tensor:
        """The block on a decoder map ``x`` and the skip map's :meth:`skip_half`."""
        weight, _ = self._cut or self._weights()
        if self.doubles:
            y = F.conv_transpose2d(x, weight, self.conv.bias, 2, 1)
        else:
            y = self._convolve(x, weight, self.conv.bias, transposed=self.transposed)
        if torch.is_grad_enabled():
            y = self.norm(y + half)
            return F.leaky_relu(y, LEAK) if self.activate else y
        y = self.norm(y.add_(half))  # in place: these maps are larger than a processor's cache
        return F.leaky_relu_(y, LEAK) if self.activate else y

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, transposed: bool) -> Tensor:
        stride, padding = self.conv.stride, self.conv.padding
        assert not isinstance(padding, str)
        if transposed:
            return F.conv_transpose2d(x, weight, bias, stride, padding)
        return F.conv2d(x, weight, bias, stride, padding)

    def plain(self, x: Tensor, skip: Tensor) -> Tensor:
        """The same block as one convolution over the concatenation, as published; tests hold the two equal."""
        if self.doubles:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        y = self.norm(self.conv(torch.cat((x, skip), dim=1)))
        return F.leaky_relu(y, LEAK) if self.activate else y


def _doubling(weight: Tensor) -> Tensor:
    """A 3x3 kernel ``(out, in, 3, 3)`` on a doubled map -> the transposed 4x4 kernel ``(in, out, 4, 4)`` on the map."""
    taps = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    return torch.einsum("ma,oiab,nb->iomn", taps, weight, taps)


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
