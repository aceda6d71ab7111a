"""``streamhead prepare``: turn a corpus into training data."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["prepare"]


class _Corpus(StrEnum):
    GRID = "grid"
    LRW = "lrw"


class _Aligner(StrEnum):
    MEDIAPIPE = "mediapipe"
    DLIB = "dlib"


def prepare(
    corpus: Annotated[_Corpus, typer.Argument(help="Whose layout the folder has.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The corpus.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where the prepared clips go; what is there is kept.")],
    aligner: Annotated[_Aligner, typer.Option(help="Landmarks that align the faces; the paper used dlib.")] = (
        _Aligner.MEDIAPIPE
    ),
    split: Annotated[
        Path | None, typer.Option(help="JSON file {split: {talker: [clips]}}, for GRID; LRW has its own split.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Cut the faces of GRID or LRW into training data: aligned frames, 16 kHz sound, landmarks, a manifest.

    Ctrl-C stops after the clips in hand; the same command goes on from there.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from streamhead.errors import DataError
    from streamhead.training import prepare as preparation
    from streamhead.training.datasets import grid, lrw

    if corpus is _Corpus.LRW:
        if split is not None:
            raise DataError("LRW brings its own split; leave --split out")
        clips = lrw.find_clips(source)
    else:
        clips = grid.find_clips(source, grid.read_split(split) if split else {})
    console = Console(stderr=True)
    columns = (TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=len(clips))
            report = preparation.prepare(
                clips,
                out,
                aligner=aligner.value,
                jobs=jobs,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except KeyboardInterrupt:
        console.print(f"stopped; what is done is in {out}, the same command goes on", soft_wrap=True)
        raise typer.Exit(130) from None
    for name, reason in report.skipped:
        console.print(f"skipped {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
    done = report.prepared + report.kept
    if not done:
        raise DataError(f"none of the {len(clips)} clips of {source} could be used; the reasons are above")
    console.print(
        f"{report.prepared} clips prepared, {report.kept} kept, {len(report.skipped)} skipped: {out}", soft_wrap=True
    )
