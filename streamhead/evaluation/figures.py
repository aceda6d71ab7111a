"""Strips: real frames above generated ones, over time (Figures 3 and 4 of the paper)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from streamhead.errors import OutputError
from streamhead.evaluation.evaluate import Scorer
from streamhead.evaluation.plan import Pair, Plan
from streamhead.output.disclosure import png_labels

__all__ = ["busiest", "draw_strips", "strip"]

_LABEL_WIDTH: Final = 92
_LABEL_HEIGHT: Final = 20
_TEXT_SIZE: Final = 13
_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 30, 30)


def busiest(speech: NDArray[np.bool_], count: int = 12, step: int = 3) -> NDArray[np.int64]:
    """Frame numbers to show, every ``step``-th of a stretch with as much speech as any.

    Args:
        speech: ``(T,)`` whether frame t has speech.
        count: how many frames; fewer where the clip is too short.
        step: frames between two of them.
    """
    span = min((count - 1) * step + 1, len(speech))
    heard = np.convolve(speech.astype(np.float64), np.ones(span), "valid")
    best = np.flatnonzero(heard == heard.max())
    start = int(best[len(best) // 2])
    return np.arange(start, start + span, step)


def strip(path: Path, rows: Mapping[str, NDArray[np.uint8]], index: Sequence[int] | NDArray[np.int64]) -> None:
    """Write a PNG with one row of frames for each label, and the frames' numbers above.

    Args:
        path: the picture; its folder is made if missing.
        rows: label -> frames ``(T, height, width, 3)`` RGB, all of one size.
        index: which frames.

    Raises:
        OutputError: the picture cannot be written.
    """
    height, width = next(iter(rows.values())).shape[1:3]
    size = (_LABEL_WIDTH + width * len(index), _LABEL_HEIGHT + height * len(rows))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT_SIZE)
    for column, t in enumerate(index):
        centre = _LABEL_WIDTH + width * column + width // 2
        draw.text((centre, _LABEL_HEIGHT // 2), f"t = {t}", _INK, font, anchor="mm")
    for line, (label, frames) in enumerate(rows.items()):
        top = _LABEL_HEIGHT + height * line
        draw.multiline_text((6, top + height // 2), label.replace(", ", "\n"), _INK, font, anchor="lm")
        sheet.paste(Image.fromarray(np.concatenate(list(frames[np.asarray(index)]), axis=1)), (_LABEL_WIDTH, top))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        sheet.save(fresh, "PNG", optimize=True, pnginfo=png_labels())
        os.replace(fresh, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --out") from error


def draw_strips(folder: Path, pairs: Sequence[Pair], plan: Plan, count: int) -> list[Path]:
    """Strips of the first ``count`` clips of each talker: real above what each temperature draws.

    Returns:
        The pictures, ``TALKER-NAME.png``.

    Raises:
        OutputError: the folder cannot be written.
    """
    seen: Counter[str] = Counter()
    paths = []
    with Scorer(plan) as scorer:
        for pair in pairs:
            clip = pair.clip
            seen[clip.talker] += 1
            if seen[clip.talker] > count:
                continue
            rows: dict[str, NDArray[np.uint8]] = {f"real, {clip.talker}, {clip.name}": np.asarray(clip.frames)}
            for condition in plan.conditions:
                if condition.temperature is None or condition.other_audio:
                    continue
                drawn = scorer.draw(pair, condition)
                if drawn is not None:
                    rows[condition.label] = drawn
            path = folder / f"{clip.talker}-{clip.name}.png"
            strip(path, rows, busiest(clip.speech))
            paths.append(path)
    return paths
