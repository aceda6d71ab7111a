"""Sound augmentation: any voice, any room, any microphone. All drawn from the generator given, nothing global."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from streamhead.audio.resample import resample
from streamhead.timebase import SAMPLE_RATE

__all__ = ["Voice", "draw_voice", "nobody", "record"]

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Voice:
    """How the talker's voice is changed: pitch and formants by ``tempo``, formants alone by ``vtln``."""

    tempo: float = 1.0
    vtln: float = 1.0


def draw_voice(rng: np.random.Generator) -> Voice:
    """Some clips keep their voice; the others are moved by up to a fifth, so that men sound as women and back.

    A few go further in pitch, by half at most, and no further in formants.
    """
    kind = rng.random()
    if kind < 0.4:
        return Voice()
    pitch, formants = rng.uniform(-0.22, 0.22), rng.uniform(-0.12, 0.12)
    if kind > 0.8:
        pitch, formants = rng.uniform(-0.3, 0.4), rng.uniform(-0.12, 0.2)
        formants -= pitch  # which the stretching has moved, too
    tempo = round(160 * float(np.exp(-pitch))) / 160  # so that the stretched rate is a round number
    return Voice(tempo=tempo, vtln=float(np.exp(formants)))


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


def _babble(count: int, rng: np.random.Generator, others: Sequence[Samples]) -> Samples:
    """Other talkers at once, each as loud as the next."""
    out = np.zeros(count, np.float32)
    for other in others:
        voice = np.resize(np.roll(other, int(rng.integers(len(other)))), count)
        out += voice / np.float32(np.sqrt(np.mean(voice**2)) + 1e-9)
    return out


def _music(count: int, rng: np.random.Generator) -> Samples:
    """Chords of plucked tones with overtones, a new one every beat, some with a drum's noise."""
    beat = int(SAMPLE_RATE * rng.uniform(0.2, 0.8))
    time = np.arange(2 * beat, dtype=np.float32) / SAMPLE_RATE
    out = np.zeros(count + 2 * beat, np.float32)
    drum, overtones = rng.uniform(0.0, 2.0), np.arange(1, 5)
    for start in range(0, count, beat):
        pitch = 110.0 * 2.0 ** (rng.integers(0, 36, size=rng.integers(1, 5)) / 12)
        tones = (pitch[:, None] * overtones).ravel()
        loud = 1.0 / np.tile(overtones, len(pitch))
        phase = rng.uniform(0.0, 2 * np.pi, (len(tones), 1))
        wave = loud @ np.sin((2 * np.pi * tones[:, None]).astype(np.float32) * time + phase.astype(np.float32))
        wave *= np.exp(-rng.uniform(1.0, 6.0) * time)
        wave += drum * rng.standard_normal(len(time)) * np.exp(-40.0 * time)
        out[start : start + len(time)] += wave
    return out[:count]


def _noise(count: int, rng: np.random.Generator, others: Sequence[Samples]) -> Samples:
    kind = rng.integers(0, 5)
    if kind < 2 and others:
        return _babble(count, rng, others)
    if kind == 2:
        return _music(count, rng)
    white = rng.standard_normal(count)
    if kind == 3:
        return white.astype(np.float32)
    slope = rng.uniform(0.9, 0.99)
    out: Samples = signal.lfilter([1.0], [1.0, -slope], white).astype(np.float32)
    return out


def _breaths(count: int, rng: np.random.Generator) -> Samples:
    """Bands of noise that swell and fade: breaths, a door, a hand over the table; the short ones are keys."""
    out = np.zeros(count, np.float32)
    at = 0
    while at < count:
        length = int(SAMPLE_RATE * np.exp(rng.uniform(np.log(0.02), np.log(1.2))))
        low = np.exp(rng.uniform(np.log(100), np.log(2500)))
        band = signal.butter(
            1, (low, min(low * rng.uniform(1.5, 12.0), 7500.0)), "bandpass", fs=SAMPLE_RATE, output="sos"
        )
        swell = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** rng.uniform(0.5, 3.0)
        part = out[at : at + length]
        noise = signal.sosfilt(band, rng.standard_normal(length)) * swell
        part += (noise / (np.std(noise) + 1e-9) * rng.uniform(0.3, 1.0)).astype(np.float32)[: len(part)]
        at += length + int(SAMPLE_RATE * rng.uniform(0.0, 0.8))
    return out


def nobody(count: int, rng: np.random.Generator, others: Sequence[Samples]) -> Samples:
    """A sound in which nobody speaks to us: a crowd, music, breaths and clatter, or noise; of unit power.

    Args:
        count: of samples, 16 kHz.
        rng: where all choices come from.
        others: sounds of talkers, without pauses; all are heard at once in a crowd.
    """
    kind = rng.integers(0, 7)
    if kind < 2:
        out = _babble(count, rng, others)
    elif kind < 4:
        out = _music(count, rng)
    elif kind < 6:
        out = _breaths(count, rng)
    else:
        out = _noise(count, rng, ())
    if rng.random() < 0.6:
        out = _equalise(out, rng)
    if rng.random() < 0.4:
        out = _reverberate(out, rng)
    return (out / np.float32(np.sqrt(np.mean(out**2)) + 1e-9)).astype(np.float32)


def record(samples: Samples, rng: np.random.Generator, others: Sequence[Samples] = ()) -> Samples:
    """A clean voice as some microphone in some room would have recorded it.

    Args:
        samples: ``(n,)`` 16 kHz.
        rng: where all choices come from.
        others: other talkers' sounds, all heard at once as babble now and then.
    """
    if rng.random() < 0.6:
        samples = _equalise(samples, rng)
    if rng.random() < 0.4:
        samples = _reverberate(samples, rng)
    if rng.random() < 0.6:
        noise = _noise(len(samples), rng, others)
        level = float(np.sqrt(np.mean(samples**2)) + 1e-9) / float(np.sqrt(np.mean(noise**2)) + 1e-9)
        samples = samples + noise * np.float32(level * 10 ** (-rng.uniform(2, 36) / 20))
    if rng.random() < 0.1:
        samples = np.clip(samples, -0.7 * float(np.abs(samples).max()), 0.7 * float(np.abs(samples).max()))
    return samples.astype(np.float32)
