"""One model, many sessions: a batched step over whichever streams have a frame ready.

One session is the one-row case. Torch runs in the engine's own single thread, never on the event loop and never in
the default executor (aiortc encodes there).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from operator import is_
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamhead.model.checkpoint import load_network
from streamhead.model.face_update import FaceUpdate
from streamhead.model.layers import fold_batch_norm
from streamhead.model.network import Network, NetworkState, Reference
from streamhead.output.frame import Frame
from streamhead.stream.device import Device

__all__ = ["Engine", "Job", "Row", "Turn", "join", "split"]

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


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One stream's part of a step: its portrait's reference and its recurrent state, each with a batch axis of one."""

    reference: Reference
    state: NetworkState


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One frame of one stream, to be drawn, and the frames before it that came too late to be.

    Attributes:
        row: the stream before them.
        steps: ``(rows, dims)`` features and ``(z,)`` noise of each frame; the last one is drawn. Of the others only the
            recurrent part runs.
        temperature: scale of the noise.
    """

    row: Row
    steps: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    temperature: float


class Turn(Protocol):
    """A frame to be computed for some stream, and what to do with it; both run in the engine's thread."""

    job: Job

    def finish(self, row: Row, update: FaceUpdate) -> Frame | None:
        """Take the stream's next state and compose the frame, if it is still wanted."""


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
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="streamhead-engine")
        self._waiting: list[tuple[Turn, asyncio.Future[Frame | None]]] = []
        self._batches: list[tuple[Sequence[Reference], Reference]] = []
        self._busy = False
        self._lock = threading.Lock()

    @torch.inference_mode()
    def reference(self, square: NDArray[np.uint8]) -> Reference:
        """Encode a canonical square ``(128, 128, 3)``, once per portrait."""
        pixels = (
            torch.from_numpy(np.ascontiguousarray(square)).to(self.device.torch).permute(2, 0, 1)[None].float() / 255.0
        )
        return self.network.encode_reference(pixels)

    @torch.inference_mode()
    def rest(self, reference: Reference, silence: NDArray[np.float32]) -> FaceUpdate:
        """What the face of a portrait is after a second of silence at temperature 0."""
        row = Row(reference, self.network.initial_state(reference))
        zeros = np.zeros(self.network.config.z_size, np.float32)
        for _ in range(SETTLE_FRAMES):
            ((row, update),) = self.step([Job(row, [(silence, zeros)], 0.0)])
        return update

    def advance(self, turns: Sequence[Turn]) -> list[Frame | None]:
        """One frame of each stream, drawn and composed; blocks."""
        results = self.step([turn.job for turn in turns])
        return [turn.finish(row, update) for turn, (row, update) in zip(turns, results, strict=True)]

    @torch.inference_mode()
    def step(self, jobs: Sequence[Job]) -> list[tuple[Row, FaceUpdate]]:
        """Each stream's frame: the rows after it, and the updates to be drawn."""
        states = [job.row.state for job in jobs]
        for behind in range(max(len(job.steps) for job in jobs) - 1, 0, -1):
            late = [index for index, job in enumerate(jobs) if len(job.steps) > behind]
            state, _ = self._step([jobs[index] for index in late], [states[index] for index in late], behind)
            for place, index in enumerate(late):
                states[index] = split(state, place)
        state, update = self._step(jobs, states, 0)
        assert update is not None
        return [(Row(job.row.reference, split(state, index)), update.row(index)) for index, job in enumerate(jobs)]

    def _step(
        self, jobs: Sequence[Job], states: Sequence[NetworkState], behind: int
    ) -> tuple[NetworkState, FaceUpdate | None]:
        """One frame of each stream, so many before the one to be drawn."""
        network = self.network
        patches, noises = zip(*(job.steps[-1 - behind] for job in jobs), strict=True)
        heat = torch.tensor([[job.temperature] for job in jobs], device=self.device.torch)
        patch, eps = self.device.send(np.stack(patches)), self.device.send(np.stack(noises))
        code, _, state = network.step(patch, eps, heat, join(states))
        if behind and not network.feeds_back:
            return state, None
        reference = self._joined([job.row.reference for job in jobs])
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
        waiter: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((turn, waiter))
        self._start()
        return await waiter

    def _start(self) -> None:
        # No tick to wait for: whatever has gathered while the thread was busy is the next batch.
        with self._lock:
            if self._busy or not self._waiting:
                return
            batch, self._waiting = self._waiting, []
            self._busy = True
        running = self._executor.submit(self.advance, [turn for turn, _ in batch])
        running.add_done_callback(lambda done: self._finish(done, [waiter for _, waiter in batch]))

    def _finish(self, done: Future[list[Frame | None]], waiters: list[asyncio.Future[Frame | None]]) -> None:
        with self._lock:
            self._busy = False
        error = None if done.cancelled() else done.exception()
        for index, waiter in enumerate(waiters):
            frame = None if done.cancelled() or error is not None else done.result()[index]
            with suppress(RuntimeError):  # its event loop was closed meanwhile
                waiter.get_loop().call_soon_threadsafe(_settle, waiter, frame, error, done.cancelled())
        if not done.cancelled():
            self._start()

    def close(self) -> None:
        """Let the engine's thread end."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _settle(
    waiter: asyncio.Future[Frame | None], frame: Frame | None, error: BaseException | None, cancelled: bool
) -> None:
    if waiter.done():
        return
    if cancelled:
        waiter.cancel()
    elif error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(frame)
