"""What mouths do for sounds: times of words and phones become frames, and a rule in them is found again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from streamhead.training.visemes import VISEMES, VisemeModel, occupancy, phones_of_words


def test_a_words_time_is_shared_among_its_sounds() -> None:
    phones = phones_of_words([(1.0, 1.5, "bin"), (1.5, 2.0, "by")])
    assert [phone for _, _, phone in phones] == ["b", "ih", "n", "b", "ay"]
    assert phones[0][0] == 1.0
    assert phones[2][1] == pytest.approx(1.5)
    assert phones[4][1] == pytest.approx(2.0)
    assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(phones))
    assert phones[4][1] - phones[4][0] > phones[3][1] - phones[3][0]  # a diphthong is longer than a stop
    assert phones_of_words([(0.0, 1.0, "unheard-of")]) == []


def test_frames_are_shared_by_the_sounds_in_them() -> None:
    occupied = occupancy([(0.06, 0.10, "m"), (0.10, 0.22, "s")], 8)
    assert np.allclose(occupied.sum(1), 1.0)
    shut, hiss, rest = (VISEMES.index(name) for name in ("shut", "hiss", "rest"))
    assert occupied[1, rest] == pytest.approx(0.5)
    assert occupied[1, shut] == pytest.approx(0.5)
    assert occupied[2, shut] == pytest.approx(0.5)
    assert occupied[2, hiss] == pytest.approx(0.5)
    assert occupied[4, hiss] == pytest.approx(1.0)
    assert occupied[7, rest] == pytest.approx(1.0)


def test_a_diphthong_is_its_halves() -> None:
    occupied = occupancy([(0.0, 0.16, "ay")], 4)
    assert np.allclose(occupied[:2, VISEMES.index("aa")], 1.0)
    assert np.allclose(occupied[2:, VISEMES.index("ee")], 1.0)


def test_a_rule_is_found_again_and_holds_for_words_never_seen() -> None:
    rng = np.random.default_rng(0)
    names = ["p", "s", "ae", "uw", "l"]
    opening = {"p": 0.0, "s": 0.2, "ae": 1.0, "uw": 0.4, "l": 0.5}

    def clip(order: list[str]) -> tuple[np.ndarray, np.ndarray]:
        phones = [(0.16 * i, 0.16 * (i + 1), phone) for i, phone in enumerate(order)]
        occupied = occupancy(phones, 4 * len(order) + 5)
        # Lips are two frames ahead of the sound; at rest they are a little open.
        truth = np.full(len(occupied), 0.1)
        for i, phone in enumerate(order):
            truth[max(4 * i - 2, 0) : 4 * i + 2] = opening[phone]
        return occupied, truth[:, None]

    clips = [clip([names[i] for i in rng.integers(5, size=12)]) for _ in range(40)]
    noisy = [(occupied, truth + 0.1 * rng.standard_normal(truth.shape)) for occupied, truth in clips]
    model = VisemeModel.fit(noisy, ridge=1.0)
    occupied, truth = clip(["ae", "ae", "p", "uw", "p", "l", "s", "s", "ae", "p"])
    found = model.predict(occupied)
    assert np.abs(found - truth)[2:-8].max() < 0.15
    assert model.correlation[0] > 0.9
    assert 0.85 < model.shrinkage[0] < 1.0
