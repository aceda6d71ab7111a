"""What is to be scored: clips, and under which conditions; the rows of the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamhead.errors import CheckpointError, DataError
from streamhead.evaluation.protocols import STANDARD, Protocol
from streamhead.model.checkpoint import read_header
from streamhead.stream.talking_head import COHERENCE
from streamhead.training.batches import Clip, read_clips

__all__ = ["STILL", "Condition", "Model", "Pair", "Plan", "choose_clips"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What is scored: a row of the tables.

    Attributes:
        system: the model's preset, or ``still``.
        temperature: of the sampling noise; None for ``still``.
        other_audio: whether the model hears another clip of the talker: what is not owed to the sound.
    """

    system: str
    temperature: float | None = None
    other_audio: bool = False

    @property
    def label(self) -> str:
        """As it stands in the tables."""
        if self.temperature is None:
            return "still first frame"
        hearing = ", another clip's audio" if self.other_audio else ""
        return f"{self.system}, T {self.temperature:g}{hearing}"


STILL: Final = Condition("still")
"""The control that does nothing: the clip's first frame, all along."""


@dataclass(frozen=True, slots=True)
class Model:
    """Weights and what they are.

    Attributes:
        weights: the checkpoint.
        preset: of its network.
        sha256: of its content.
    """

    weights: Path
    preset: str
    sha256: str

    @classmethod
    def of(cls, weights: Path, preset: str | None = None) -> Model:
        """Read a checkpoint's header.

        Raises:
            CheckpointError: the weights cannot be used, or are of another preset.
        """
        header = read_header(weights)
        if preset not in (None, header.network.preset):
            raise CheckpointError(
                f"{weights} is of preset {header.network.preset!r}, not {preset!r}; pass --preset or other weights"
            )
        return cls(weights, header.network.preset, header.sha256)


@dataclass(frozen=True, slots=True)
class Plan:
    """How clips are to be scored.

    Attributes:
        model: None to score the still frame alone.
        temperatures: each gives two rows, own and another clip's audio.
        seed: of the takes, of the choice of clips and of the intervals.
        protocol: what is measured.
        device: where the model runs.
    """

    model: Model | None
    temperatures: tuple[float, ...] = (0.0, 1.0)
    seed: int = 0
    protocol: Protocol = STANDARD
    device: str = "auto"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The rows."""
        if self.model is None:
            return (STILL,)
        own = [Condition(self.model.preset, temperature) for temperature in self.temperatures]
        return (*own, *(replace(condition, other_audio=True) for condition in own), STILL)

    @property
    def facts(self) -> dict[str, Any]:
        """What stands beside every figure."""
        return {
            "protocol": self.protocol.name,
            "seed": self.seed,
            "coherence": COHERENCE,
            "preset": self.model.preset if self.model else None,
            "weights": self.model.sha256 if self.model else None,
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """A clip to be scored, and the clip of the same talker whose sound it is also given, if there is another."""

    clip: Clip
    other: Clip | None


def choose_clips(
    prepared: Path, split: str, *, talkers: Sequence[str] = (), limit: int | None = None, seed: int = 0
) -> list[Pair]:
    """Clips of a split, each with another one of its talker: the one half of the talker's list away.

    Neighbours in the list would share words, for a GRID clip's name codes its sentence.

    Args:
        prepared: folder made by ``streamhead prepare``.
        split: as in its manifest.
        talkers: those wanted; none for all.
        limit: at most so many clips of each talker, drawn with the seed.
        seed: of that draw.

    Raises:
        DataError: no manifest, no such split, or no such talker.
    """
    by_talker: dict[str, list[Clip]] = defaultdict(list)
    for clip in read_clips(prepared, split):
        by_talker[clip.talker].append(clip)
    if missing := [talker for talker in talkers if talker not in by_talker]:
        raise DataError(
            f"no clip of {', '.join(missing)} in split {split!r} of {prepared}; it has {', '.join(by_talker)}"
        )
    pairs: list[Pair] = []
    for talker in talkers or by_talker:
        clips = by_talker[talker]
        count = len(clips)
        half = max(1, count // 2)
        all_pairs = [Pair(clip, clips[(i + half) % count] if count > 1 else None) for i, clip in enumerate(clips)]
        if limit is not None and limit < count:
            drawn = np.random.default_rng(seed).choice(count, limit, replace=False)
            all_pairs = [all_pairs[i] for i in sorted(drawn)]
        pairs += all_pairs
    return pairs
