"""Slow level normalisation: a quiet microphone must not get a shut mouth, nor a loud one a shouting face."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["TARGET_DB", "LevelNormaliser", "LevelState"]

TARGET_DB: Final = -26.0
"""RMS level that speech is brought to, dB of full scale."""
LIMIT_DB: Final = 30.0
"""Largest gain either way."""
MEMORY: Final = 75
"""Hops of speech over which the level is averaged: 3 s."""
DOUBT: Final = 2.0
"""Hops of speech after which half of the gain is given: the first ones, an onset, say little about the level."""


@dataclass(frozen=True, slots=True)
class LevelState:
    """What is known of the talker's level.

    Attributes:
        hops: of speech heard so far, :data:`MEMORY` at most.
        power: their mean square.
    """

    hops: int = 0
    power: float = 0.0


class LevelNormaliser:
    """The kernel of level normalisation: 640 samples -> gain. Holds no state."""

    def init_state(self) -> LevelState:
        """Nothing heard yet."""
        return LevelState()

    def step(self, hop: NDArray[np.float32], speech: bool, state: LevelState) -> tuple[float, LevelState]:
        """Take the next 640 samples.

        The level is the mean square of all speech so far, later of about the last 3 s of it; silence changes nothing.

        Args:
            hop: ``(640,)`` float32.
            speech: what the voice detector says of it.
            state: from :meth:`init_state` or the step before.

        Returns:
            The gain in dB, within +-30, and the state after the hop.
        """
        if speech:
            hops = min(state.hops + 1, MEMORY)
            power = float(np.var(hop, dtype=np.float64))
            state = LevelState(hops, state.power + (power - state.power) / hops)
        return self.gain_db(state), state

    def gain_db(self, state: LevelState) -> float:
        """The gain in dB that a state calls for; 0 before any speech."""
        trust = state.hops / (state.hops + DOUBT)
        wanted = TARGET_DB - 10.0 * log10(max(state.power, 1e-12))
        return trust * max(-LIMIT_DB, min(LIMIT_DB, wanted))
