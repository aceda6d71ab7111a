"""One model, many sessions: a batched step over whichever streams have a frame ready.

One session is the one-row case. Torch runs in the engine's own single thread, never on the event loop and never in
the default executor (aiortc encodes there).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from operator import is_
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamhead.audio.features import feature_spec
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import load_network
from streamhead.model.face_update import FaceUpdate
from streamhead.model.layers import fold_batch_norm
from streamhead.model.network import Network, NetworkState, Reference, TalkingHeadNetwork
from streamhead.output.frame import Frame
from streamhead.stream.device import Device
from streamhead.stream.drive import DriveMeter
from streamhead.stream.easel import LocalEasel, Order, Row, Turn
from streamhead.stream.mouth_gate import MouthGate
from streamhead.stream.state import Stage

__all__ = ["Engine", "LocalSitter", "join", "split"]

T = TypeVar("T")

SETTLE_FRAMES: Final = 25
"""Frames of silence after which a face is taken to be at rest."""

BATCHES: Final = 8
"""Batches of portraits that are kept joined."""


def join(parts: Sequence[T]) -> T:
    """Concatenate dataclasses of tensors along the batch axis."""
    whole: T = parts[0] if len(parts) == 1 else _map(lambda *tensors: torch.cat(tensors), *parts)
    return whole


def split(whole: T, index: int) -> T:
    """One row of a dataclass of tensors, its batch axis kept."""
    row: T = _map(lambda tensor: tensor[index : index + 1], whole)
    return row


def _map(function: Any, *parts: Any) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return function(*parts)
    if isinstance(first, tuple):
        return tuple(_map(function, *items) for items in zip(*parts, strict=True))
    assert is_dataclass(first) and not isinstance(first, type)
    return type(first)(*(_map(function, *(getattr(part, f.name) for part in parts)) for f in fields(first)))


class LocalSitter:
    """A portrait that was encoded in this process."""

    def __init__(self, engine: Engine, portrait: Portrait, reference: Reference, gate: MouthGate, drive: float) -> None:
        self._engine = engine
        self._portrait = portrait
        self._reference = reference
        self._gate = gate
        self._drive = drive

    def easel(self, stage: Stage) -> LocalEasel:
        """A new stream of it."""
        row = Row(self._reference, self._engine.network.initial_state(self._reference), self._drive)
        return LocalEasel(self._engine.device, row, self._gate, self._portrait, stage)


class Engine:
    """Runs a network's steps for any number of streams.

    Args:
        weights: checkpoint file.
        preset: the preset it must be of.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        CheckpointError: the weights cannot be used.
        DeviceError: the device cannot be used.
    """

    def __init__(self, weights: Path, preset: str | None = None, device: str = "auto") -> None:
        self.device = Device(device)
        network, self.header = load_network(weights, preset)
        fold_batch_norm(network)
        self.network: Network = network.to(self.device.torch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.requires_grad_(False)
        self.network.draw_in(self.device.drawing_dtype)
        natural = self.header.natural_opening
        self._meter = (
            DriveMeter(self.network, natural) if natural and isinstance(self.network, TalkingHeadNetwork) else None
        )
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="streamhead-engine")
        self._waiting: list[tuple[Turn, Future[Frame | None]]] = []
        self._batches: list[tuple[Sequence[Reference], Reference]] = []
        self._busy = False
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether it can draw."""
        return True

    @torch.inference_mode()
    def sit(self, portrait: Portrait) -> LocalSitter:
        """Encode a portrait, once for all of its streams."""
        reference = self.reference(portrait)
        rest = self.rest(reference)
        # A deaf model is to learn nothing of the sound, and the gate would tell it when somebody speaks.
        gate = MouthGate.open(rest) if self.network.config.deaf else MouthGate.of(rest)
        drive = 1.0 if self._meter is None else self._meter.drive(reference)
        return LocalSitter(self, portrait, reference, gate, drive)

    @torch.inference_mode()
    def reference(self, portrait: Portrait) -> Reference:
        """What the network knows of a portrait."""
        square = torch.from_numpy(np.ascontiguousarray(portrait.square())).to(self.device.torch)
        return self.network.encode_reference(square.permute(2, 0, 1)[None].float() / 255.0)

    @torch.inference_mode()
    def rest(self, reference: Reference) -> FaceUpdate:
        """What the face of a portrait is after a second of silence at temperature 0."""
        config = self.network.config
        silence = feature_spec(config.features, config.look_ahead).silence_patch()
        order = Order([(silence, np.zeros(config.z_size, np.float32))] * SETTLE_FRAMES, 0.0)
        ((_, update),) = self.step([Row(reference, self.network.initial_state(reference))], [order])
        return update

    def advance(self, turns: Sequence[Turn]) -> list[Frame | None]:
        """One frame of each stream, drawn and composed; blocks."""
        images = self.draw([cast(LocalEasel, turn.easel) for turn in turns], [turn.order for turn in turns])
        return [turn.finish(image) for turn, image in zip(turns, images, strict=True)]

    def draw(self, easels: Sequence[LocalEasel], orders: Sequence[Order]) -> Iterator[NDArray[np.uint8]]:
        """Each stream's frame, ``(height, width, 3)`` RGB, one after the other; blocks."""
        drawn = self.step([easel.row for easel in easels], orders)
        for easel, order, (row, update) in zip(easels, orders, drawn, strict=True):
            easel.row = row
            yield easel.paint(update, order)

    def _work_ahead(self, easels: Sequence[LocalEasel]) -> None:
        """Begin the streams' next frames before their sound is there, as long as no stream waits."""
        for easel in easels:
            if self._busy or self._waiting:
                break
            easel.prepare()

    @torch.inference_mode()
    def step(self, rows: Sequence[Row], orders: Sequence[Order]) -> list[tuple[Row, FaceUpdate]]:
        """Each stream's frame: the rows after it, and the updates to be drawn."""
        states = [row.state for row in rows]
        for behind in range(max(len(order.steps) for order in orders) - 1, 0, -1):
            late = [index for index, order in enumerate(orders) if len(order.steps) > behind]
            state, _ = self._step(
                [rows[index] for index in late],
                [orders[index] for index in late],
                [states[index] for index in late],
                behind,
            )
            for place, index in enumerate(late):
                states[index] = split(state, place)
        state, update = self._step(rows, orders, states, 0)
        assert update is not None
        return [(replace(row, state=split(state, index)), update.row(index)) for index, row in enumerate(rows)]

    def _step(
        self, rows: Sequence[Row], orders: Sequence[Order], states: Sequence[NetworkState], behind: int
    ) -> tuple[NetworkState, FaceUpdate | None]:
        """One frame of each stream, so many before the one to be drawn."""
        network = self.network
        patches, noises = zip(*(order.steps[-1 - behind] for order in orders), strict=True)
        heat = torch.tensor([[order.temperature] for order in orders], device=self.device.torch)
        drive = torch.tensor([[row.drive] for row in rows], device=self.device.torch)
        patch, eps = self.device.send(np.stack(patches)), self.device.send(np.stack(noises))
        code, _, state = network.step(patch, eps, heat, join(states), drive)
        if behind and not network.feeds_back:
            return state, None
        reference = self._joined([row.reference for row in rows])
        update = network.decode(code, reference)
        return (network.feed_back(update, reference, state) if network.feeds_back else state), update

    def _joined(self, references: Sequence[Reference]) -> Reference:
        """The references as one batch; the last few are kept, for they are large and the same streams come again."""
        if len(references) == 1:
            return references[0]
        for index, (parts, whole) in enumerate(self._batches):
            if len(parts) == len(references) and all(map(is_, parts, references)):
                self._batches.append(self._batches.pop(index))
                return whole
        whole = join(references)
        self._batches.append((references, whole))
        del self._batches[:-BATCHES]
        return whole

    async def run(self, turn: Turn) -> Frame | None:
        """Like :meth:`advance`, in the engine's thread, together with the turns of other streams that wait for it.

        May be awaited in any event loop, one after another or at the same time.
        """
        waiter: Future[Frame | None] = Future()
        waiter.set_running_or_notify_cancel()  # who leaves does not take the frame back
        with self._lock:
            self._waiting.append((turn, waiter))
        self._start()
        return await asyncio.wrap_future(waiter)

    def _start(self) -> None:
        # No tick to wait for: whatever has gathered while the thread was busy is the next batch.
        with self._lock:
            if self._busy or not self._waiting:
                return
            batch, self._waiting = self._waiting, []
            self._busy = True
        running = self._executor.submit(self.advance, [turn for turn, _ in batch])
        running.add_done_callback(lambda done: self._finish(done, batch))

    def _finish(self, done: Future[list[Frame | None]], batch: Sequence[tuple[Turn, Future[Frame | None]]]) -> None:
        with self._lock:
            self._busy = False
        error = CancelledError() if done.cancelled() else done.exception()
        for index, (_, waiter) in enumerate(batch):
            if error is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(done.result()[index])
        if not done.cancelled():
            self._start()
            if error is None:
                with suppress(RuntimeError):  # closed meanwhile
                    self._executor.submit(self._work_ahead, [cast(LocalEasel, turn.easel) for turn, _ in batch])

    def close(self) -> None:
        """Let the engine's thread end."""
        self._executor.shutdown(wait=False, cancel_futures=True)
