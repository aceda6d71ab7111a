"""What is to be scored: clips, and under which conditions; the rows of the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from streamhead.errors import CheckpointError, DataError
from streamhead.evaluation.protocols import STANDARD, Protocol
from streamhead.evaluation.videos import VideoFolder
from streamhead.model.checkpoint import read_header, shipped_weights
from streamhead.model.config import PRESETS
from streamhead.stream.talking_head import COHERENCE
from streamhead.training.batches import Clip, read_clips

__all__ = [
    "PUPPET",
    "REENCODED",
    "STILL",
    "Condition",
    "Extra",
    "Model",
    "Pair",
    "Plan",
    "System",
    "choose_clips",
    "read_system",
]

Extra = Literal["identity", "lpips"]
"""Measures that need an extra, and are taken only when asked for."""


@dataclass(frozen=True, slots=True)
class Model:
    """Weights and what they are.

    Attributes:
        weights: the checkpoint.
        preset: of its network.
        sha256: of its content.
        name: in the tables; the preset, unless the user gave one.
    """

    weights: Path
    preset: str
    sha256: str
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.preset)

    @classmethod
    def of(cls, weights: Path, preset: str | None = None, name: str = "") -> Model:
        """Read a checkpoint's header.

        Raises:
            CheckpointError: the weights cannot be used, or are of another preset.
        """
        header = read_header(weights)
        if preset not in (None, header.network.preset):
            raise CheckpointError(
                f"{weights} is of preset {header.network.preset!r}, not {preset!r}; pass --preset or other weights"
            )
        return cls(weights, header.network.preset, header.sha256, name)

    @property
    def facts(self) -> dict[str, Any]:
        """What stands beside its figures."""
        return {"preset": self.preset, "weights": self.sha256, "coherence": COHERENCE}


System = Model | VideoFolder
"""What is compared: weights that are run here, or videos that some other program made."""


def read_system(text: str) -> System:
    """A system from ``NAME=CHECKPOINT``, ``NAME=FOLDER`` of videos, or the name of a preset that is shipped.

    Raises:
        DataError: there is neither a file nor a folder of that name.
        CheckpointError: the weights cannot be used.
    """
    name, given, place = text.partition("=")
    if not name or (given and not place):
        raise DataError(f"--system {text!r}: write NAME=FILE or NAME=FOLDER, or the name of a preset")
    if not given:
        return Model.of(shipped_weights(name), name)
    path = Path(place)
    if path.is_dir():
        return VideoFolder.of(path, name)
    if path.is_file():
        return Model.of(path, name=name)
    raise DataError(f"--system {text!r}: {path} is neither a checkpoint nor a folder of videos")


@dataclass(frozen=True, slots=True)
class Condition:
    """What is scored: a row of the tables.

    Attributes:
        system: a system's name, ``still`` or ``real``.
        temperature: of the sampling noise; None where nothing is sampled here.
        other_audio: whether the model hears another clip of the talker: what is not owed to the sound.
        title: as it stands in the tables, unless temperature and sound say it.
    """

    system: str
    temperature: float | None = None
    other_audio: bool = False
    title: str = ""

    @property
    def label(self) -> str:
        """As it stands in the tables."""
        if self.temperature is None:
            return self.title or self.system
        hearing = ", another clip's audio" if self.other_audio else ""
        return f"{self.system}, T {self.temperature:g}{hearing}"


STILL: Final = Condition("still", title="still first frame")
"""The control that does nothing: the clip's first frame, all along."""

REENCODED: Final = Condition("real", title="ground truth re-encoded")
"""The control that is right: the clip itself, through the video file the product writes."""

PUPPET: Final = Condition("puppet", title="puppet of loudness")
"""The control that hears no more than how loud it is: see :mod:`streamhead.evaluation.puppet`."""

_RESERVED: Final = frozenset({STILL.system, REENCODED.system, PUPPET.system})


