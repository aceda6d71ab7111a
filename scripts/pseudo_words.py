# ruff: noqa: RUF001 (Cyrillic letters are meant)
"""Sentences of words that mean nothing, spelt so that voices of several languages say them by their own rules."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["LANGUAGES", "pseudo_sentence"]

# Beginnings, vowels and ends of syllables; a blank among the ends is none.
_SYLLABLES: Final = {
    "italian": (
        "b c d f g l m n p r s t v z b m p ch gh gn sci gi ci pr tr br st sp fr gr",
        "a e i o u a o",
        "n r l s",
    ),
    "finnish": ("h j k l m n p r s t v m p v", "a e i o u y aa ee ii oo uu ai ei ou", "n s t l"),
    "czech": ("b c d f h ch j k l m n p r s t v z b m p st pr br kr vl", "a e i o u a o", "n k s l m"),
    "catalan": ("b c d f g j l ll m n p r s t v x z b m p pr tr br ny", "a e i o u a o", "n r s l m"),
    "russian": ("б в г д ж з к л м н п р с т ф х ц ч ш б м п пр ст", "а е и о у ы я ю а о", "н к с л м"),
}
LANGUAGES: Final = tuple(_SYLLABLES)
_OPEN: Final = 0.75
"""Share of syllables that end in their vowel."""


def pseudo_sentence(language: str, rng: np.random.Generator) -> str:
    """Four to eight words of one to four syllables."""
    starts, vowels, ends = (part.split() for part in _SYLLABLES[language])

    def syllable() -> str:
        end = "" if rng.random() < _OPEN else str(rng.choice(ends))
        return str(rng.choice(starts)) + str(rng.choice(vowels)) + end

    words = ["".join(syllable() for _ in range(rng.integers(1, 5))) for _ in range(rng.integers(4, 9))]
    return " ".join(words)
