"""Option values that several commands read alike."""

from __future__ import annotations

import re

import typer

__all__ = ["parse_size"]


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
