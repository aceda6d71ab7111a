"""What a session is made of besides its sound: how far its pictures are, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamhead.face.align import SIZE
from streamhead.stream.life import LifeState

__all__ = ["Progress", "Stage", "View"]

View = Literal["call", "face"]


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """How far a session's pictures are: all that one more frame changes, beside the network's state on its easel.

    Attributes:
        t: number of the next frame.
        eps: noise of the last frame, None before the first.
        ease: how far the mouth is held at rest.
        life: what head and lids remember.
    """

    t: int
    eps: NDArray[np.float32] | None
    ease: float
    life: LifeState


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """How a session's frames are shown.

    Attributes:
        view: ``call``, the portrait at ``size``, or ``face``, the bare canonical square.
        size: width and height of the ``call`` view.
        badge: a mark in each frame that says it is made by an AI.
        still: whether head and lids are left as the portrait has them.
    """

    view: View
    size: tuple[int, int]
    badge: bool = False
    still: bool = False

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of the frames, pixels."""
        return self.size if self.view == "call" else (SIZE, SIZE)

    @property
    def lives(self) -> bool:
        """Whether head and lids move; the bare square, which metrics score, shows what the model says and no more."""
        return self.view == "call" and not self.still
