"""What a mouth does for the sounds of speech: learnt from real clips and their words, asked about any other words.

The clips hold few words. How a mouth goes through *their* sounds says, roughly, how it goes through the same sounds
elsewhere; with that, synthetic voices, whose sounds and times are known, can teach a network to hear words that no clip
holds. It is an average over neighbours, not a measurement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamhead.timebase import FPS

__all__ = ["VISEMES", "VisemeModel", "occupancy", "phones_of_words"]

Reals = NDArray[np.float64]
Phone = tuple[float, float, str]
"""Start and end in seconds, and ARPABET's name in small letters."""

_CLASSES: Final = {
    "shut": "p b m",
    "lip and teeth": "f v",
    "tongue and teeth": "th dh",
    "tongue": "t d n",
    "side": "l",
    "hiss": "s z",
    "rounded hiss": "sh zh ch jh",
    "back": "k g ng",
    "breath": "hh",
    "r": "r er",
    "w": "w",
    "y": "y",
    "ah": "ah ax",
    "aa": "aa",
    "ao": "ao",
    "ae": "ae",
    "eh": "eh",
    "ee": "ih iy",
    "oo": "uh uw",
}
VISEMES: Final = ("rest", *_CLASSES)
"""Sounds that lips do not tell apart, or nearly so; the first is silence."""
_VISEME_OF: Final = {phone: 1 + i for i, phones in enumerate(_CLASSES.values()) for phone in phones.split()}
_GLIDES: Final = {"ay": ("aa", "ih"), "aw": ("aa", "uh"), "ey": ("eh", "ih"), "ow": ("ao", "uh"), "oy": ("ao", "ih")}
"""Diphthongs are their halves."""

# GRID's 51 words. British: "z" is zed, and no r is said after a vowel.
_WORDS: Final = """
bin b ih n, lay l ey, place p l ey s, set s eh t, blue b l uw, green g r iy n, red r eh d, white w ay t, at ae t,
by b ay, in ih n, with w ih dh, a ey, b b iy, c s iy, d d iy, e iy, f eh f, g jh iy, h ey ch, i ay, j jh ey, k k ey,
l eh l, m eh m, n eh n, o ow, p p iy, q k y uw, r aa, s eh s, t t iy, u y uw, v v iy, x eh k s, y w ay, z z eh d,
zero z ih r ow, one w ah n, two t uw, three th r iy, four f ao, five f ay v,
six s ih k s, seven s eh v ax n, eight ey t, nine n ay n,
again ax g eh n, now n aw, please p l iy z, soon s uw n
"""
_PHONES_OF: Final = {
    word: phones.split() for word, _, phones in (line.strip().partition(" ") for line in _WORDS.split(","))
}
_LENGTH: Final = {"ay": 2.4, "aw": 2.4, "ey": 2.4, "ow": 2.4, "aa": 1.8, "ao": 1.8, "iy": 1.6, "uw": 1.6, "ax": 0.7} | {
    phone: 0.8 for phone in "pbtdkgywrl"
}
"""How long a sound lasts within its word, against the others; 1 where nothing is said."""

_BEFORE, _AFTER = 3, 4
"""Frames whose sounds tell what a mouth does: it is ahead of them."""


def phones_of_words(words: Iterable[tuple[float, float, str]]) -> list[Phone]:
    """The sounds of GRID's words, each word's time shared among them by their usual lengths."""
    out: list[Phone] = []
    for start, end, word in words:
        phones = _PHONES_OF.get(word, [])
        lengths = np.array([_LENGTH.get(phone, 1.0) for phone in phones])
        edges = start + (end - start) * np.concatenate([[0.0], np.cumsum(lengths) / max(float(lengths.sum()), 1e-9)])
        out += [(float(a), float(b), phone) for a, b, phone in zip(edges, edges[1:], phones, strict=False)]
    return out


def occupancy(phones: Iterable[Phone], frames: int) -> Reals:
    """``(frames, len(VISEMES))``: how much of each frame's time each viseme takes; unknown sounds count as rest."""
    out = np.zeros((frames, len(VISEMES)))
    moments = np.arange(frames)
    for start, end, phone in phones:
        parts = _GLIDES.get(phone, (phone,))
        edges = np.linspace(start, end, len(parts) + 1) * FPS
        for part, a, b in zip(parts, edges, edges[1:], strict=False):
            out[:, _VISEME_OF.get(part, 0)] += np.clip(np.minimum(b, moments + 1) - np.maximum(a, moments), 0.0, 1.0)
    out[:, 0] += np.maximum(1.0 - out.sum(1), 0.0)
    return out


@dataclass(frozen=True)
class VisemeModel:
    """Ridge regression of what faces do on the visemes of some frames around.

    Attributes:
        weights: ``(8 len(VISEMES) + 1, n)``.
        shrinkage: ``(n,)`` standard deviation of what is predicted over that of what was to be predicted.
        correlation: ``(n,)`` of the two, on what it was fitted to.
    """

    weights: Reals
    shrinkage: Reals
    correlation: Reals

    @classmethod
    def fit(cls, clips: Sequence[tuple[Reals, NDArray[np.floating]]], ridge: float = 30.0) -> VisemeModel:
        """From clips' :func:`occupancy` and what faces did, ``(T, n)`` each."""
        x = np.concatenate([_around(occupied) for occupied, _ in clips])
        y = np.concatenate([np.asarray(values, np.float64) for _, values in clips])
        penalty = ridge * np.eye(x.shape[1])
        penalty[-1, -1] = 0.0
        weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
        found = x @ weights
        together = ((found - found.mean(0)) * (y - y.mean(0))).mean(0)
        spread, wanted = found.std(0) + 1e-9, y.std(0) + 1e-9
        return cls(weights, spread / wanted, together / (spread * wanted))

    def predict(self, occupied: Reals) -> Reals:
        """``(T, len(VISEMES))`` -> ``(T, n)``: the mean of what faces do."""
        out: Reals = _around(occupied) @ self.weights
        return out


def _around(occupied: Reals) -> Reals:
    padded = np.pad(occupied, ((_BEFORE, _AFTER), (0, 0)))
    padded[:_BEFORE, 0] = padded[len(padded) - _AFTER :, 0] = 1.0
    windows = np.lib.stride_tricks.sliding_window_view(padded, _BEFORE + 1 + _AFTER, axis=0)
    return np.concatenate([windows.reshape(len(occupied), -1), np.ones((len(occupied), 1))], axis=1)
