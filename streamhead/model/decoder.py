"""Code -> picture, with skip connections from the first frame only (the decoder of paper Figure 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamhead.model.config import NetworkConfig
from streamhead.model.face_update import FaceUpdate
from streamhead.model.image_encoder import skip_channels
from streamhead.model.layers import ConvBlock, SkipConvBlock

__all__ = ["DcganDecoder", "Decoder", "VggDecoder", "WarpDecoder", "decoder"]


class Decoder(nn.Module):
    """A code and the first frame's skip halves become a :class:`FaceUpdate`.

    ``skip_blocks`` are the blocks that read a skip map, coarsest first.
    """

    skip_blocks: nn.ModuleList

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    def skip_halves(self, skips: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the decoder needs of a first frame: the skip half of each block, coarsest first."""
        pairs = zip(self.skip_blocks, reversed(skips), strict=True)
        return tuple(block.skip_half(skip) for block, skip in pairs)  # type: ignore[operator]

    def cut(self) -> None:
        """Prepare for drawing with final weights: see :meth:`SkipConvBlock.cut`."""
        for block in self.skip_blocks:
            assert isinstance(block, SkipConvBlock)
            block.cut()

    def forward(self, code: Tensor, halves: tuple[Tensor, ...]) -> FaceUpdate:
        """``(B, code)`` and :meth:`skip_halves` of B first frames -> FaceUpdate."""
        raise NotImplementedError


class VggDecoder(Decoder):
    """Two 3x3 convolutions a level, nearest upsampling, sigmoid (published)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        s = skip_channels(config)
        ch = config.channels
        self.seed = ConvBlock(config.code_size, ch(512), 4, 1, 0, transposed=True)
        outs = ((512, 512), (512, 256), (256, 128), (128, 64), (64, None))
        ins = (512, 512, 256, 128, 64)
        self.skip_blocks = nn.ModuleList(
            SkipConvBlock(ch(i), skip, ch(o[0]), doubles=True)
            for i, skip, o in zip(ins, reversed(s), outs, strict=True)
        )
        self.second_blocks = nn.ModuleList(ConvBlock(ch(a), ch(b)) for a, b in outs if b is not None)
        self.out = nn.Conv2d(ch(64), 3, 3, 1, 1)

    def forward(self, code: Tensor, halves: tuple[Tensor, ...]) -> FaceUpdate:
        """See :meth:`Decoder.forward`."""
        x = self.seed(code[:, :, None, None])
        for level, (block, half) in enumerate(zip(self.skip_blocks, halves, strict=True)):
            x = block(x, half)
            if level < len(self.second_blocks):
                x = self.second_blocks[level](x)
        return FaceUpdate.from_rgb(torch.sigmoid(self.out(x).float()))


class DcganDecoder(Decoder):
    """Transposed 4x4 convolutions of stride 2, sigmoid (published); for ``masked-rgb`` the mask is a fourth channel."""

    MASK_BIAS = -3.0
    """Such a mask starts nearly shut: training begins with the first frame and not with a fog before it."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        s = skip_channels(config)
        ch = config.channels
        self.seed = ConvBlock(config.code_size, ch(512), 4, 1, 0, transposed=True)
        self.masked = config.emits == "masked-rgb"
        last = 4 if self.masked else 3
        widths = (ch(512), ch(512), ch(256), ch(128), ch(64), last)
        self.skip_blocks = nn.ModuleList(
            SkipConvBlock(a, skip, b, 4, 2, 1, transposed=True, activate=b != last)
            for a, skip, b in zip(widths[:-1], reversed(s), widths[1:], strict=True)
        )

    def forward(self, code: Tensor, halves: tuple[Tensor, ...]) -> FaceUpdate:
        """See :meth:`Decoder.forward`."""
        x = self.seed(code[:, :, None, None])
        for block, half in zip(self.skip_blocks, halves, strict=True):
            x = block(x, half)
        x = x.float()
        mask = torch.sigmoid(x[:, 3:] + self.MASK_BIAS) if self.masked else None
        return FaceUpdate.from_rgb(torch.sigmoid(x[:, :3]), mask)


class WarpDecoder(Decoder):
    """The thin decoder of ``call``: flow from the 64 px level, mask and colour at 128 px; 0.21 G multiply-adds."""

    FLOW_SCALE = 8.0
    """Pixels a unit of the flow head is worth, so that its weights and the others' are of one size."""
    MASK_BIAS = -3.0
    """The mask starts nearly shut: what the portrait shows is carried, not painted."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        s = skip_channels(config)
        ch = config.channels
        widths = tuple(ch(n) for n in (128, 96, 64, 40, 24))
        self.seed = nn.Linear(config.code_size, widths[0] * 64)
        ins = (widths[0], *widths[:3], ch(24))
        self.skip_blocks = nn.ModuleList(
            SkipConvBlock(a, skip, b, doubles=level > 0)
            for level, (a, skip, b) in enumerate(zip(ins, reversed(s), widths, strict=True))
        )
        self.second_blocks = nn.ModuleList(ConvBlock(width, width) for width in widths[:3])
        self.narrow = nn.Conv2d(widths[3], ch(24), 1)
        self.flow = nn.Conv2d(widths[3], 2, 3, 1, 1)
        self.paint = nn.Conv2d(widths[4], 4, 3, 1, 1)

    def reset_heads(self) -> None:
        """Start near the identity: flow about zero, mask nearly shut."""
        nn.init.normal_(self.flow.weight, 0.0, 1e-3)
        nn.init.normal_(self.paint.weight, 0.0, 1e-2)
        for head in (self.flow, self.paint):
            assert head.bias is not None
            nn.init.zeros_(head.bias)

    def forward(self, code: Tensor, halves: tuple[Tensor, ...]) -> FaceUpdate:
        """See :meth:`Decoder.forward`."""
        x = torch.unflatten(F.leaky_relu(self.seed(code), 0.2), 1, (-1, 8, 8))
        for level in range(4):
            x = self.skip_blocks[level](x, halves[level])
            if level < len(self.second_blocks):
                x = self.second_blocks[level](x)
        flow = F.interpolate(self.flow(x).float(), scale_factor=2.0, mode="bilinear", align_corners=False)
        fine = self.skip_blocks[4](self.narrow(x), halves[4])
        paint = self.paint(fine).float()
        return FaceUpdate(
            flow * self.FLOW_SCALE, torch.sigmoid(paint[:, :1] + self.MASK_BIAS), torch.sigmoid(paint[:, 1:])
        )


def decoder(config: NetworkConfig) -> Decoder:
    """The decoder of a configuration."""
    kinds: dict[str, type[Decoder]] = {"vgg": VggDecoder, "dcgan": DcganDecoder, "warp": WarpDecoder}
    return kinds[config.backbone](config)