@dataclass(frozen=True, slots=True)
class Plan:
    """How clips are to be scored.

    Attributes:
        systems: what is compared; none for the controls alone.
        temperatures: each gives two rows of each model, own and another clip's audio; a model that samples nothing has
            those at 0 alone.
        seed: of the takes, of the choice of clips and of the intervals.
        protocols: how pictures are scored; each clip is drawn once for all of them.
        extras: measures that need an extra.
        device: where models run.
        puppet: whether the first model's face is also scored with a mouth that loudness alone moves.

    Raises:
        DataError: there is no model for a puppet, two systems share a name, or one has a control's.
    """

    systems: tuple[System, ...] = ()
    temperatures: tuple[float, ...] = (0.0, 1.0)
    seed: int = 0
    protocols: tuple[Protocol, ...] = (STANDARD,)
    extras: tuple[Extra, ...] = ()
    device: str = "auto"
    puppet: bool = False

    def __post_init__(self) -> None:
        if self.puppet and self.first_model is None:
            raise DataError("a puppet has a model's face; name a model with --system, or leave out --puppet")
        names = [system.name for system in self.systems]
        for name in names:
            if names.count(name) > 1 or name in _RESERVED:
                raise DataError(f"two rows would be called {name!r}; name the systems apart: --system NAME=...")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The rows of a table."""
        own: list[Condition] = []
        for system in self.systems:
            if isinstance(system, Model):
                own += [
                    Condition(system.name, temperature, other)
                    for other in (False, True)
                    for temperature in (self.temperatures if PRESETS[system.preset].samples else (0.0,))
                ]
            else:
                own.append(Condition(system.name))
        return (*own, *([PUPPET] * self.puppet), STILL, REENCODED)

    @property
    def first_model(self) -> Model | None:
        """The first system that is run here; its face is the puppet's."""
        return next((system for system in self.systems if isinstance(system, Model)), None)

    @property
    def rows(self) -> tuple[tuple[Protocol, Condition], ...]:
        """Those of the tables of all protocols, one table after the other."""
        return tuple(product(self.protocols, self.conditions))

    def system(self, condition: Condition) -> System | None:
        """The system behind a row; None for a control."""
        return next((system for system in self.systems if system.name == condition.system), None)

    def facts(self, protocol: Protocol, condition: Condition) -> dict[str, Any]:
        """What stands beside every figure of a row."""
        blank = {"preset": None, "weights": None, "coherence": None}
        system = self.first_model if condition == PUPPET else self.system(condition)
        shared = {"protocol": protocol.name, "seed": self.seed}
        return {**shared, **blank, **(system.facts if isinstance(system, Model) else {})}


@dataclass(frozen=True, slots=True)
class Pair:
    """A clip to be scored, and the clip of the same talker whose sound it is also given, if there is another."""

    clip: Clip
    other: Clip | None


def choose_clips(
    prepared: Path,
    split: str,
    *,
    talkers: Sequence[str] = (),
    limit: int | None = None,
    per_talker: int | None = None,
    seed: int = 0,
) -> list[Pair]:
    """Clips of a split, each with another one of its talker: the one half of the talker's list away.

    Neighbours in the list would share words, for a GRID clip's name codes its sentence.

    Args:
        prepared: folder made by ``streamhead prepare``.
        split: as in its manifest.
        talkers: those wanted; none for all.
        limit: at most so many clips in all, drawn with the seed.
        per_talker: at most so many of each talker, drawn with the seed, before the limit.
        seed: of the draws.

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
        own = [Pair(clip, clips[(i + half) % count] if count > 1 else None) for i, clip in enumerate(clips)]
        pairs += _drawn(own, per_talker, seed)
    return _drawn(pairs, limit, seed)


def _drawn(pairs: list[Pair], limit: int | None, seed: int) -> list[Pair]:
    """At most so many of them, in their order."""
    if limit is None or limit >= len(pairs):
        return pairs
    return [pairs[i] for i in sorted(np.random.default_rng(seed).choice(len(pairs), limit, replace=False))]
