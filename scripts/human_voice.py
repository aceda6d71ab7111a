"""A real voice that nobody trained on, saying words that no training clip holds, with the times of its sounds.

The voice is Allison Smith's, of the Asterisk telephone system's prompts in wide band (Debian:
``apt-get install asterisk-core-sounds-en-g722``; CC BY-SA 3.0): the spelling alphabet, days and months. It is listened
to only to measure, nothing is trained on it or kept of it. Where its sounds lie is found by laying it beside a
synthetic voice that says the same and knows its times (dynamic time warping).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray
from synthetic_voices import Phone, Said, say

from streamhead.audio.features import extract, feature_spec
from streamhead.errors import StreamheadError
from streamhead.timebase import SAMPLE_RATE

__all__ = ["GRIDS_WORDS", "WORDS", "align", "say_words"]

Samples = NDArray[np.float32]

FOLDER: Final = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
_ALPHABET: Final = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec romeo "
    "sierra tango uniform victor whiskey x-ray yankee zulu"
)
_DAYS: Final = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday"
_MONTHS: Final = "January February March April May June July August September October November December"
_FILES: Final = (
    {word: f"phonetic/{word[0]}_p" for word in _ALPHABET.split()}
    | {word: f"digits/day-{i}" for i, word in enumerate(_DAYS.split())}
    | {word: f"digits/mon-{i}" for i, word in enumerate(_MONTHS.split())}
)
WORDS: Final = tuple(_FILES)
"""None of them is GRID's."""
_DIGITS: Final = "zero one two three four five six seven eight nine"
_GRIDS: Final = {letter: f"letters/{letter}" for letter in "bcdefghijklmnopqrstuvxyz"} | {
    word: f"digits/{i}" for i, word in enumerate(_DIGITS.split())
}
GRIDS_WORDS: Final = tuple(_GRIDS)
"""All of them are, but for how "z" is said."""
GAP: Final = 0.1
"""Seconds between words."""
_STEP: Final = 0.01
_RANGE: Final = 14.0
"""Natural logarithms of power below the loudest band that are still heard."""


def say_words(words: str) -> Said:
    """Some of :data:`WORDS` or :data:`GRIDS_WORDS`, with blanks between them, as ``synthetic_voices.say`` has it.

    Raises:
        StreamheadError: the recordings, or flite, are not installed.
    """
    sounds: list[Samples] = []
    phones: list[Phone] = []
    now = 0.0
    for word in words.split():
        sound, said = _word(word)
        phones += [(now + start, now + end, phone) for start, end, phone in said]
        sounds += [sound, np.zeros(int(GAP * SAMPLE_RATE), np.float32)]
        now += (len(sound) + len(sounds[-1])) / SAMPLE_RATE
    return np.concatenate(sounds), phones


@cache
def _word(word: str) -> Said:
    path = FOLDER / f"{(_FILES | _GRIDS)[word]}.g722"
    if not path.is_file():
        raise StreamheadError(f"{path} is missing; apt-get install asterisk-core-sounds-en-g722")
    with av.open(str(path), format="g722") as container:
        pieces = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    sound = np.concatenate(pieces).astype(np.float32) / 32768
    loud = np.sqrt(np.convolve(sound**2, np.full(320, 1 / 320), "same"))
    heard = np.flatnonzero(loud > 0.03 * loud.max())
    sound = sound[max(heard[0] - 160, 0) : heard[-1] + 160]
    like, phones = say("flite", "slt", word.replace("x-ray", "ex ray"))
    phones = [phone for phone in phones if phone[2] != "pau"]
    start, end = phones[0][0], phones[-1][1]
    like = like[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
    return sound, align(like, [(a - start, b - start, phone) for a, b, phone in phones], sound)


def align(like: Samples, phones: list[Phone], sound: Samples) -> list[Phone]:
    """Where the phones of one voice lie in another that says the same."""
    a, b = (_shape(samples) for samples in (like, sound))
    cost = np.square(a[:, None] - b[None]).mean(-1)
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(len(a)):
        for j in range(len(b)):
            # A step along one of them alone costs a little: both are to go on together.
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1] + 0.1, total[i + 1, j] + 0.1)
    i, j = len(a), len(b)
    pairs = []
    while i and j:
        pairs.append((i - 0.5, j - 0.5))
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda at: float(total[at]))
    path = np.array(pairs[::-1])
    moments = np.unique(path[:, 0])
    places = [float(path[path[:, 0] == moment, 1].mean()) for moment in moments]
    x = np.concatenate([[0.0], moments * _STEP, [len(like) / SAMPLE_RATE]])
    y = np.concatenate([[0.0], np.array(places) * _STEP, [len(sound) / SAMPLE_RATE]])
    return [(float(np.interp(start, x, y)), float(np.interp(end, x, y)), phone) for start, end, phone in phones]


def _shape(samples: Samples) -> NDArray[np.float64]:
    """Log-mel bands and how they change, one row every 10 ms, without the voice's own colour."""
    spec = feature_spec("log-mel", 1)
    rows = extract(np.concatenate([samples, np.zeros(400, np.float32)]), spec)
    rows = rows[-spec.first_row :][: len(samples) // 160].astype(np.float64)
    rows = np.maximum(rows, rows.max() - _RANGE)
    rows = (rows - rows.mean(0)) / (rows.std() + 1e-3)
    return np.concatenate([rows, 2.0 * np.gradient(rows, axis=0)], axis=1)
