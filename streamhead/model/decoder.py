"""Code -> picture, with skip connections from the first frame only (the decoder of paper Figure 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamhead.face.align import EYES, MOUTH
from streamhead.model.config import NetworkConfig
from streamhead.model.face_update import SQUARE, FaceUpdate
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
        for block in self.modules():
            if isinstance(block, SkipConvBlock):
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


class Painter(nn.Module):
    """Mask and colour of one region of the square at full resolution; to its rim the mask falls to zero."""

    MASK_BIAS = -3.0
    """The mask starts nearly shut: what the portrait shows is carried, not painted."""
    RIM = 6
    """Pixels over which it falls."""

    ramp: Tensor

    def __init__(self, inputs: int, skips: int, outputs: int, region: tuple[slice, slice], *, layers: int = 1) -> None:
        super().__init__()
        self.region = region
        self.coarse = tuple(slice(part.start // 2, part.stop // 2) for part in region)
        self.block = SkipConvBlock(inputs, skips, outputs, doubles=True)
        self.more = nn.Sequential(*(ConvBlock(outputs, outputs) for _ in range(layers - 1)))
        self.paint = nn.Conv2d(outputs, 4, 3, 1, 1)
        sides = [torch.arange(part.stop - part.start) for part in region]
        rows, columns = (torch.minimum(side + 1, len(side) - side).clamp(max=self.RIM) / self.RIM for side in sides)
        self.register_buffer("ramp", torch.outer(rows, columns), persistent=False)

    def skip_half(self, skip: Tensor) -> Tensor:
        """What it needs of the finest skip map of a first frame."""
        return self.block.skip_half(skip[:, :, *self.region])

    def forward(self, coarse: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        """The map at half the size, and :meth:`skip_half` -> mask and colour of the region."""
        paint = self.paint(self.more(self.block(coarse[:, :, *self.coarse], half))).float()
        return torch.sigmoid(paint[:, :1] + self.MASK_BIAS) * self.ramp, torch.sigmoid(paint[:, 1:])


class WarpDecoder(Decoder):
    """The thin decoder of ``call``: flow from the 64 px level, mouth and eyes painted at 128 px.

    Everything else is carried; a portrait lacks only what a mouth or an eye can hide. 0.18 G multiply-adds a frame, and
    0.03 G for each further layer of the painters.
    """

    FLOW_SCALE = 8.0
    """Pixels a unit of the flow head is worth, so that its weights and the others' are of one size."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        s = skip_channels(config)
        ch = config.channels
        widths = tuple(ch(n) for n in (128, 96, 64, 40, 24))
        self.seed = nn.Linear(config.code_size, widths[0] * 64)
        self.skip_blocks = nn.ModuleList(
            SkipConvBlock(a, skip, b, doubles=level > 0)
            for level, (a, skip, b) in enumerate(zip((widths[0], *widths), s[:0:-1], widths[:4], strict=False))
        )
        self.second_blocks = nn.ModuleList(ConvBlock(width, width) for width in widths[:3])
        self.narrow = nn.Conv2d(widths[3], widths[4], 1)
        self.flow = nn.Conv2d(widths[3], 2, 3, 1, 1)
        self.painters = nn.ModuleList(
            Painter(widths[4], s[0], widths[4], region, layers=config.painter_layers) for region in (MOUTH, EYES)
        )

    def reset_heads(self) -> None:
        """Start near the identity: flow about zero, mask nearly shut."""
        nn.init.normal_(self.flow.weight, 0.0, 1e-3)
        heads = [self.flow]
        for painter in self.painters:
            assert isinstance(painter, Painter)
            nn.init.normal_(painter.paint.weight, 0.0, 1e-2)
            heads.append(painter.paint)
        for head in heads:
            assert head.bias is not None
            nn.init.zeros_(head.bias)

    def skip_halves(self, skips: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See :meth:`Decoder.skip_halves`; after them the painters'."""
        fine = tuple(painter.skip_half(skips[0]) for painter in self.painters)  # type: ignore[operator]
        return (*super().skip_halves(skips[1:]), *fine)

    def forward(self, code: Tensor, halves: tuple[Tensor, ...]) -> FaceUpdate:
        """See :meth:`Decoder.forward`."""
        x = torch.unflatten(F.leaky_relu(self.seed(code), 0.2), 1, (-1, 8, 8))
        for level, block in enumerate(self.skip_blocks):
            x = block(x, halves[level])
            if level < len(self.second_blocks):
                x = self.second_blocks[level](x)
        flow = self.flow(x).float().contiguous()  # doubling two channels that lie side by side is slow
        flow = F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)
        update = FaceUpdate(
            flow * self.FLOW_SCALE,
            flow.new_zeros(len(flow), 1, SQUARE, SQUARE),
            flow.new_zeros(len(flow), 3, SQUARE, SQUARE),
        )
        narrow = self.narrow(x)
        for painter, half in zip(self.painters, halves[len(self.skip_blocks) :], strict=True):
            update.mask[:, :, *painter.region], update.rgb[:, :, *painter.region] = painter(narrow, half)  # type: ignore[misc]
        return update


def decoder(config: NetworkConfig) -> Decoder:
    """The decoder of a configuration."""
    kinds: dict[str, type[Decoder]] = {"vgg": VggDecoder, "dcgan": DcganDecoder, "warp": WarpDecoder}
    return kinds[config.backbone](config)
