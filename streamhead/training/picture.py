"""Picture augmentation, one draw a clip: colour, flip, small affine and smooth changes of face shape."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamhead.face.align import SIZE

__all__ = ["Look", "draw_look", "plain_look"]

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """One clip's change of looks.

    Attributes:
        source: ``(128, 128, 2)`` where each pixel is taken from, (x, y) in pixels.
        gamma: exponent on [0, 1].
        mix: ``(3, 3)`` colour matrix, applied after gamma.
        offset: ``(3,)`` added after it.
        flipped: whether left and right are exchanged.
    """

    source: Plane
    gamma: float
    mix: Plane
    offset: Plane
    flipped: bool

    def carry(self, points: Plane) -> Plane:
        """Where points ``(..., 2)`` of a frame, (x, y) in pixels, lie in the changed one."""
        across, down = (np.diff(self.source, axis=axis).mean((0, 1)) for axis in (1, 0))
        back = np.linalg.inv(np.stack((across, down), axis=-1)).T.astype(np.float32)  # of the affine part alone
        middle = np.float32((SIZE - 1) / 2)
        wanted = points.reshape(-1, 1, 2).astype(np.float32)
        place = middle + (wanted - self.source.mean((0, 1))) @ back
        for _ in range(4):
            # A point outside the square is taken to move as the nearest one inside it.
            inside = np.clip(place, 0.0, SIZE - 1.0)
            there = cv2.remap(self.source, inside[..., 0], inside[..., 1], cv2.INTER_LINEAR)
            place = inside + (wanted - there) @ back
        carried: Plane = place.reshape(points.shape)
        return carried

    def apply(self, frames: NDArray[np.uint8], side: int = SIZE) -> Plane:
        """uint8 ``(T, 128, 128, 3)`` -> float ``(T, side, side, 3)`` in [0, 1]."""
        # A reduced frame takes the middle between its pixels: bilinear sampling there is their mean.
        source = self.source if side == SIZE else cv2.resize(self.source, (side, side), interpolation=cv2.INTER_AREA)
        x, y = np.ascontiguousarray(source[..., 0]), np.ascontiguousarray(source[..., 1])
        if not len(frames):
            return np.zeros((0, side, side, 3), np.float32)
        taken = np.stack([cv2.remap(f, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for f in frames])
        curve = (np.arange(256, dtype=np.float32) / 255.0) ** np.float32(self.gamma)
        colour = cv2.transform(curve[taken].reshape(-1, side, 3), np.column_stack((self.mix, self.offset)))
        pixels: Plane = np.clip(colour, 0.0, 1.0).reshape(taken.shape).astype(np.float32, copy=False)
        return pixels


def _coordinates() -> Plane:
    axis = np.arange(SIZE, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def plain_look() -> Look:
    """No change."""
    return Look(_coordinates(), 1.0, np.eye(3, dtype=np.float32), np.zeros(3, np.float32), False)


def draw_look(rng: np.random.Generator) -> Look:
    """Draw a clip's change of looks."""
    flipped = bool(rng.random() < 0.5)
    angle, scale = np.deg2rad(rng.normal(0.0, 2.0)), float(np.exp(rng.normal(0.0, 0.03)))
    aspect = float(np.exp(rng.normal(0.0, 0.03)))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]]) @ np.diag([scale * aspect, scale / aspect])
    rotation[:, 0] *= -1.0 if flipped else 1.0
    middle = (SIZE - 1) / 2
    shift = rng.normal(0.0, 1.3, size=2)
    # Other people's proportions: a smooth random displacement of a few pixels.
    bend = cv2.resize(rng.normal(0.0, 1.3, size=(5, 5, 2)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    source = (_coordinates() - middle) @ rotation.T + middle + shift + bend
    # Colour: exposure, contrast, saturation, cast; wide enough to reach dark and light skin and any lamp.
    saturation = float(rng.uniform(0.5, 1.3))
    luma = np.array([0.299, 0.587, 0.114])
    contrast = float(np.exp(rng.normal(0.0, 0.2)))
    cast = np.exp(rng.normal(0.0, 0.08, size=3))
    mix = np.diag(cast) @ (saturation * np.eye(3) + (1.0 - saturation) * np.outer(np.ones(3), luma)) * contrast
    offset = np.full(3, 0.45 * (1.0 - contrast) + rng.normal(0.0, 0.06))
    gamma = float(np.exp(rng.normal(0.0, 0.25)))
    if rng.random() < 0.2:
        gamma *= float(rng.uniform(1.2, 2.2))  # dark skin, or a dark room
    return Look(source.astype(np.float32), gamma, mix.astype(np.float32), offset.astype(np.float32), flipped)
