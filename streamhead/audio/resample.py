"""Sound as people have it -> mono float32 at 16 kHz, whole or as a stream."""

from __future__ import annotations

import struct
from functools import reduce
from math import gcd
from typing import Final

import av
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamhead.errors import AudioError
from streamhead.timebase import SAMPLE_RATE

__all__ = ["StreamResampler", "as_float", "as_float_mono", "resample"]

Samples = NDArray[np.float32]

_MAX_CHANNELS: Final = 32
_MAX_FLOAT: Final = 256.0
"""Floats are nominally within [-1, 1]; a clipped or hot recording goes over, integers stored as floats go far over."""

_REACH: Final = 64
"""Samples of the lower rate that make up one output sample, generously; swresample's filter reaches 16 either way."""
_HEADER: Final = struct.Struct("<4sIQQ")
_MAGIC: Final = b"rsm1"


def as_float(pcm: ArrayLike) -> Samples:
    """Samples of any usual type as float32, channels untouched.

    Args:
        pcm: ``(n,)`` or ``(n, channels)``; float32 or float64 with full scale 1 (over-full is used as it is), or int16,
            int32 or uint8 (silence at 128).

    Returns:
        float32 of the same shape, full scale 1.

    Raises:
        AudioError: empty, NaN or infinite, another type, or another shape.
    """
    array = np.asarray(pcm)
    if array.ndim not in (1, 2):
        raise AudioError(f"sound of {array.ndim} dimensions; give (samples,) or (samples, channels)")
    if array.size == 0:
        raise AudioError("the sound is empty; give at least one sample")
    if array.ndim == 2 and array.shape[1] > _MAX_CHANNELS:
        raise AudioError(f"sound with {array.shape[1]} channels; give (samples, channels), transposed if need be")
    if array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(1 << 15)
    if array.dtype == np.int32:
        return (array / float(1 << 31)).astype(np.float32)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - np.float32(128)) / np.float32(128)
    if array.dtype not in (np.float32, np.float64):
        raise AudioError(f"sound of type {array.dtype}; give float32, float64, int16, int32 or uint8")
    peak = float(np.abs(array).max())
    if not np.isfinite(peak):
        raise AudioError("the sound has samples that are NaN or infinite; replace them, say with np.nan_to_num")
    if peak > _MAX_FLOAT:
        raise AudioError(f"float sound that reaches {peak:.0f}; scale it to [-1, 1], or pass its integers as int16")
    return array.astype(np.float32)


def as_float_mono(pcm: ArrayLike) -> Samples:
    """As :func:`as_float`, channels averaged into ``(n,)``."""
    samples = as_float(pcm)
    # Channel by channel: numpy's mean over so short an axis takes ten times as long.
    return samples if samples.ndim == 1 else reduce(np.add, samples.T) / np.float32(samples.shape[1])


def _check_rate(rate: int) -> int:
    if rate != int(rate) or not 1_000 <= rate <= 768_000:
        raise AudioError(f"a sample rate of {rate} Hz; give whole Hz between 1000 and 768000")
    return int(rate)


class _Converter:
    """libswresample for mono float: what it answers does not depend on how the input was cut (tests/test_resample.py).

    Its filter is a short symmetric FIR whose delay it takes off itself: output ``k`` is the input at ``k / rate_out``.
    Bit for bit where the ratio of the rates needs no more than 1024 filter phases, as all usual ones do. Beyond that
    (47999 Hz) it interpolates between phases, and the last sample before a cut may differ by a rounding (1e-7).
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate_out)

    def _read(self, frames: list[av.AudioFrame]) -> Samples:
        parts = [frame.to_ndarray()[0] for frame in frames]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def push(self, samples: Samples) -> Samples:
        if not len(samples):
            return samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="fltp", layout="mono")
        frame.sample_rate = self.rate_in
        return self._read(self._resampler.resample(frame))

    def flush(self) -> Samples:
        return self._read(self._resampler.resample(None))


def _fit(samples: Samples, length: int) -> Samples:
    """Exactly ``length`` samples: swresample's own count may differ by one at the very end."""
    return np.pad(samples[:length], (0, max(length - len(samples), 0)))


