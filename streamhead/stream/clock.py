"""Wall time for streams: when each sample was captured, and schedules that do not drift.

All instants are seconds of :func:`time.monotonic`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Now", "Pacer", "Timeline"]

Now = Callable[[], float]

SLACK: Final = 1.0
"""Seconds a schedule may be behind before it starts afresh instead of catching up."""


class Timeline:
    """At which instant each sample of a stream was captured.

    Args:
        rate: samples a second.
        start: instant of sample 0, until sound says otherwise.
    """

    def __init__(self, rate: int, start: float) -> None:
        self.rate = rate
        self.position = 0
        """Samples so far."""
        self.edge = start
        """Instant at which the last of them ended."""
        self._pieces: deque[tuple[int, float]] = deque([(0, start)])  # first sample of each piece, and its instant

    def extend(self, count: int, captured_at: float) -> None:
        """Add ``count`` samples, the first of them captured at ``captured_at``."""
        self._pieces.append((self.position, captured_at))
        self.position += count
        self.edge = captured_at + count / self.rate

    def captured_at(self, position: int) -> float:
        """The instant of a sample; beyond the last one, the instant at which it is to be expected."""
        start, instant = self._pieces[0]
        for piece in self._pieces:
            if piece[0] > position:
                break
            start, instant = piece
        return instant + (position - start) / self.rate

    def forget(self, position: int) -> None:
        """Samples before ``position`` will not be asked for again."""
        while len(self._pieces) > 1 and self._pieces[1][0] <= position:
            self._pieces.popleft()


class Pacer:
    """A schedule in real time: steps of any length, one after the other, without drift.

    Args:
        now: the clock.
    """

    def __init__(self, now: Now = time.monotonic) -> None:
        self._now = now
        self._due = now()

    def restart(self) -> None:
        """After an idle time: the next step begins now, unless the last one is still under way."""
        self._due = max(self._due, self._now())

    async def step(self, seconds: float) -> float:
        """Wait until the next ``seconds`` of the schedule are over.

        A step that is late does not wait, so that the schedule catches up; more than a second behind (the machine
        slept, the process was stopped) it starts afresh.

        Returns:
            The instant at which the step began.
        """
        if self._now() - self._due > SLACK:
            self.restart()
        began = self._due
        self._due += seconds
        await asyncio.sleep(max(0.0, self._due - self._now()))
        return began
