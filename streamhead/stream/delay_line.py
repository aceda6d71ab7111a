"""Sound that waits for its picture: what was captured at an instant is read one delay later, whatever the clocks do.

Three clocks meet here: that of the device that captures, the one that paces the call, that of the device that plays.
They differ by parts in ten thousand; the line follows the differences by a small change of speed, which nobody hears,
where adding or leaving out samples would click.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

__all__ = ["DelayLine"]

MEMORY: Final = 2.0
"""Seconds of sound that are kept."""
STEADY: Final = 4.0
"""Seconds over which the jitter of capture instants is smoothed."""
LEAP: Final = 0.2
"""Seconds; capture instants this far from where they are expected are not jitter: sound was lost, or time was set."""
JUMP: Final = 0.1
"""Seconds; a reader this far from where it should be goes there at once."""
CLOSE_UP: Final = 1.0
"""Seconds in which a reader would be where it should be, if it might change its speed at will."""
BEND: Final = 0.005
"""The most that speed is changed: 9 cents."""
GENTLY: Final = 0.25
"""Seconds in which speed changes, so that what jitter is left does not waver in the sound."""
FADE: Final = 0.005
"""Seconds over which sound comes and goes."""
TAPS: Final = 32
DEGREE: Final = 7
"""Of the polynomials that the taps between two samples are: to 1e-6 what they stand for."""


def _interpolator() -> NDArray[np.float32]:
    """``(DEGREE + 1, TAPS)``: a windowed sinc, gain 1 at rest, as powers of a fraction of a sample less one half.

    Farrow, "A continuously variable digital delay element", ISCAS 1988: a few fixed filters, whatever the fraction.
    """
    fraction = np.linspace(0, 1, 8 * DEGREE)[:, None]
    distance = np.arange(TAPS)[None] - (TAPS // 2 - 1) - fraction
    edge = np.clip(distance / (TAPS / 2), -1, 1)
    taps = np.sinc(distance) * np.i0(8.0 * np.sqrt(1 - edge**2))
    powers = np.vander(fraction[:, 0] - 0.5, DEGREE + 1, increasing=True)
    return np.asarray(np.linalg.lstsq(powers, taps / taps.sum(1, keepdims=True))[0], np.float32)


class DelayLine:
    """Between sound captured and the same sound played. Written in one thread and read in another, if need be.

    Args:
        sample_rate: of what is written and read, Hz.
        channels: 1 for arrays ``(n,)``, more for ``(n, channels)``.
        delay: seconds from capture until it is heard.
    """

    def __init__(self, sample_rate: int, channels: int, delay: float = 0.12) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.delay = delay
        """May be set while it runs; the sound follows it smoothly, over seconds, unless the change is large."""
        self.offset_ms = 0.0
        """How late (or, below 0, how early) the sound read last is, against the delay wished for."""
        self.need = 0.0
        """Seconds: the least delay at which all the sound read last would have been there."""
        self._lock = Lock()
        self._keep = round(MEMORY * sample_rate)
        self._fade = round(FADE * sample_rate)
        self._taps = _interpolator()
        self._ring = np.zeros((2 * self._keep, channels), np.float32)
        self._first = 0  # position, counted from the first sample ever written, of the ring's first row
        self._end = 0  # and of the one to be written next
        self._zero = 0.0  # instant of position 0
        self._writes = 0
        self._silent = True  # whether what was written last is
        self._mended = -1  # where what was mended last ends
        self._position: float | None = None  # to be read next
        self._speed = 1.0
        self._starved = False  # whether what was read last ran into the end

    @property
    def empty(self) -> bool:
        """Whether nothing was written yet."""
        return not self._writes

    def write(self, pcm: ArrayLike, captured_at: float) -> None:
        """Add sound.

        Args:
            pcm: float, ``(n,)`` or ``(n, channels)``.
            captured_at: monotonic instant of the first sample, s; jitter is smoothed, a gap becomes silence.
        """
        sound = np.asarray(pcm, np.float32).reshape(-1, self.channels)
        if not len(sound):
            return
        with self._lock:
            error = captured_at - (self._zero + self._end / self.sample_rate)
            if not self._writes or error < -LEAP or error > MEMORY:
                self._zero += error
            elif error > LEAP:
                self._append(np.zeros((round(error * self.sample_rate), self.channels), np.float32))
            else:
                self._zero += error * max(len(sound) / self.sample_rate / STEADY, 1 / (self._writes + 1))
            self._writes += 1
            self._append(sound)

    def mend(self, pcm: ArrayLike, before_end: int) -> None:
        """Put sound where silence stands in for it, as far as that was not read yet.

        Args:
            pcm: as for :meth:`write`.
            before_end: samples from its first one to the end of what was written; at least as many as it has.
        """
        sound = np.asarray(pcm, np.float32).reshape(-1, self.channels)
        with self._lock:
            start = self._end - before_end
            stop = start + len(sound)
            unread = self._first if self._position is None else int(self._position) + TAPS
            place = max(start, unread, self._first)
            if place >= stop:
                return
            piece = sound[place - start :].copy()
            if place != self._mended:
                fading = min(len(piece), self._fade)
                piece[:fading] *= self._ramp(fading)
            self._ring[place - self._first : stop - self._first] = piece
            self._mended = stop
            if stop == self._end:
                self._silent = not piece.any()

    def read(self, count: int, at: float) -> NDArray[np.float32]:
        """The sound that is due.

        Args:
            count: samples.
            at: monotonic instant at which the first of them will be heard, s.

        Returns:
            ``(count,)`` or ``(count, channels)``; silence where there is none.
        """
        with self._lock:
            wish = (at - self.delay - self._zero) * self.sample_rate
            position = wish if self._position is None else self._position
            behind = (wish - position) / self.sample_rate
            old = None
            if abs(behind) > JUMP:
                old = self._render(position, 1.0, min(count, self._fade))
                position, behind, self._speed = wish, 0.0, 1.0
            speed = 1 + float(np.clip(behind / CLOSE_UP, -BEND, BEND))
            self._speed += (speed - self._speed) * min(1.0, count / self.sample_rate / GENTLY)
            sound = self._render(position, self._speed, count)
            if old is not None:
                rise = self._ramp(len(old))
                sound[: len(old)] = rise * sound[: len(old)] + (1 - rise) * old
            elif self._starved:
                sound[: self._fade] *= self._ramp(min(count, self._fade))
            self._position = position + count * self._speed
            self._starved = self._position > self._end
            if self._writes:
                self.offset_ms = 1000 * behind
                self.need = at - self._zero + (count - self._end) / self.sample_rate
        return sound[:, 0] if self.channels == 1 else sound

    def clear(self) -> None:
        """Forget what was not read yet; what is being heard fades out."""
        with self._lock:
            start = self._first if self._position is None else max(self._first, int(self._position) - TAPS // 2)
            self._hush(min(start, self._end))

    def _append(self, sound: NDArray[np.float32]) -> None:
        sounding = bool(sound.any())
        if sounding and self._silent:
            sound = sound.copy()
            sound[: self._fade] *= self._ramp(min(len(sound), self._fade))
        elif not sounding and not self._silent:
            self._hush(max(self._first, self._end - self._fade))
        self._silent = not sounding
        for start in range(0, len(sound), self._keep):
            piece = sound[start : start + self._keep]
            if self._end - self._first + len(piece) > len(self._ring):
                kept = self._ring[self._end - self._first - self._keep + len(piece) : self._end - self._first].copy()
                self._ring[: len(kept)] = kept
                self._first = self._end - len(kept)
            self._ring[self._end - self._first :][: len(piece)] = piece
            self._end += len(piece)

    def _hush(self, start: int) -> None:
        """Fade out from a position on."""
        rest = self._ring[start - self._first : self._end - self._first]
        fading = min(len(rest), self._fade)
        rest[:fading] *= 1 - self._ramp(fading)
        rest[fading:] = 0
        self._silent = True

    def _render(self, position: float, speed: float, count: int) -> NDArray[np.float32]:
        """``(count, channels)`` from a position on, at a speed."""
        places = position + speed * np.arange(max(count, 1))
        whole = np.floor(places).astype(np.int64)
        start = int(whole[0]) - (TAPS // 2 - 1)
        stretch = np.ascontiguousarray(self._stretch(start, int(whole[-1]) + TAPS // 2 + 1).T)
        moved = np.ascontiguousarray(sliding_window_view(stretch, stretch.shape[1] - TAPS + 1, axis=1))
        parts = np.take(self._taps @ moved, whole - whole[0], axis=2)  # channel, power, place
        fraction = (places - whole - 0.5).astype(np.float32)
        sound = parts[:, DEGREE]
        for power in range(DEGREE - 1, -1, -1):
            sound = sound * fraction + parts[:, power]
        return np.asarray(sound.T[:count], np.float32)

    def _stretch(self, start: int, stop: int) -> NDArray[np.float32]:
        """``(stop - start, channels)``: silence before the ring's first row; after its last a short dying away."""
        out = np.zeros((stop - start, self.channels), np.float32)
        low, high = max(start, self._first), min(stop, self._end)
        if low < high:
            out[low - start : high - start] = self._ring[low - self._first : high - self._first]
        tail = out[max(0, self._end - start) :]
        if len(tail) and self._end > self._first:
            gone = max(0, start - self._end) + np.arange(len(tail))
            tail[:] = self._ring[self._end - self._first - 1] * np.clip(1 - gone / self._fade, 0, 1)[:, None]
        return out

    @staticmethod
    def _ramp(count: int) -> NDArray[np.float32]:
        return np.asarray((np.arange(count, dtype=np.float32) + 0.5) / max(count, 1), np.float32)[:, None]