def resample(samples: Samples, rate_in: int, rate_out: int = SAMPLE_RATE) -> Samples:
    """Resample a whole recording.

    Args:
        samples: ``(n,)`` float32.
        rate_in: Hz.
        rate_out: Hz.

    Returns:
        ``(round(n * rate_out / rate_in),)``; sample ``k`` is the input at time ``k / rate_out``.

    Raises:
        AudioError: a rate that cannot be.
    """
    rate_in, rate_out = _check_rate(rate_in), _check_rate(rate_out)
    samples = np.asarray(samples, np.float32)
    if rate_in == rate_out or not len(samples):
        return samples
    converter = _Converter(rate_in, rate_out)
    out = np.concatenate((converter.push(samples), converter.flush()))
    return _fit(out, round(len(samples) * rate_out / rate_in))


class StreamResampler:
    """A stream at any usual rate -> 16 kHz; bit for bit :func:`resample` of the whole, however the stream is cut.

    Output sample ``k`` is the input at ``k / 16000``. It comes out once 2 ms more are in (4 ms at 8 kHz): swresample
    reads ahead by 32 samples of the lower rate.

    Args:
        rate_in: Hz; 16000 passes through untouched.

    Raises:
        AudioError: a rate that cannot be.
    """

    def __init__(self, rate_in: int) -> None:
        self.rate_in = _check_rate(rate_in)
        self._converter = None if self.rate_in == SAMPLE_RATE else _Converter(self.rate_in, SAMPLE_RATE)
        self._taken = 0  # input samples
        self._given = 0  # output samples
        self._recent: Samples = np.zeros(0, np.float32)  # the last inputs, from an aligned one on: see snapshot

    def push(self, samples: Samples) -> Samples:
        """Add ``(n,)`` float32 mono samples, any number; returns what is ready at 16 kHz, maybe nothing."""
        samples = np.asarray(samples, np.float32)
        if self._converter is None:
            return samples
        out = self._converter.push(samples)
        self._given += len(out)
        self._taken += len(samples)
        self._recent = np.concatenate((self._recent, samples))[-(self._taken - self._aligned()) :]
        return out

    def flush(self) -> Samples:
        """End the stream: the rest at 16 kHz, so that the whole has ``round(n * 16000 / rate_in)`` samples."""
        if self._converter is None:
            return np.zeros(0, np.float32)
        return _fit(self._converter.flush(), round(self._taken * SAMPLE_RATE / self.rate_in) - self._given)

    def _aligned(self) -> int:
        """The input sample from which a fresh converter can be fed to go on with output number ``_given``.

        It lies on a whole output sample, so that filter phases repeat, and so far back that no output to come reaches
        it: a fresh converter makes up what came before its first sample.
        """
        period = SAMPLE_RATE // gcd(self.rate_in, SAMPLE_RATE)
        reach = _REACH * max(1, -(-SAMPLE_RATE // self.rate_in))
        whole = max(0, self._given - reach) // period * period
        return whole * self.rate_in // SAMPLE_RATE

    def snapshot(self) -> bytes:
        """The state: a header and the last few milliseconds of input (for rates with a common divisor with 16000)."""
        return _HEADER.pack(_MAGIC, self.rate_in, self._taken, self._given) + self._recent.tobytes()

    @classmethod
    def restore(cls, data: bytes) -> StreamResampler:
        """A resampler that goes on bit for bit where :meth:`snapshot` was taken, in any process.

        Raises:
            AudioError: the bytes are no such snapshot.
        """
        if len(data) < _HEADER.size or data[:4] != _MAGIC:
            raise AudioError("these bytes are no snapshot of a resampler; take a new one")
        _, rate_in, taken, given = _HEADER.unpack_from(data)
        resampler = cls(rate_in)
        resampler._taken, resampler._given = taken, given
        resampler._recent = np.frombuffer(data, np.float32, offset=_HEADER.size).copy()
        if resampler._converter is not None:
            resampler._converter.push(resampler._recent)  # its answers were given before the snapshot
        return resampler
