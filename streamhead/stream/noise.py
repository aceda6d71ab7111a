"""Temporally coherent noise from a counter: two integers to save, no order dependence in what drives it.

``eps_t = rho eps_{t-1} + sqrt(1 - rho^2) eta_t`` keeps the exact marginal N(0, I) at every t, so every
``z_t = mu_t + sigma_t * temperature * eps_t`` keeps q(z|a_t), while neighbouring frames agree: diversity shows as
expression and not as flicker. ``rho = 0`` is the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CoherentNoise"]


@dataclass(frozen=True)
class CoherentNoise:
    """The noise of one session.

    Attributes:
        seed: any integer from 0 up; the same seed gives the same take.
        coherence: rho in [0, 1).
        size: length of z.
    """

    seed: int
    coherence: float
    size: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.coherence < 1.0:
            raise ValueError(f"coherence must be in [0, 1), not {self.coherence}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, not {self.seed}")

    def innovation(self, t: int) -> NDArray[np.float32]:
        """eta_t ``(z,)``: a pure function of (seed, t)."""
        # The draws of one t advance the counter's lowest word; t sits two words higher, so none ever meet.
        bits = np.random.Philox(key=self.seed % 2**128, counter=np.array([0, 0, t, 0], np.uint64))
        return np.random.Generator(bits).standard_normal(self.size, np.float32)

    def step(self, t: int, before: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """eps_t ``(z,)`` from eps_{t-1}; ``before`` is None at the start of a stream, where eps is eta itself."""
        eta = self.innovation(t)
        if before is None:
            return eta
        rho = np.float32(self.coherence)
        return (rho * before + np.float32(np.sqrt(1.0 - self.coherence**2)) * eta).astype(np.float32)
