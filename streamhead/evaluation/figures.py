"""Strips: real frames above generated ones over time, and takes beside each other (Figures 3 to 5 of the paper)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from streamhead.errors import DataError, OutputError
from streamhead.evaluation.evaluate import Scorer
from streamhead.evaluation.generate import generate
from streamhead.evaluation.plan import Condition, Model, Pair, Plan
from streamhead.output.disclosure import png_labels
from streamhead.timebase import FPS
from streamhead.training.batches import Clip

__all__ = ["Layout", "busiest", "differences", "draw_strips", "draw_takes", "moments", "save", "stack", "strip"]

Layout = Literal["grid", "lrw"]
"""``grid``: sentences, 12 frames, a picture a clip. ``lrw``: words, 8 frames, all clips in one picture."""

_LABEL_WIDTH: Final = 92
_LABEL_HEIGHT: Final = 20
_TEXT_SIZE: Final = 13
_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 30, 30)
_MARK: Final = (230, 30, 30)
_WORD_FRAMES: Final = 8
_WORD_AIR: Final = 2
_LEAST: Final = 4.0  # grey levels
_SHARE: Final = 0.35
_MOST_MARKS: Final = 3


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


def moments(clip: Clip, layout: Layout) -> NDArray[np.int64]:
    """Frame numbers that a strip shows: the busiest second and a half of a sentence, or a word from end to end."""
    if layout == "grid":
        return busiest(clip.speech)
    count = len(clip.frames)
    start, end = (clip.words[0][0] * FPS, clip.words[-1][1] * FPS) if clip.words else (0.0, float(count))
    first, last = max(0.0, start - _WORD_AIR), min(count - 1.0, end + _WORD_AIR)
    return np.unique(np.rint(np.linspace(first, last, _WORD_FRAMES)).astype(np.int64))


def strip(
    rows: Mapping[str, NDArray[np.uint8]],
    index: Sequence[int] | NDArray[np.int64],
    titles: Sequence[str] | None = None,
) -> Image.Image:
    """A picture with one row of frames for each label, and the frames' numbers above.

    Args:
        rows: label -> frames ``(T, height, width, 3)`` RGB, all of one size; a row that is too short ends in white.
        index: which frames.
        titles: what stands above them instead.
    """
    height, width = next(iter(rows.values())).shape[1:3]
    sheet = Image.new("RGB", (_LABEL_WIDTH + width * len(index), _LABEL_HEIGHT + height * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT_SIZE)
    for column, t in enumerate(index):
        centre = _LABEL_WIDTH + width * column + width // 2
        title = f"t = {t}" if titles is None else titles[column]
        draw.text((centre, _LABEL_HEIGHT // 2), title, _INK, font, anchor="mm")
        for line, frames in enumerate(rows.values()):
            if t < len(frames):
                place = (_LABEL_WIDTH + width * column, _LABEL_HEIGHT + height * line)
                sheet.paste(Image.fromarray(np.asarray(frames[t])), place)
    for line, label in enumerate(rows):
        middle = _LABEL_HEIGHT + height * line + height // 2
        draw.multiline_text((6, middle), label.replace(", ", "\n"), _INK, font, anchor="lm")
    return sheet


def stack(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures one below the other."""
    sheet = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), _PAPER)
    top = 0
    for one in pictures:
        sheet.paste(one, (0, top))
        top += one.height
    return sheet


