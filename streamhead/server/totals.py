"""What pipelines did, added up over all calls, past and present."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamhead.stream.pipeline import Pipeline
from streamhead.stream.stats import STAGES, Tally

__all__ = ["Totals"]


def _no_times() -> dict[str, Tally]:
    return {name: Tally() for name in ("delay", *STAGES)}


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over calls.

    Attributes:
        frames: handed over to senders.
        late: frames not drawn because they were late already.
        dropped: frames that a sender did not take in time.
        silence_s: seconds of silence fed where no sound came.
        times: delays and their parts, as :meth:`streamhead.stream.stats.Meter.tallies`.
    """

    frames: int = 0
    late: int = 0
    dropped: int = 0
    silence_s: float = 0.0
    times: dict[str, Tally] = field(default_factory=_no_times)

    @classmethod
    def of(cls, pipeline: Pipeline, dropped: int) -> Totals:
        """What one call did so far."""
        stats = pipeline.stats
        return cls(stats.frames, stats.late_frames, dropped, stats.silence_s, pipeline.tallies)

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.frames + other.frames,
            self.late + other.late,
            self.dropped + other.dropped,
            self.silence_s + other.silence_s,
            {name: tally + other.times[name] for name, tally in self.times.items()},
        )
