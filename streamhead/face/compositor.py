"""From the canonical square back into the picture: a ``FaceUpdate`` applied to the portrait at its own resolution.

The network works on 128 px; a call shows 1280x720. So the portrait is fitted into the output once, and for each frame
the update's flow, mask and colour are resampled onto the output's own pixels, where the fitted portrait is warped and
covered. Skin, eyes and hair stay as sharp as the portrait is. Everything is torch and the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from streamhead.errors import PortraitError
from streamhead.face.align import MOUTH, transform_points
from streamhead.face.head_motion import HeadMotion
from streamhead.face.letterbox import Letterbox, letterbox
from streamhead.face.lids import Lid
from streamhead.face.portrait import Portrait
from streamhead.face.pose import MAX_SHIFT, Pose
from streamhead.model.face_update import SQUARE, FaceUpdate

__all__ = ["Compositor", "View", "window"]

View = Literal["call", "face"]
Place = tuple[slice, slice]
Box = tuple[int, int, int, int]

_RIM: Final = 3
"""Canonical pixels along the square's border that an update never reaches."""

_RAMPS: Final = ((12.0, 12.0), (12.0, 14.0))
"""Canonical pixels over which the window opens: left and right, top and bottom (a jaw moves more than a brow)."""

_MOUTH_BOX: Final = ((20.0, 70.0), (108.0, 127.0))
"""Canonical corners of what is sampled finely. Lips, chin and beard move by fractions of a pixel, and bilinear sampling
would leave them half as sharp as the face around them."""
_MOUTH_RAMP: Final = 6.0
_FINE: Final = 1.5
"""How far towards bicubic sampling and past it: bicubic still weakens the finest detail halfway between two pixels. On
whole pixels there is no difference, so what does not move stays the portrait's."""
_GREENEST: Final = 1.09
"""Most green that a painted pixel shows beside its red and blue, as a multiple of what the skin around it has: the
network's teeth are greener than teeth are in that light."""
_PALE: Final = 0.15
"""Saturation of the skin under which paint loses its colour too: a black-and-white picture stays one."""
_PAINTED: Final = 4.0
"""Inverse of the mask from which on a pixel counts as painted."""

_STRIP: Final = 16
"""Pixels of an update that are doubled together."""


def window() -> NDArray[np.float32]:
    """How much of an update is let through, ``(128, 128)``: 1 inside, falling smoothly to 0 before the border."""
    position = np.arange(SQUARE, dtype=np.float64)
    profiles = []
    for before, after in _RAMPS:
        opening = np.minimum((position - _RIM + 1) / before, (SQUARE - _RIM - position) / after).clip(0.0, 1.0)
        profiles.append(opening**2 * (3.0 - 2.0 * opening))
    return np.outer(profiles[1], profiles[0]).astype(np.float32)


def _doubling_band() -> NDArray[np.float32]:
    """Mitchell and Netravali's cubic, sampled for doubling a row: no stair-steps, hardly any ringing or blur.

    Returns:
        ``(2 * _STRIP, _STRIP + 4)``: what a strip's pixels and two beside it on each side give its twice as many.
    """
    d = np.abs((np.arange(8) - 3.5) / 2)
    near = 7.0 * d**3 - 12.0 * d**2 + 16.0 / 3.0
    far = -7.0 / 3.0 * d**3 + 12.0 * d**2 - 20.0 * d + 32.0 / 3.0
    taps = np.where(d < 1.0, near, far) / 6.0
    band = np.zeros((2 * _STRIP, _STRIP + 4))
    for pixel in range(_STRIP):
        band[2 * pixel, pixel : pixel + 4] = taps[::-2]
        band[2 * pixel + 1, pixel + 1 : pixel + 5] = taps[-2::-2]
    return band.astype(np.float32)


def _double(planes: Tensor, band: Tensor) -> Tensor:
    """``(planes, 128, 128)`` -> ``(planes, 256, 256)``, beyond the border zero."""
    # Strip by strip as small matrix products: half the price of a transposed convolution a plane.
    count, rows, columns = planes.shape
    strips = F.pad(planes, (2, 2)).unfold(2, len(band[0]), _STRIP)
    wide = F.pad((strips.reshape(-1, len(band[0])) @ band.T).view(count, rows, 2 * columns), (0, 0, 2, 2))
    strips = wide.unfold(1, len(band[0]), _STRIP).transpose(2, 3)
    return (band @ strips).view(count, 2 * rows, 2 * columns)


