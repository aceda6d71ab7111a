"""A stream's part of the engine: whose face it shows, how far it is, and how a frame of it is ordered and painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamhead.face.badge import Badge
from streamhead.face.compositor import Compositor
from streamhead.face.portrait import Portrait
from streamhead.face.pose import Pose
from streamhead.model.checkpoint import Header
from streamhead.model.face_update import FaceUpdate
from streamhead.model.network import NetworkState, Reference
from streamhead.output.frame import Frame
from streamhead.stream.device import Device
from streamhead.stream.mouth_gate import MouthGate
from streamhead.stream.state import Stage

__all__ = ["Easel", "LocalEasel", "Order", "Row", "Sitter", "Studio", "Turn"]


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """One frame of a stream to be drawn, by value, and the frames before it that came too late to be.

    Attributes:
        steps: ``(rows, dims)`` features and ``(z,)`` noise of each frame; the last one is drawn. Of the others only the
            recurrent part runs.
        temperature: scale of the noise.
        ease: how far the mouth is held at rest.
        pose: how the head is held; None holds it still.
        next_pose: how it is going to be held in the frame after: its background can be made before its sound is there.
    """

    steps: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    temperature: float
    ease: float = 0.0
    pose: Pose | None = None
    next_pose: Pose | None = None


class Easel(Protocol):
    """A stream's place in an engine, wherever that runs."""

    @property
    def state(self) -> NetworkState:
        """Recurrent state, on the CPU; read and set it between frames only."""

    @state.setter
    def state(self, state: NetworkState) -> None: ...

    def close(self) -> None:
        """Free what the engine keeps for it, now and not when it is collected; no frame is drawn afterwards."""


class Sitter(Protocol):
    """A portrait as an engine knows it, encoded once."""

    def easel(self, stage: Stage) -> Easel:
        """A new stream of it."""


class Turn(Protocol):
    """A frame to be drawn for some stream, and what to do with it."""

    easel: Easel
    order: Order

    def finish(self, image: NDArray[np.uint8]) -> Frame | None:
        """Take the picture, if it is still wanted; in a thread of the engine's, and even if nobody waits any more."""


class Studio(Protocol):
    """What draws frames: an :class:`~streamhead.stream.engine.Engine` in this process or in one of its own."""

    header: Header

    @property
    def alive(self) -> bool:
        """Whether it can draw."""

    def sit(self, portrait: Portrait) -> Sitter:
        """Encode a portrait, once for all of its streams; blocks."""

    def advance(self, turns: Sequence[Turn]) -> list[Frame | None]:
        """One frame of each stream; blocks."""

    async def run(self, turn: Turn) -> Frame | None:
        """One frame, drawn together with those of other streams that wait."""

    def close(self) -> None:
        """Draw no more."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One stream's part of a batch: its portrait's reference and its recurrent state, each with a batch axis of one.

    ``drive`` is how strongly the portrait has to be driven.
    """

    reference: Reference
    state: NetworkState
    drive: float = 1.0


class LocalEasel:
    """An easel in this process.

    Args:
        device: where the network runs.
        row: the stream before its first frame.
        gate: of the portrait.
        portrait: whose face.
        stage: how it is shown.

    Raises:
        StreamheadError: a size that cannot be.
        PortraitError: the face lies outside the picture.
    """

    def __init__(self, device: Device, row: Row, gate: MouthGate, portrait: Portrait, stage: Stage) -> None:
        self.row = row
        self._device = device
        self._gate = gate
        self._compositor = Compositor(portrait, stage.size, stage.view, device.torch)
        self._badge = Badge(stage.frame_size) if stage.badge else None
        self._next_pose: Pose | None = None

    @property
    def state(self) -> NetworkState:
        """Recurrent state, on the CPU."""
        return self.row.state.to("cpu")

    @state.setter
    def state(self, state: NetworkState) -> None:
        self.row = replace(self.row, state=state.to(self._device.torch))

    def close(self) -> None:
        """Does nothing: all of it goes with the easel."""

    def paint(self, update: FaceUpdate, order: Order) -> NDArray[np.uint8]:
        """The finished frame ``(height, width, 3)`` RGB."""
        image = self._device.fetch(self._compositor.compose(self._gate.apply(update, order.ease), order.pose))
        if self._badge is not None:
            self._badge.stamp(image)
        self._next_pose = order.next_pose
        return image

    def prepare(self) -> None:
        """Begin the frame after the last one painted, while nothing else is to be done."""
        self._compositor.prepare(self._next_pose)
