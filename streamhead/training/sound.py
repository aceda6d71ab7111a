"""Sound augmentation: any voice, any room, any microphone. All drawn from the generator given, nothing global."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from streamhead.audio.resample import resample
from streamhead.timebase import SAMPLE_RATE

__all__ = ["Voice", "draw_voice", "record"]

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Voice:
    """How the talker's voice is changed: pitch and formants by ``tempo``, formants alone by ``vtln``."""

    tempo: float = 1.0
    vtln: float = 1.0


def draw_voice(rng: np.random.Generator) -> Voice:
    """Some clips keep their voice; the others are moved by up to a fifth, so that men sound as women and back."""
    if rng.random() < 0.4:
        return Voice()
    tempo = round(160 * float(np.exp(rng.uniform(-0.22, 0.22)))) / 160  # so that the stretched rate is a round number
    return Voice(tempo=tempo, vtln=float(np.exp(rng.uniform(-0.12, 0.12))))


def shift_pitch(samples: Samples, tempo: float) -> Samples:
    """Stretch the samples to ``tempo`` times their length: pitch and formants move by ``1/tempo``."""
    rate = round(SAMPLE_RATE * tempo)
    return samples if rate == SAMPLE_RATE else resample(samples, SAMPLE_RATE, rate)


def _equalise(samples: Samples, rng: np.random.Generator) -> Samples:
    out: NDArray[np.float64] = samples.astype(np.float64)
    for _ in range(rng.integers(1, 4)):
        centre = float(np.exp(rng.uniform(np.log(100), np.log(5500))))
        gain = 10 ** (rng.uniform(-10, 10) / 20)
        b, a = signal.iirpeak(centre, rng.uniform(1.0, 3.0), fs=SAMPLE_RATE)
        out = out + (gain - 1.0) * signal.lfilter(b, a, out)
    if rng.random() < 0.25:  # a telephone
        band = signal.butter(
            2, (rng.uniform(150, 350), rng.uniform(3000, 4500)), "bandpass", fs=SAMPLE_RATE, output="sos"
        )
        out = signal.sosfilt(band, out)
    return out.astype(np.float32)


def _reverberate(samples: Samples, rng: np.random.Generator) -> Samples:
    decay = rng.uniform(0.05, 0.4)
    length = int(SAMPLE_RATE * decay)
    tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= rng.uniform(0.1, 0.6) / max(float(np.sqrt((tail**2).sum())), 1e-9)
    tail[0] = 1.0
    out: Samples = signal.fftconvolve(samples, tail)[: len(samples)].astype(np.float32)
    return out


def _noise(count: int, rng: np.random.Generator, babble: Samples | None) -> Samples:
    kind = rng.integers(0, 3)
    if kind == 0 and babble is not None and len(babble):
        out: Samples = np.resize(np.roll(babble, int(rng.integers(0, len(babble)))), count)
        return out
    white = rng.standard_normal(count)
    if kind == 1:
        return white.astype(np.float32)
    slope = rng.uniform(0.9, 0.99)
    out = signal.lfilter([1.0], [1.0, -slope], white).astype(np.float32)
    return out


def record(samples: Samples, rng: np.random.Generator, babble: Samples | None = None) -> Samples:
    """A clean voice as some microphone in some room would have recorded it.

    Args:
        samples: ``(n,)`` 16 kHz.
        rng: where all choices come from.
        babble: another talker's sound, used as noise now and then.
    """
    if rng.random() < 0.6:
        samples = _equalise(samples, rng)
    if rng.random() < 0.4:
        samples = _reverberate(samples, rng)
    if rng.random() < 0.6:
        noise = _noise(len(samples), rng, babble)
        level = float(np.sqrt(np.mean(samples**2)) + 1e-9) / float(np.sqrt(np.mean(noise**2)) + 1e-9)
        samples = samples + noise * np.float32(level * 10 ** (-rng.uniform(5, 40) / 20))
    if rng.random() < 0.1:
        samples = np.clip(samples, -0.7 * float(np.abs(samples).max()), 0.7 * float(np.abs(samples).max()))
    return samples.astype(np.float32)
