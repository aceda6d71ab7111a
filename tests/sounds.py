"""Sounds for tests."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter


def speech(seconds: float, rate: int, seed: int = 5) -> np.ndarray:
    """Something a voice detector takes for speech: a buzzing voice through moving formants, with a pause."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate)
    t = np.arange(count) / rate
    phase = np.cumsum(120 + 25 * np.sin(2 * np.pi * 1.3 * t)) / rate
    buzz = (np.mod(phase, 1.0) < 0.1) - 0.1 + 0.01 * rng.standard_normal(count)
    out = np.zeros(count)
    for low, high in ((300.0, 800.0), (1000.0, 2200.0)):
        if high < rate / 2:
            centre = low + (high - low) * 0.5
            r = np.exp(-np.pi * 120 / rate)
            out += lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * centre / rate), r * r], buzz)
    syllables = np.clip(np.sin(2 * np.pi * 2.1 * t) + 0.3, 0, 1)
    out *= syllables * ((t % 2.0) < 1.4)
    return (0.3 * out / max(np.abs(out).max(), 1e-9)).astype(np.float32)
