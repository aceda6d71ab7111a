"""The videos of a study: which clips, drawn by which systems, under names that say nothing."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from streamhead.errors import DataError, OutputError
from streamhead.evaluation.evaluate import Scorer
from streamhead.evaluation.plan import REENCODED, Condition, Model, Pair, Plan
from streamhead.evaluation.videos import VideoFolder, write_clip

__all__ = ["REAL", "Item", "Study", "choose", "make_videos", "plan_study"]

REAL: Final = "real"
"""What the real clips are called among the systems."""
SIDE: Final = 256
"""Of the videos, pixels."""
_FILE: Final = "study.json"


@dataclass(frozen=True, slots=True)
class Item:
    """One video.

    Attributes:
        id: all that a rater's browser gets to know of it.
        data: the data set.
        talker: whose face.
        clip: its name.
        system: what drew it.
    """

    id: str
    data: str
    talker: str
    clip: str
    system: str


@dataclass(frozen=True, slots=True)
class Study:
    """A study's folder: ``study.json``, ``videos/ID.mp4``, ``ratings.sqlite``.

    Attributes:
        folder: where it is.
        seed: of the orders in which raters see the videos.
        items: the videos.
    """

    folder: Path
    seed: int
    items: tuple[Item, ...]

    @classmethod
    def open(cls, folder: Path) -> Study:
        """Read a study's plan.

        Raises:
            DataError: there is none, or it is damaged.
        """
        path = folder / _FILE
        try:
            text = json.loads(path.read_text(encoding="utf-8"))
            return cls(folder, int(text["seed"]), tuple(Item(**item) for item in text["items"]))
        except FileNotFoundError:
            raise DataError(f"no study in {folder}; make one with `streamhead study make {folder}`") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} cannot be read ({error}); make the study again in another folder") from error

    def video(self, item: Item) -> Path:
        """Where a video is."""
        return self.folder / "videos" / f"{item.id}.mp4"

    @property
    def missing(self) -> list[Item]:
        """Items whose video has not been made."""
        return [item for item in self.items if not self.video(item).is_file()]

    def order(self, rater: str) -> list[Item]:
        """The items in the order a rater sees them: shuffled, another way for each, the same way each time."""
        items = list(self.items)
        Random(f"{self.seed} {rater}").shuffle(items)
        return items

    def save(self) -> None:
        """Write the plan.

        Raises:
            OutputError: the folder cannot be written.
        """
        text = json.dumps({"seed": self.seed, "items": [asdict(item) for item in self.items]}, indent=1)
        try:
            (self.folder / "videos").mkdir(parents=True, exist_ok=True)
            fresh = self.folder / f".{_FILE}"
            fresh.write_text(text + "\n", encoding="utf-8")
            os.replace(fresh, self.folder / _FILE)
        except OSError as error:
            raise OutputError(f"cannot write to {self.folder}: {error.strerror}; choose another folder") from error


def choose(sources: Mapping[str, Sequence[Pair]], plan: Plan, videos: int, *, real: bool) -> dict[str, list[Pair]]:
    """Clips of each data set, the same for every system, so that there are at most so many videos.

    Args:
        sources: data set -> its clips.
        plan: the systems.
        videos: in all; rounded down to whole clips.
        real: whether real clips are among them.

    Raises:
        DataError: not even one clip of each data set fits, or a data set has no clip of which all systems have a video.
    """
    rows = len(plan.systems) + real
    count = videos // max(1, rows * len(sources))
    if not rows or not count:
        raise DataError(f"{videos} videos are too few for {rows} systems on {len(sources)} data sets; raise --videos")
    chosen = {}
    for name, pairs in sources.items():
        folders = [system for system in plan.systems if isinstance(system, VideoFolder)]
        usable = [pair for pair in pairs if all(folder.find(pair.clip) for folder in folders)]
        if not usable:
            raise DataError(f"no clip of {name} has a video of every system; see where a folder's videos belong")
        drawn = np.random.default_rng(plan.seed).permutation(len(usable))[:count]
        chosen[name] = [usable[i] for i in sorted(drawn)]
    return chosen


def plan_study(folder: Path, chosen: Mapping[str, Sequence[Pair]], plan: Plan, *, real: bool) -> Study:
    """A study of these clips; the one that is in the folder, where it is of the same.

    Raises:
        DataError: the folder holds another study.
        OutputError: it cannot be written.
    """
    systems = [*([REAL] if real else []), *(system.name for system in plan.systems)]
    wanted = [
        (data, pair.clip.talker, pair.clip.name, system)
        for data, pairs in chosen.items()
        for pair in pairs
        for system in systems
    ]
    if (folder / _FILE).exists():
        study = Study.open(folder)
        if [(item.data, item.talker, item.clip, item.system) for item in study.items] != wanted:
            raise DataError(f"{folder} holds a study of other videos; choose another folder")
        return study
    study = Study(folder, plan.seed, tuple(Item(secrets.token_hex(8), *row) for row in wanted))
    study.save()
    return study


def make_videos(
    study: Study,
    chosen: Mapping[str, Sequence[Pair]],
    plan: Plan,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Draw the videos that are missing, all through the same encoder: 256 px, with the clip's own sound.

    Args:
        study: from :func:`plan_study`.
        chosen: from :func:`choose`.
        plan: the systems; models at the first of its temperatures.
        progress: called with the number of videos there are and their total.

    Raises:
        DataError: a clip or a video cannot be read.
        OutputError: a video cannot be written.
    """
    pairs = {(data, pair.clip.talker, pair.clip.name): pair for data, some in chosen.items() for pair in some}
    models = {system.name for system in plan.systems if isinstance(system, Model)}
    missing = study.missing
    progress(len(study.items) - len(missing), len(study.items))
    with Scorer(plan) as scorer:
        for left, item in enumerate(missing):
            pair = pairs[item.data, item.talker, item.clip]
            condition = REENCODED
            if item.system != REAL:
                condition = Condition(item.system, plan.temperatures[0] if item.system in models else None)
            # Real frames are encoded once, as all others are.
            frames = np.asarray(pair.clip.frames) if condition == REENCODED else scorer.draw(pair, condition)
            assert frames is not None
            write_clip(study.video(item), frames, pair.clip.audio, size=SIDE)
            progress(len(study.items) - len(missing) + left + 1, len(study.items))