def _invert(transform: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(np.vstack([transform, (0.0, 0.0, 1.0)]))[:2], np.float64)


def _reach(
    from_canonical: NDArray[np.float64], low: tuple[float, float], high: tuple[float, float], box: Box
) -> Place | None:
    """Rows and columns of a frame's box that a canonical rectangle touches, if any."""
    (x0, y0), (x1, y1) = low, high
    corners = transform_points(from_canonical, np.array([(x0, y0), (x0, y1), (x1, y0), (x1, y1)]))
    left, top, width, height = box
    first = np.maximum(np.floor(corners.min(0)).astype(int), (left, top))
    last = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (left + width, top + height))
    if (first >= last).any():
        return None
    return slice(int(first[1]), int(last[1])), slice(int(first[0]), int(last[0]))


def _within(inner: Place, outer: Place) -> Place:
    """The same pixels, counted from where ``outer`` begins."""
    rows, columns = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    return rows, columns


def _around(inner: Place, outer: Place) -> list[Place]:
    """What is left of ``outer`` without ``inner``: above, below, to the left and to the right of it."""
    rows, columns = inner
    strips = (
        (slice(outer[0].start, rows.start), outer[1]),
        (slice(rows.stop, outer[0].stop), outer[1]),
        (rows, slice(outer[1].start, columns.start)),
        (rows, slice(columns.stop, outer[1].stop)),
    )
    return [place for place in strips if all(part.start < part.stop for part in place)]


