"""How a head is held in one frame, off its portrait: all that life adds to what the model says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_SHIFT", "Pose"]

MAX_SHIFT: Final = 8.0
"""Canonical pixels no point of a head moves beyond; the network's square has 128."""


@dataclass(frozen=True, slots=True)
class Pose:
    """A head beside its portrait; all zeros is the portrait.

    Attributes:
        roll: tilt about the foot of the neck, degrees, positive to the right of the picture.
        shift: (x, y) of the whole head, canonical pixels.
        turn: (x, y) by which the middle of the face moves before its outline: a turn and a nod, canonical pixels.
        lids: 0 as in the portrait, 1 shut.
    """

    roll: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    turn: tuple[float, float] = (0.0, 0.0)
    lids: float = 0.0
