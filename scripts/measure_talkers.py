#!/usr/bin/env python3
"""How well the lips of each talker follow, one by one, with an interval also where there is a single clip.

    scripts/measure_talkers.py PREPARED --weights WEIGHTS --trained s1,s4 > table.md

Every clip of every talker that the weights were not trained on (`--trained` names those they were), the product at
temperature 1, scored as `streamhead evaluate` does. The controls hear another talker's clip. An interval is a bootstrap
over a talker's clips and, within each, over stretches of frames: neighbouring frames are no two observations.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from streamhead.errors import DataError, StreamheadError
from streamhead.evaluation.generate import generate, head_of
from streamhead.evaluation.sync import correlation, detrend, find_landmarks, mouth_opening
from streamhead.face.align import MOUTH
from streamhead.face.landmarks import LandmarkFinder
from streamhead.model.checkpoint import shipped_weights
from streamhead.stream.engine import Engine
from streamhead.training.batches import Clip, read_clips

STRETCH: Final = 15
"""Frames that are drawn together: the window that is taken away as slow movement."""
DRAWS: Final = 2000
SHIPPED_WITH: Final = "s1,s2,s3,s4,s5,s23,s30,s32,s33,s34,u2"
Series = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """One clip.

    Attributes:
        real: the mouth's opening less its moving average, ``(T,)``.
        drawn: the same of what was generated.
        control: the same, generated from another talker's sound.
        mouth: error of the mouth region, a mean a frame.
        still: the same of the first frame.
    """

    real: Series
    drawn: Series
    control: Series
    mouth: Series
    still: Series


def score(engine: Engine, finder: LandmarkFinder, clip: Clip, other: Clip, seed: int) -> Scored:
    """Draw a clip from its own sound and from another's."""
    real, head = np.asarray(clip.frames), head_of(engine, clip)
    drawn, control = (generate(head, clip, sound, seed=seed, temperature=1.0) for sound in (clip, other))
    openings = [detrend(mouth_opening(find_landmarks(frames, finder))) for frames in (real, drawn, control)]

    def error(frames: NDArray[np.uint8]) -> Series:
        off = (real[1:, *MOUTH].astype(np.float64) - frames[:, *MOUTH]) / 255.0
        return np.asarray((off**2).mean((1, 2, 3)))

    return Scored(*openings, error(drawn[1:]), error(real[:1]))


def _psnr(errors: Series) -> float:
    return float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10))))


def figures(clips: list[Scored], chosen: list[NDArray[np.intp]]) -> list[float]:
    """Correlation, that of the control, ratio of standard deviations, mouth PSNR, still's: means over clips."""
    rows = []
    for clip, frames in zip(clips, chosen, strict=True):
        real, drawn, control = (part[frames] for part in (clip.real, clip.drawn, clip.control))
        later = np.maximum(frames - 1, 0)  # pictures are scored from the second frame on
        rows.append(
            [
                correlation(real, drawn) or 0.0,
                correlation(real, control) or 0.0,
                float(drawn.std() / max(real.std(), 1e-9)),
                _psnr(clip.mouth[later]),
                _psnr(clip.still[later]),
            ]
        )
    return np.mean(rows, 0).tolist()


def interval(clips: list[Scored], rng: np.random.Generator) -> NDArray[np.float64]:
    """``(2, figures)``: bounds of 95 in 100 draws."""
    draws = []
    for _ in range(DRAWS):
        taken = [clips[i] for i in rng.integers(len(clips), size=len(clips))]
        chosen = []
        for clip in taken:
            length = len(clip.real)
            starts = rng.integers(max(length - STRETCH, 0) + 1, size=-(-length // STRETCH))
            frames = (starts[:, None] + np.arange(STRETCH)).ravel()[:length]
            chosen.append(np.minimum(frames, length - 1))
        draws.append(figures(taken, chosen))
    return np.percentile(draws, (2.5, 97.5), axis=0)


def main(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `streamhead prepare`.")],
    weights: Annotated[Path | None, typer.Option(help="Checkpoint; default: the shipped one.")] = None,
    trained: Annotated[str, typer.Option(help="Talkers the weights know, separated by commas.")] = SHIPPED_WITH,
    seed: Annotated[int, typer.Option(help="Of the takes and the intervals.")] = 0,
) -> None:
    """Print a table, a talker a row."""
    torch.set_num_threads(1)
    known = frozenset(trained.split(","))
    clips = [clip for clip in read_clips(prepared) if clip.talker not in known]
    if not clips:
        raise DataError(f"{prepared} has nobody whom the weights do not know; name fewer talkers as --trained")
    engine, rng = Engine(weights or shipped_weights("call")), np.random.default_rng(seed)
    scored: dict[str, list[Scored]] = {}
    with LandmarkFinder() as finder:
        for clip in track(clips, "clips", console=Console(stderr=True)):
            other = next((c for c in clips if c.talker != clip.talker), None)
            if other is None:
                raise DataError("a single talker has nobody whose sound would be the control")
            scored.setdefault(clip.talker, []).append(score(engine, finder, clip, other, seed))
    print("| talker | clips | lip correlation | other audio | std ratio | mouth PSNR | still |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    groups = {talker: scored[talker] for talker in sorted(scored)}
    for talker, group in {**groups, "all": [one for several in groups.values() for one in several]}.items():
        means = figures(group, [np.arange(len(clip.real)) for clip in group])
        low, high = interval(group, rng)
        cells = (f"{mean:.2f} [{a:.2f}, {b:.2f}]" for mean, a, b in zip(means, low, high, strict=True))
        print(f"| {talker} | {len(group)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamheadError as error:
        sys.exit(f"error: {error}")
