"""What a face does beside speaking: its head is never quite still, and it blinks.

All of it is drawn from the session's seed and the number of the frame, never from a clock: however a stream is cut,
the same frames come out. The sway is a pure function of both, bounded and about zero, so no stream ever wanders.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, floor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamhead.face.pose import Pose
from streamhead.timebase import FPS

__all__ = ["Life", "LifeState"]

_SWAY, _BLINK = 1, 2  # where in the counter their draws lie; the sampling noise has 0

_LAYERS: Final = (
    # seconds from one posture to the next; how far each part goes; share of it that is left in silence
    (3.4, np.array((0.7, 0.8, 0.6, 1.5, 1.0)), 0.7),
    (1.15, np.array((0.4, 0.4, 0.4, 0.9, 0.9)), 0.25),
)
"""The parts are those of a pose: roll in degrees, shift and turn in canonical pixels."""
_JITTER: Final = 0.35
"""How far a posture's moment is moved about, in shares of the time between two."""
_RISE: Final = 2.0
"""Seconds in which a stream leaves the portrait's own pose."""
_LIVELIER: Final = 0.06
"""Share of the way to the liveliness of speech, or of silence, that a frame goes: half a second or so."""

_APART: Final = 1.0
"""Seconds between two blinks at least; beyond, they come by chance."""
_INTERVALS: Final = {True: 3.4, False: 5.5}
"""Mean seconds from blink to blink, in speech and in silence: 18 and 11 a minute (people: 15-20, and fewer)."""
_SHUTTING, _SHUT, _OPENING = 0.09, 0.04, 0.15
"""Seconds each part of a blink takes: lids fall faster than they rise."""


@dataclass(frozen=True, slots=True)
class LifeState:
    """What must be remembered from one frame to the next.

    Attributes:
        lively: 0 in silence, 1 in speech, and the way between them.
        blink: frames since the last blink began.
    """

    lively: float = 0.0
    blink: int = FPS


def _smooth(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


def _generator(seed: int, kind: int, part: int, number: int) -> np.random.Generator:
    counter = np.array([0, part, number, kind], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed % 2**128, counter=counter))


@lru_cache(maxsize=1024)
def _posture(seed: int, layer: int, number: int) -> NDArray[np.float64]:
    """Moments and values of one posture, ``(2, 5)`` in [0, 1); some thirty frames ask for the same one."""
    return _generator(seed, _SWAY, layer, number).random((2, 5))


@dataclass(frozen=True)
class Life:
    """The life of one session.

    Attributes:
        seed: the session's.
    """

    seed: int

    def step(self, t: int, state: LifeState, speech: bool) -> LifeState:
        """The state at frame t from the one before; ``speech``: whether the frame is heard to be."""
        lively = state.lively + _LIVELIER * (float(speech) - state.lively)
        begins = False
        if state.blink + 1 >= _APART * FPS:
            # A constant chance a frame makes the waiting time exponential: as irregular as can be.
            chance = 1.0 - exp(-1.0 / ((_INTERVALS[speech] - _APART) * FPS))
            begins = _generator(self.seed, _BLINK, 0, t).random() < chance
        return LifeState(lively, 0 if begins else state.blink + 1)

    def pose(self, t: int, state: LifeState) -> Pose:
        """How the head is held in frame t, by what was heard before it: ``state`` is the one at frame t - 1."""
        parts = np.zeros(5)
        for layer, (seconds, reach, quiet) in enumerate(_LAYERS):
            parts += reach * (quiet + (1.0 - quiet) * state.lively) * self._sway(layer, t / FPS / seconds)
        roll, x, y, turn, nod = (parts * _smooth(t / FPS / _RISE)).tolist()
        return Pose(roll, (x, y), (turn, nod), self._closure(t, state))

    def _sway(self, layer: int, time: float) -> NDArray[np.float64]:
        """Five values in [-1, 1]: from posture to posture, each part at moments of its own."""
        out = np.empty(5)
        first = floor(time) - 2
        draws = np.stack([_posture(self.seed, layer, number + 2) for number in range(first, first + 4)])
        for part in range(5):
            moments = first + np.arange(4) + part / 5 + _JITTER * draws[:, 0, part]
            before = int(np.searchsorted(moments, time, "right")) - 1
            way = _smooth((time - moments[before]) / (moments[before + 1] - moments[before]))
            low, high = draws[before : before + 2, 1, part]
            out[part] = 2.0 * (low + (high - low) * way) - 1.0
        return out

    def _closure(self, t: int, state: LifeState) -> float:
        """How far the lids are shut."""
        if state.blink >= _APART * FPS:
            return 0.0
        pace, depth = _generator(self.seed, _BLINK, 1, t - state.blink + FPS).random(2)
        # Half a frame in: the first frame of a blink already shows it.
        age = (state.blink + 0.5) / FPS / (0.85 + 0.4 * pace)
        shut = _smooth(age / _SHUTTING) * (1.0 - _smooth((age - _SHUTTING - _SHUT) / _OPENING))
        return float(shut * (0.92 + 0.08 * depth))
