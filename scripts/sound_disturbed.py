"""What lies under, and is missing from, a clip's sound, drawn anew at every step of training: on feature patches."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sound_corpus import FRAMES, LEAD, Corpus
from torch import Tensor

__all__ = ["crowds", "disturbed", "flickering"]

BABBLE: Final = 0.35
"""Share of clips with one to three others under them."""
ACCOMPANIED: Final = 0.3
"""Share of clips with music, breaths or a crowd under them."""
SNR: Final = (2.0, 22.0)
"""Decibels; of each of what lies under a clip."""
MASKED: Final = 0.4
"""Share of clips with bands left out, :data:`WIDEST` at most."""
WIDEST: Final = 6

CROWD: Final = (3, 7)
"""Voices that are heard at once where nobody speaks to us; one less than the second at most."""


def crowds(count: int, corpus: Corpus, rng: np.random.Generator) -> Tensor:
    """``(count, LEAD + FRAMES, rows, dims)``: clips and synthetic sentences at once, as loud as one of them."""
    versions, clips = corpus.patches.shape[:2]
    out = []
    for _ in range(count):
        talkers = [
            corpus.spoken[rng.integers(len(corpus.spoken))]
            if len(corpus.spoken) and rng.random() < 0.5
            else corpus.patches[rng.integers(versions), rng.integers(clips)]
            for _ in range(rng.integers(*CROWD))
        ]
        rolled = [talker.roll(int(rng.integers(len(talker))), 0).float() for talker in talkers]
        out.append(torch.stack(rolled).logsumexp(0) - np.log(len(rolled)))
    return torch.stack(out)


def disturbed(patches: Tensor, corpus: Corpus, average: Tensor, rng: np.random.Generator) -> Tensor:
    """Clips' patches ``(B, T, rows, dims)`` with other sounds under many and some bands gone from others."""
    out = patches.clone()

    def lay_under(chosen: NDArray[np.int64], sound: Tensor) -> None:
        # Rows are logarithms of power, and powers add up.
        below = torch.from_numpy(rng.uniform(*SNR, len(chosen)) * np.log(10.0) / 10.0).float()
        out[chosen] = torch.logaddexp(out[chosen], sound[:, : out.shape[1]] - below[:, None, None, None])

    chosen = np.flatnonzero(rng.random(len(out)) < BABBLE)
    if len(chosen):
        versions, clips = corpus.patches.shape[:2]
        crowd = torch.stack(
            [
                corpus.patches[rng.integers(versions, size=len(chosen)), rng.integers(clips, size=len(chosen))].roll(
                    int(rng.integers(LEAD + FRAMES)), 1
                )
                for _ in range(rng.integers(1, 4))
            ]
        )
        lay_under(chosen, crowd.float().logsumexp(0))
    chosen = np.flatnonzero(rng.random(len(out)) < ACCOMPANIED)
    if len(chosen):
        lay_under(chosen, corpus.unspoken[rng.integers(len(corpus.unspoken), size=len(chosen))].float())
    bands = out.shape[-1] - 1  # the last value is the energy
    for index in np.flatnonzero(rng.random(len(out)) < MASKED):
        width = int(rng.integers(1, WIDEST + 1))
        first = int(rng.integers(bands - width))
        out[index, :, :, first : first + width] = average[first : first + width]
    return out


def flickering(patches: Tensor, silence: Tensor, rng: np.random.Generator) -> Tensor:
    """Every other clip as a gate leaves it that opens and shuts at whim, and one in four as one that stays shut."""
    out = patches.clone()
    kind = rng.random(len(out))
    out[torch.from_numpy(kind > 0.75)] = silence
    for index in np.flatnonzero(kind < 0.5):
        flips = rng.random(out.shape[1]) < rng.uniform(0.05, 0.3)
        out[index, torch.from_numpy(np.logical_xor.accumulate(flips))] = silence
    return out