def save(path: Path, picture: Image.Image) -> Path:
    """Write a PNG; its folder is made if missing.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        picture.save(fresh, "PNG", optimize=True, pnginfo=png_labels())
        os.replace(fresh, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --out") from error
    return path


def _own(condition: Condition, plan: Plan) -> bool:
    """Whether a row is a system's, hearing the clip's own sound."""
    return plan.system(condition) is not None and not condition.other_audio


def draw_strips(
    folder: Path,
    pairs: Sequence[Pair],
    plan: Plan,
    *,
    per_talker: int | None = None,
    layout: Layout = "grid",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Strips of clips: real above what each system draws at each temperature.

    Args:
        folder: where they go.
        pairs: the clips.
        plan: the systems.
        per_talker: only the first so many clips of each talker.
        layout: see :data:`Layout`.
        progress: called with the number of clips done and their total.

    Returns:
        The pictures: ``TALKER-NAME.png`` each, or ``strips.png`` in the layout ``lrw``.

    Raises:
        OutputError: the folder cannot be written.
        DataError: a clip or a video cannot be read.
    """
    seen: Counter[str] = Counter()
    chosen = []
    for pair in pairs:
        seen[pair.clip.talker] += 1
        if per_talker is None or seen[pair.clip.talker] <= per_talker:
            chosen.append(pair)
    paths, pictures = [], []
    progress(0, len(chosen))
    with Scorer(plan) as scorer:
        for done, pair in enumerate(chosen, 1):
            clip = pair.clip
            rows: dict[str, NDArray[np.uint8]] = {f"real, {clip.talker}, {clip.name}": np.asarray(clip.frames)}
            for condition in plan.conditions:
                if _own(condition, plan) and (drawn := scorer.draw(pair, condition)) is not None:
                    rows[condition.label] = drawn
            picture = strip(rows, moments(clip, layout))
            if layout == "grid":
                paths.append(save(folder / f"{clip.talker}-{clip.name}.png", picture))
            else:
                pictures.append(picture)
            progress(done, len(chosen))
    return [*paths, save(folder / "strips.png", stack(pictures))] if pictures else paths


def differences(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How far two takes are apart around each pixel, ``(T, height, width)`` grey levels, the codec-sized noise gone."""
    apart = np.abs(one.astype(np.float32) - other).mean(axis=-1)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in apart]).astype(np.float32)


def _boxes(apart: NDArray[np.float32], threshold: float) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of the largest places of a frame where two takes differ."""
    high = cv2.dilate((apart > threshold).astype(np.uint8), np.ones((5, 5), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(high)
    places = sorted(stats[1:], key=lambda place: -int(place[cv2.CC_STAT_AREA]))[:_MOST_MARKS]
    return [(int(x), int(y), int(x + w - 1), int(y + h - 1)) for x, y, w, h, _ in places]


def draw_takes(
    folder: Path,
    pairs: Sequence[Pair],
    plan: Plan,
    seeds: tuple[int, int] = (0, 1),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Two takes of one face and one voice, framed in red where they differ, and the difference itself (Figure 5).

    A place is framed where the takes are apart by 35 % of the largest distance in the frames shown, 4 grey levels at
    least.

    Args:
        folder: where they go, ``TALKER-NAME-SYSTEM.png``.
        pairs: the clips.
        plan: its models are shown, at the highest of its temperatures.
        seeds: of the takes.
        progress: called with the number of clips done and their total.

    Raises:
        DataError: there is no model, or it is to be shown at temperature 0, where takes do not differ.
        OutputError: the folder cannot be written.
    """
    models = [system for system in plan.systems if isinstance(system, Model)]
    temperature = max(plan.temperatures)
    if not models or not temperature:
        raise DataError("takes are drawn by a model at a temperature above 0; name one with --system")
    paths = []
    with Scorer(plan) as scorer:
        progress(0, len(pairs))
        for done, pair in enumerate(pairs, 1):
            clip = pair.clip
            index = moments(clip, "grid")
            for model in models:
                head = scorer.head(model, clip)
                takes = [generate(head, clip, clip, seed=seed, temperature=temperature)[index] for seed in seeds]
                apart = differences(takes[0], takes[1])
                threshold = max(_LEAST, _SHARE * float(apart.max()))
                marked = [
                    np.stack([_framed(take[t], _boxes(apart[t], threshold)) for t in range(len(index))])
                    for take in takes
                ]
                heat = np.clip(apart / max(float(apart.max()), 1e-6) * 255, 0, 255).astype(np.uint8)
                shown = [np.asarray(clip.frames)[index], *marked, np.repeat(heat[..., None], 3, axis=-1)]
                labels = [
                    "real",
                    *(f"{model.name}, T {temperature:g}, seed {seed}" for seed in seeds),
                    f"difference, white = {apart.max():.0f}, of 255",
                ]
                picture = strip(
                    dict(zip(labels, shown, strict=True)), range(len(index)), titles=[f"t = {t}" for t in index]
                )
                paths.append(save(folder / f"{clip.talker}-{clip.name}-{model.name}.png", picture))
            progress(done, len(pairs))
    return paths


def _framed(frame: NDArray[np.uint8], boxes: Sequence[tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        draw.rectangle(box, outline=_MARK)
    return np.asarray(picture)