def _put(frame: Tensor, place: Place, planes: Tensor) -> None:
    """Cut ``(1, 3, rows, columns)`` off to bytes and lay them into a frame ``(height, width, 3)``."""
    for channel, plane in enumerate(planes[0].to(torch.uint8)):  # faster than permuting as a whole
        frame[*place, channel] = plane


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What a frame is before its face is drawn.

    Attributes:
        pose: of the head.
        frame: ``(height, width, 3)`` uint8; all but the face is done.
        face: where that lies in the frame.
        where: ``(1, 2, rows, columns)``: where each pixel of it is fetched from, in grid_sample's picture coordinates.
        square: ``(1, rows, columns, 2)``: and where in the canonical square it lies.
        shades: within the face, the light that falling lids leave.
    """

    pose: Pose | None
    frame: Tensor
    face: Place
    where: Tensor
    square: Tensor
    shades: list[tuple[Place, Tensor]]


class Compositor:
    """Applies updates to one portrait.

    What depends on the portrait only is computed here, once; calls share no more than what :meth:`prepare` leaves.

    Args:
        portrait: the prepared portrait.
        size: ``(width, height)`` of the call view's frames, even.
        view: ``call``: the whole portrait fitted into ``size``; only the face is touched, through a fixed window, so
            every other pixel is the fitted portrait's own. ``face``: the bare canonical square, 128x128, without a
            window: what metrics score.
        device: where the update lives and the frame is made.

    Raises:
        StreamheadError: a size that is odd or not positive.
        PortraitError: the face lies outside the picture.
    """

    def __init__(
        self,
        portrait: Portrait,
        size: tuple[int, int] = (1280, 720),
        view: View = "call",
        device: torch.device | str = "cpu",
    ) -> None:
        self.view: Final = view
        self.device: Final = torch.device(device)
        self._ready: _Scene | None = None
        if view == "face":
            self._frame_size = (SQUARE, SQUARE)
            square = torch.from_numpy(portrait.square()).to(self.device)
            self._square = square.permute(2, 0, 1)[None].float() / 255.0
        else:
            self._frame_size = size
            self._prepare(portrait, letterbox(portrait.image, size))

    @property
    def frame_size(self) -> tuple[int, int]:
        """``(width, height)`` of the frames."""
        return self._frame_size

    def _prepare(self, portrait: Portrait, fitted: Letterbox) -> None:
        left, top, width, height = fitted.box
        affine = np.vstack([portrait.to_canonical, (0.0, 0.0, 1.0)]) @ np.vstack([_invert(fitted.to_frame), (0, 0, 1)])
        affine, from_canonical = affine[:2], _invert(affine[:2])
        # The window is 0 on the rim; doubling and then bilinear reading spread a pixel no further than 2.25.
        low, high = (_RIM - 2.25,) * 2, (SQUARE - 1 - _RIM + 2.25,) * 2
        face = _reach(from_canonical, low, high, fitted.box)
        if face is None:
            raise PortraitError(f"the face of {portrait.name} lies outside its picture; prepare the portrait again")

        def tensor(array: NDArray[np.floating]) -> Tensor:
            return torch.from_numpy(array.astype(np.float32)).to(self.device)

        # grid_sample's coordinates, of the picture and of the square, are affine in each other.
        extent = np.array([width, height])
        self._face = face
        pixels = np.stack(np.meshgrid(np.r_[face[1]], np.r_[face[0]]))
        in_picture = (2.0 * (pixels - np.array([left, top])[:, None, None]) + 1.0) / extent[:, None, None] - 1.0
        self._in_picture = tensor(in_picture)[None]
        self._to_picture = tensor(from_canonical[:, :2] * (2.0 / extent)[:, None])
        linear = affine[:, :2] * (extent / 2.0)
        origin = linear.sum(1) + affine[:, :2] @ (np.array([left, top]) - 0.5) + affine[:, 2]
        square = np.c_[linear, origin + 0.5] * (2.0 / SQUARE)
        square[:, 2] -= 1.0
        self._to_square: list[list[float]] = square.tolist()
        self._in_square = self._canonical(self._in_picture)
        self._window = tensor(window())
        self._band = tensor(_doubling_band())
        self._base = torch.from_numpy(fitted.frame).to(self.device)
        picture = self._base[top : top + height, left : left + width]
        # Half a level more than the picture, so that cutting off the fraction at the end rounds.
        self._picture = picture.permute(2, 0, 1)[None].float().contiguous() + 0.5
        skin = portrait.square()[MOUTH].reshape(-1, 3).mean(0)
        self._colour = min(1.0, float((skin.max() - skin.min()) / (skin.max() + 1e-6)) / _PALE)
        self._green = _GREENEST * float(skin[1] / (skin[0] + skin[2] + 1e-6))
        self._motion = HeadMotion(affine, fitted.box, self.device)
        self._moving = (self._motion.rows, self._motion.columns)

        def may_reach(low: tuple[float, float], high: tuple[float, float]) -> Place | None:
            around = low[0] - MAX_SHIFT, low[1] - MAX_SHIFT
            return _reach(from_canonical, around, (high[0] + MAX_SHIFT, high[1] + MAX_SHIFT), moving)

        rows, columns = face
        whole = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        self._mouth = _reach(from_canonical, *_MOUTH_BOX, whole)
        if self._mouth is not None:
            at = self._canonical(self._in_picture[:, :, *_within(self._mouth, face)])[0]
            at = at * (SQUARE / 2) + (SQUARE - 1) / 2
            inside = torch.minimum(at - at.new_tensor(_MOUTH_BOX[0]), at.new_tensor(_MOUTH_BOX[1]) - at)
            inside = (inside / _MOUTH_RAMP).clamp(0.0, 1.0)
            self._fine = _FINE * (inside**2 * (3.0 - 2.0 * inside)).prod(-1)

        rows, columns = self._moving
        moving = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        self._moving_face = may_reach(low, high) or face
        found = (
            (lid, may_reach(lid.box[:2], lid.box[2:]))
            for lid in Lid.both(transform_points(portrait.to_canonical, portrait.landmarks))
        )
        self._lids = [(lid, _within(place, self._moving_face)) for lid, place in found if place is not None]

    def _canonical(self, where: Tensor) -> Tensor:
        """Picture coordinates ``(1, 2, h, w)`` -> the square's, ``(1, h, w, 2)``, both grid_sample's."""
        # Plain sums: a matrix product of so many tiny rows is ten times slower.
        x, y = where[0]
        square = torch.stack([torch.add(x * a + c, y, alpha=b) for a, b, c in self._to_square])
        return square.permute(1, 2, 0)[None]

    def _shut(self, where: Tensor, closure: float) -> list[tuple[Place, Tensor]]:
        """Draw the lids down in the face's ``where``; returns the light left at each eye."""
        shades = []
        for lid, place in self._lids:
            part = where[:, :, *place]
            points = self._canonical(part)[0].permute(2, 0, 1) * (SQUARE / 2) + (SQUARE - 1) / 2
            offset, light = lid.shut(points, closure)
            part += torch.einsum("ij,jhw->ihw", self._to_picture, offset)
            shades.append((place, light))
        return shades

    def _sample(self, where: Tensor) -> Tensor:
        return F.grid_sample(
            self._picture, where.permute(0, 2, 3, 1), mode="bilinear", padding_mode="border", align_corners=False
        )

    def _scene(self, pose: Pose | None) -> _Scene:
        """All of a frame that the sound has no say in."""
        frame = self._base.clone()
        if pose is None:
            return _Scene(None, frame, self._face, self._in_picture.clone(), self._in_square, [])
        where, face = self._motion.where(pose), self._moving_face
        for strip in _around(face, self._moving):
            _put(frame, strip, self._sample(where[:, :, *_within(strip, self._moving)]))
        inner = where[:, :, *_within(face, self._moving)].contiguous()
        shades = self._shut(inner, pose.lids) if pose.lids > 0.0 else []
        return _Scene(pose, frame, face, inner, self._canonical(inner), shades)

    def _sharpen(self, face: Tensor, where: Tensor, place: Place) -> None:
        """Sample the mouth finely, fading out around it."""
        if self._mouth is None:
            return
        mouth = _within(self._mouth, place)
        grid = where[:, :, *mouth].permute(0, 2, 3, 1)
        sharp = F.grid_sample(self._picture, grid, mode="bicubic", padding_mode="border", align_corners=False)
        plain = face[:, :, *mouth]
        plain += sharp.sub_(plain).mul_(self._fine)

    def _no_green(self, face: Tensor, mask: Tensor, place: Place) -> None:
        """Take the green out of painted teeth."""
        if self._mouth is None:
            return
        mouth = _within(self._mouth, place)
        red, green, blue = face[0][:, *mouth]
        excess = torch.add(green, red + blue, alpha=-self._green).clamp_(min=0.0)
        green -= excess.mul_((mask[mouth] * _PAINTED).clamp_(0.0, 1.0))

    @torch.no_grad()
    def prepare(self, pose: Pose | None) -> None:
        """Do what can be done of a frame before its sound is there: its background, for a pose that is known.

        A :meth:`compose` with that pose is quicker for it, and gives the same bytes.
        """
        if self.view == "call" and (self._ready is None or self._ready.pose != pose):
            self._ready = self._scene(pose)

    @torch.no_grad()
    def compose(self, update: FaceUpdate, pose: Pose | None = None) -> Tensor:
        """One frame.

        Args:
            update: one row (``B`` = 1) on the compositor's device, any floating type.
            pose: how the head is held (``call`` view only). None holds it still: beyond the face's window every byte
                is then the fitted portrait's.

        Returns:
            ``(height, width, 3)`` RGB uint8 on the device, a tensor of its own.
        """
        if self.view == "face":
            frame = update.apply(self._square)
            return frame[0].mul(255.0).add_(0.5).clamp_(0.0, 255.0).permute(1, 2, 0).to(torch.uint8)
        scene, self._ready = self._ready, None
        if scene is None or scene.pose != pose:
            scene = self._scene(pose)
        # Flow in the fitted picture's own coordinates; colour is multiplied by its mask before it is interpolated, so
        # that what the network painted where nothing shows cannot bleed in.
        flow = torch.einsum("ij,bjhw->bihw", self._to_picture, update.flow.float())
        mask = update.mask.float()
        colour = update.rgb.float().mul(255.0).add_(0.5) * mask
        if self._colour < 1.0:
            colour = torch.lerp(colour.mean(1, keepdim=True), colour, self._colour)
        fine = torch.cat((flow, mask, colour), 1) * self._window
        fine = _double(fine[0], self._band)[None]
        fine = F.grid_sample(fine, scene.square, mode="bilinear", padding_mode="zeros", align_corners=False)
        scene.where.add_(fine[:, :2])
        face = self._sample(scene.where)
        self._sharpen(face, scene.where, scene.face)
        face.addcmul_(face, fine[:, 2:3], value=-1.0).add_(fine[:, 3:]).clamp_(0.0, 255.0)
        self._no_green(face, fine[0, 2], scene.face)
        for eye, light in scene.shades:
            face[:, :, *eye] *= light
        _put(scene.frame, scene.face, face)
        return scene.frame
