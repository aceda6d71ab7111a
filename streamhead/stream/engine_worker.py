"""What the engine's own process runs: see :mod:`streamhead.stream.engine_process`, the side that asks."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
import torch

from streamhead.errors import StreamheadError
from streamhead.face.portrait import Portrait
from streamhead.model.network import NetworkState
from streamhead.stream.easel import LocalEasel, Order
from streamhead.stream.engine import Engine, LocalSitter
from streamhead.stream.state import Stage

__all__ = ["CLOSED", "Place", "work"]

CLOSED: Final = "this session is closed and shows nothing more; open a new one"


class Place:
    """The other side: the engine, and what it keeps for those who ask."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sitters: dict[int, LocalSitter] = {}
        self._easels: dict[int, tuple[LocalEasel, SharedMemory]] = {}

    def sit(self, number: int, portrait: Portrait) -> None:
        """Encode a portrait."""
        self._sitters[number] = self.engine.sit(portrait)

    def open(self, number: int, sitter: int, stage: Stage, memory: str) -> None:
        """Set up a stream, whose pictures go to a shared memory."""
        self._easels[number] = self._sitters[sitter].easel(stage), SharedMemory(memory)

    def state(self, number: int) -> NetworkState:
        """Recurrent state of a stream, on the CPU."""
        return self._place_of(number)[0].state

    def restore(self, number: int, state: NetworkState) -> None:
        """Put a stream back into a state."""
        self._place_of(number)[0].state = state

    def _place_of(self, number: int) -> tuple[LocalEasel, SharedMemory]:
        if number not in self._easels:
            raise StreamheadError(CLOSED)
        return self._easels[number]

    def forget(self, number: int) -> None:
        """Drop a portrait or a stream."""
        self._sitters.pop(number, None)
        _, memory = self._easels.pop(number, (None, None))
        if memory is not None:
            memory.close()

    def prepare(self, number: int) -> None:
        """Begin a stream's next frame before it is ordered."""
        if number in self._easels:
            self._easels[number][0].prepare()

    def draw(self, batch: Sequence[tuple[int, int, Order]], replies: Connection) -> None:
        """Draw a frame of each stream, and tell of each as soon as it is done.

        A stream that cannot be drawn, such as one that was closed after it had ordered, is told so; the others are
        drawn all the same.
        """
        told = 0
        try:
            places = [self._place_of(easel) for _, easel, _ in batch]
            images = self.engine.draw([easel for easel, _ in places], [order for *_, order in batch])
            for (number, *_), (_, memory), image in zip(batch, places, images, strict=True):
                np.ndarray(image.shape, np.uint8, memory.buf)[...] = image
                replies.send_bytes(pickle.dumps((number, None)))
                told += 1
        except Exception as error:
            if len(batch) == 1:
                return replies.send_bytes(pickle.dumps((batch[0][0], error)))
            for one in batch[told:]:
                self.draw([one], replies)


def work(
    control: Connection,
    orders: Connection,
    forgotten: Connection,
    threads: int,
    weights: Path,
    preset: str | None,
    device: str,
) -> None:
    """What the process does, until the other side closes its pipes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both, and the other side says when it is over
    torch.set_num_threads(threads)
    try:
        place = Place(Engine(weights, preset, device))
    except Exception as error:
        return control.send_bytes(pickle.dumps((None, error)))
    gc.collect()
    gc.freeze()
    control.send_bytes(pickle.dumps((place.engine.header, None)))
    # Orders, what is to be forgotten, None at the end: taken by one thread, for nothing may go while it is drawn.
    queue: SimpleQueue[tuple[int, int, Order] | int | None] = SimpleQueue()

    def ending_with_the_pipe(job: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with suppress(EOFError, OSError):
                job()

        return run

    @ending_with_the_pipe
    def answer() -> None:
        while True:
            method, arguments = pickle.loads(control.recv_bytes())
            try:
                reply: tuple[Any, Exception | None] = getattr(place, method)(*arguments), None
            except Exception as error:
                reply = None, error
            control.send_bytes(pickle.dumps(reply))

    @ending_with_the_pipe
    def forget() -> None:
        while True:
            queue.put(int(forgotten.recv_bytes()))

    def listen() -> None:
        # Always taken at once, so that the other side's event loop never waits for room in the pipe.
        while True:
            try:
                data = orders.recv_bytes()
            except (EOFError, OSError):
                data = b""
            queue.put(pickle.loads(data) if data else None)
            if not data:
                return

    for job in (answer, forget, listen):
        threading.Thread(target=job, daemon=True).start()
    while True:
        batch = [queue.get()]
        while not queue.empty():
            batch.append(queue.get())
        if None in batch:
            # Threads that wait for the other side, and torch's own, would make an end of the usual kind a fall.
            os._exit(0)
        for number in batch:
            if isinstance(number, int):
                place.forget(number)
        if ordered := [order for order in batch if isinstance(order, tuple)]:
            place.draw(ordered, orders)
        for _, easel, _ in ordered:
            if not queue.empty():
                break
            place.prepare(easel)
