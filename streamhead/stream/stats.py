"""What a running pipeline tells about itself, in memory that does not grow with the hours."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["BUCKETS", "STAGES", "Meter", "Spread", "Stats", "Tally"]

STAGES: Final = ("capture", "wait", "compute", "hold", "sink")
"""Where a frame's delay goes, in order: sound coming in, waiting for its turn, network and picture, being held until
the sound of the same instant leaves too, handing over."""

WINDOW: Final = 2.0
"""Seconds over which the current rate is measured."""
BIN: Final = 0.25
"""Resolution of a percentile, ms."""
LONGEST: Final = 4000.0
"""Longer times, ms, count as this long in percentiles."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a time is distributed over all frames, ms; zeros before the first."""

    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class Stats:
    """A pipeline's figures at one moment.

    Attributes:
        seconds: from the first frame handed over to the last.
        frames: handed over.
        fps: frames a second just now.
        mean_fps: frames a second over the whole run.
        delay_ms: handed over minus captured, the first sample of a frame's interval being what counts.
        delay_now_ms: median of the last seconds.
        delay_growth_ms_per_minute: slope of a straight line through all delays.
        stages_ms: the delay's parts by the names of :data:`STAGES`; they add up to it.
        late_frames: not drawn because they were late already; their sound still moved the face on.
        silence_s: seconds of silence fed because the source gave nothing.
        late_samples: not shown because silence stood in for them already.
        overruns: chunks lost in the source because nobody took them in time.
    """

    seconds: float
    frames: int
    fps: float
    mean_fps: float
    delay_ms: Spread
    delay_now_ms: float
    delay_growth_ms_per_minute: float
    stages_ms: dict[str, Spread]
    late_frames: int
    silence_s: float
    late_samples: int
    overruns: int


BUCKETS: Final = (5, 10, 20, 40, 60, 80, 100, 120, 150, 200, 300, 400, 600, 1000, 2000)
"""Upper edges of a :class:`Tally`'s buckets, ms."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many times were how long; tallies of several pipelines add up.

    Attributes:
        counts: of times up to each edge of :data:`BUCKETS`, and last of all times.
        total_ms: their sum.
    """

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    total_ms: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        counts = tuple(mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        return Tally(counts, self.total_ms + other.total_ms)


class _Histogram:
    """Times in ms, counted in bins."""

    def __init__(self) -> None:
        self._bins = np.zeros(round(LONGEST / BIN) + 1, np.int64)
        self._sum = 0.0
        self._max = 0.0

    def add(self, value: float) -> None:
        self._bins[round(min(max(value, 0.0), LONGEST) / BIN)] += 1
        self._sum += value
        self._max = max(self._max, value)

    def spread(self) -> Spread:
        below = np.cumsum(self._bins)
        count = int(below[-1])
        if not count:
            return Spread()
        p50, p95, p99 = (float(np.searchsorted(below, share * count) * BIN) for share in (0.50, 0.95, 0.99))
        return Spread(round(self._sum / count, 2), p50, p95, p99, round(self._max, 2))

    def tally(self) -> Tally:
        below = np.cumsum(self._bins)
        edges = (*(round(edge / BIN) for edge in BUCKETS), len(below) - 1)
        return Tally(tuple(int(below[edge]) for edge in edges), self._sum)


class Meter:
    """Gathers the figures of :class:`Stats`."""

    def __init__(self) -> None:
        self.late_frames = 0
        self.silence_s = 0.0
        self.late_samples = 0
        self._frames = 0
        self._first = self._last = 0.0
        self._delay = _Histogram()
        self._stages = {name: _Histogram() for name in STAGES}
        self._recent: deque[tuple[float, float]] = deque(maxlen=256)  # when handed over, delay
        self._moments = np.zeros(5)  # sums of 1, x, y, xx, xy: the line through all delays

    def frame(self, captured: float, ready: float, started: float, computed: float, held: float, handed: float) -> None:
        """A frame went out; its instants in seconds, each the end of a stage."""
        if not self._frames:
            self._first = handed
        self._frames += 1
        self._last = handed
        delay = 1e3 * (handed - captured)
        self._delay.add(delay)
        instants = (captured, ready, started, computed, held, handed)
        for name, begin, end in zip(STAGES, instants[:-1], instants[1:], strict=True):
            self._stages[name].add(1e3 * (end - begin))
        self._recent.append((handed, delay))
        x = (handed - self._first) / 60.0
        self._moments += (1.0, x, delay, x * x, x * delay)

    def tallies(self) -> dict[str, Tally]:
        """All times so far: ``delay``, and its parts by the names of :data:`STAGES`."""
        return {"delay": self._delay.tally(), **{name: stage.tally() for name, stage in self._stages.items()}}

    def stats(self, now: float, overruns: int = 0) -> Stats:
        """The figures up to ``now``."""
        recent = [(instant, delay) for instant, delay in self._recent if instant > now - WINDOW]
        span = recent[-1][0] - recent[0][0] if recent else 0.0
        seconds = self._last - self._first
        count, x, y, xx, xy = self._moments
        level = count * xx - x * x
        return Stats(
            seconds=round(seconds, 3),
            frames=self._frames,
            fps=round((len(recent) - 1) / span, 2) if span > 0 else 0.0,
            mean_fps=round((self._frames - 1) / seconds, 3) if seconds > 0 else 0.0,
            delay_ms=self._delay.spread(),
            delay_now_ms=round(float(np.median([delay for _, delay in recent])), 2) if recent else 0.0,
            delay_growth_ms_per_minute=round(float((count * xy - x * y) / level), 3) if level > 0 else 0.0,
            stages_ms={name: stage.spread() for name, stage in self._stages.items()},
            late_frames=self.late_frames,
            silence_s=round(self.silence_s, 3),
            late_samples=self.late_samples,
            overruns=overruns,
        )
