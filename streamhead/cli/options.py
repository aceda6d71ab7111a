"""Options that several commands have, and values that they read alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamhead.evaluation.plan import System

__all__ = [
    "ClipsOption",
    "DeviceOption",
    "SeedOption",
    "SplitOption",
    "SystemOption",
    "TalkersOption",
    "parse_names",
    "parse_size",
    "parse_systems",
    "parse_temperatures",
]

SystemOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PLACE",
        help="A checkpoint, or a folder of videos TALKER/NAME.mp4; or the name of a preset that is shipped. "
        "May be given several times; default: call.",
    ),
]
SplitOption = Annotated[str, typer.Option(help="Which of the prepared clips.")]
ClipsOption = Annotated[int, typer.Option(min=1, help="At most so many clips in all, drawn with the seed.")]
TalkersOption = Annotated[str, typer.Option(metavar="A,B", help="Only these talkers.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the takes, the draw of clips and the intervals.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


def parse_names(text: str) -> list[str]:
    """``a,b`` -> [a, b]."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_temperatures(text: str) -> tuple[float, ...]:
    """``0,1`` -> (0.0, 1.0).

    Raises:
        typer.BadParameter: not numbers from 0 up.
    """
    try:
        numbers = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        numbers = (-1.0,)
    if not all(0.0 <= number < float("inf") for number in numbers):
        raise typer.BadParameter(f"{text!r}: write numbers from 0 up, as 0,1", param_hint="--temperature")
    return numbers


def parse_systems(
    given: list[str] | None, weights: Path | None = None, preset: str | None = None
) -> tuple[System, ...]:
    """The systems that the options name; the shipped ``call`` where they name none.

    Raises:
        DataError: one of them is nowhere.
        CheckpointError: one's weights cannot be used.
    """
    from streamhead.evaluation.plan import Model, read_system
    from streamhead.model.checkpoint import shipped_weights

    systems = [read_system(text) for text in given or ()]
    if weights is not None or preset is not None or not systems:
        systems.insert(0, Model.of(weights or shipped_weights(preset or "call"), preset))
    return tuple(systems)


def parse_size(text: str) -> tuple[int, int]:
    """``1280x720`` -> (1280, 720).

    Raises:
        typer.BadParameter: not two even numbers from 64 to 4096.
    """
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; write it as 1280x720", param_hint="--size")
    width, height = int(match[1]), int(match[2])
    if not all(64 <= side <= 4096 and side % 2 == 0 for side in (width, height)):
        raise typer.BadParameter(f"{text!r}: both sides must be even, from 64 to 4096", param_hint="--size")
    return width, height
