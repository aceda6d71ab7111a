"""The engine in a process of its own, so that drawing and a busy event loop do not wait for one interpreter's lock.

Portraits and streams are set up over one pipe and drawn over another; what nobody holds any more is told over a third,
for a finaliser may run anywhere and must not wait for a lock. Pictures come back through shared memory: a stream has
one frame under way at a time, so one buffer each is enough. :mod:`streamhead.stream.engine_worker` is the other side.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from math import prod
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray

from streamhead.errors import StreamheadError
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import Header
from streamhead.model.network import NetworkState
from streamhead.output.frame import Frame
from streamhead.stream.easel import Turn
from streamhead.stream.engine_worker import CLOSED, work
from streamhead.stream.state import Stage

__all__ = ["EngineProcess"]

ENDED: Final = "the engine's process has ended; start again, and see whether the machine has memory to spare"
PATIENCE: Final = 5.0
"""Seconds that the process is given to end by itself."""


class EngineProcess:
    """An :class:`~streamhead.stream.engine.Engine` in another process. Close it.

    It is spawned, so a program that makes one needs ``if __name__ == "__main__":``.

    Args:
        weights: checkpoint file.
        preset: the preset it must be of.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        CheckpointError: the weights cannot be used.
        DeviceError: the device cannot be used.
    """

    def __init__(self, weights: Path, preset: str | None = None, device: str = "auto") -> None:
        context = get_context("spawn")
        pipes = [context.Pipe() for _ in range(3)]
        self._control, self._orders, self._forgotten = (mine for mine, _ in pipes)
        theirs = [other for _, other in pipes]
        self._process = context.Process(
            target=work, args=(*theirs, torch.get_num_threads(), weights, preset, device), daemon=True
        )
        self._process.start()
        for other in theirs:
            other.close()
        self._numbers = count()
        self._asking, self._sending = threading.Lock(), threading.Lock()
        self._waiting: dict[int, tuple[Turn, Future[Frame | None]]] = {}
        self.header: Header = self._answer()
        self._reader = threading.Thread(target=self._read, name="streamhead-frames", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it can draw."""
        return self._process.is_alive()

    def sit(self, portrait: Portrait) -> RemoteSitter:
        """Encode a portrait, once for all of its streams; blocks."""
        sitter = RemoteSitter(self, next(self._numbers), portrait)
        self.ask("sit", sitter.number, portrait)
        return sitter

    def ask(self, method: str, *arguments: Any) -> Any:
        """Have a method of the other side's :class:`~streamhead.stream.engine_worker.Place` called; blocks.

        Raises:
            StreamheadError: the process has ended. Whatever the method raises.
        """
        with self._asking:
            try:
                self._control.send_bytes(pickle.dumps((method, arguments)))
            except OSError as error:
                raise StreamheadError(ENDED) from error
            return self._answer()

    def _answer(self) -> Any:
        try:
            answer, error = pickle.loads(self._control.recv_bytes())
        except (EOFError, OSError) as gone:
            raise StreamheadError(ENDED) from gone
        if error is not None:
            raise error
        return answer

    def advance(self, turns: Sequence[Turn]) -> list[Frame | None]:
        """One frame of each stream; blocks."""
        return [waiter.result() for waiter in [self._order(turn) for turn in turns]]

    async def run(self, turn: Turn) -> Frame | None:
        """One frame, drawn together with those of other streams that wait.

        May be awaited in any event loop, one after another or at the same time.
        """
        return await asyncio.wrap_future(self._order(turn))

    def _order(self, turn: Turn) -> Future[Frame | None]:
        waiter: Future[Frame | None] = Future()
        waiter.set_running_or_notify_cancel()  # who leaves does not take the frame back
        number = next(self._numbers)
        order = pickle.dumps((number, cast(RemoteEasel, turn.easel).number, turn.order))
        with self._sending:
            self._waiting[number] = turn, waiter
            try:
                self._orders.send_bytes(order)
            except OSError:
                del self._waiting[number]
                waiter.set_exception(StreamheadError(ENDED))
        return waiter

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._settle(*pickle.loads(self._orders.recv_bytes()))
        with self._sending:
            waiting, self._waiting = self._waiting, {}
        for _, waiter in waiting.values():
            waiter.set_exception(StreamheadError(ENDED))

    def _settle(self, number: int, error: Exception | None) -> None:
        turn, waiter = self._waiting.pop(number)
        if error is not None:
            return waiter.set_exception(error)
        try:
            waiter.set_result(turn.finish(cast(RemoteEasel, turn.easel).picture()))
        except Exception as failure:  # who waits is told; the others' pictures go on coming
            waiter.set_exception(failure)

    def forget(self, number: int) -> None:
        """A portrait or a stream that nobody holds any more; may be called by a finaliser."""
        with suppress(OSError):  # the process has ended
            self._forgotten.send_bytes(str(number).encode())  # so short that it is written whole, without a lock

    def close(self) -> None:
        """End the process."""
        for pipe in (self._forgotten, self._control):
            pipe.close()
        with self._sending, suppress(OSError):
            self._orders.send_bytes(b"")
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
        self._reader.join(PATIENCE)


class RemoteSitter:
    """A portrait that was encoded in the other process."""

    def __init__(self, engine: EngineProcess, number: int, portrait: Portrait) -> None:
        self.number = number
        self._engine = engine
        self._gone = weakref.finalize(self, engine.forget, number)

    def easel(self, stage: Stage) -> RemoteEasel:
        """A new stream of it."""
        return RemoteEasel(self._engine, self.number, stage)


class RemoteEasel:
    """A stream's place in the other process, and the shared memory of its pictures."""

    def __init__(self, engine: EngineProcess, sitter: int, stage: Stage) -> None:
        width, height = stage.frame_size
        self._shape = height, width, 3
        self._engine = engine
        self.number = next(engine._numbers)
        self._memory = SharedMemory(create=True, size=prod(self._shape))
        self._gone = weakref.finalize(self, _free, engine, self.number, self._memory)
        engine.ask("open", self.number, sitter, stage, self._memory.name)

    @property
    def state(self) -> NetworkState:
        """Recurrent state, on the CPU."""
        state: NetworkState = self._engine.ask("state", self.number)
        return state

    @state.setter
    def state(self, state: NetworkState) -> None:
        self._engine.ask("restore", self.number, state)

    def close(self) -> None:
        """Free the other side's part and the shared memory, now and not when it is collected."""
        self._gone()

    def picture(self) -> NDArray[np.uint8]:
        """A copy of the picture that was drawn last."""
        if not self._gone.alive:
            raise StreamheadError(CLOSED)
        return np.ndarray(self._shape, np.uint8, self._memory.buf).copy()


def _free(engine: EngineProcess, number: int, memory: SharedMemory) -> None:
    engine.forget(number)
    memory.unlink()
    with suppress(BufferError):  # a picture is being copied; the memory goes with the last who looks at it
        memory.close()
