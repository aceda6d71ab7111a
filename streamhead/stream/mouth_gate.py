"""In silence the mouth closes and stays closed while the rest of the face lives on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from streamhead.face.align import MOUTH, SIZE
from streamhead.model.face_update import FaceUpdate

__all__ = ["MouthGate", "next_ease"]

CLOSING: Final = 1 / 2
"""Share of the way to rest that a frame of silence adds: two frames, 80 ms, after the voice detector's hangover."""
OPENING: Final = 1.0
"""Speech takes the mouth back at once: near an onset the model's own frame is close to rest anyway."""
SOFT_EDGE: Final = 8
"""Width over which the gate fades at the mouth region's border, canonical pixels."""


def next_ease(ease: float, speech: bool) -> float:
    """How far the mouth is held at rest, 0 to 1, one frame later."""
    return max(0.0, ease - OPENING) if speech else min(1.0, ease + CLOSING)


@dataclass(frozen=True, slots=True, eq=False)
class MouthGate:
    """Blends an update's mouth region towards the portrait's rest.

    Attributes:
        rest: the portrait's update after a second of silence, batch of one.
        window: ``(1, 1, 128, 128)``, one in the mouth, falling to zero around it.
    """

    rest: FaceUpdate
    window: Tensor

    @classmethod
    def of(cls, rest: FaceUpdate) -> MouthGate:
        """The gate of a portrait."""
        rows, columns = MOUTH
        axis = torch.arange(SIZE, dtype=torch.float32, device=rest.flow.device)

        def ramp(start: int, stop: int) -> Tensor:
            inside = torch.minimum(axis - start, (stop - 1) - axis) + SOFT_EDGE
            x = (inside / SOFT_EDGE).clamp(0.0, 1.0)
            return x * x * (3.0 - 2.0 * x)

        window = ramp(rows.start, rows.stop)[:, None] * ramp(columns.start, columns.stop)[None, :]
        return cls(rest, window[None, None])

    @classmethod
    def open(cls, rest: FaceUpdate) -> MouthGate:
        """A gate that holds nothing back."""
        return cls(rest, torch.zeros_like(rest.mask[:1]))

    def apply(self, update: FaceUpdate, ease: float) -> FaceUpdate:
        """``ease`` 0 leaves the update alone, 1 puts the mouth at rest."""
        if ease == 0.0:
            return update
        weight = self.window * ease
        rest = self.rest
        return FaceUpdate(
            torch.lerp(update.flow, rest.flow, weight),
            torch.lerp(update.mask, rest.mask, weight),
            torch.lerp(update.rgb, rest.rgb, weight),
        )
