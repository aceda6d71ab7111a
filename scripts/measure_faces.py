#!/usr/bin/env python3
"""What the shipped head does to many faces: a contact sheet, and figures of sharpness, seam, flicker and identity.

    .venv/bin/python scripts/make_sheet_faces.py ../shared/data/grid FACES
    .venv/bin/python scripts/measure_faces.py FACES --sheet docs/images/faces.jpg
    .venv/bin/python scripts/measure_faces.py --prepared PREPARED

The first 3.6 seconds of the default speech, seed 1, default temperature, ``still``, 1280x720. Beside the pictures in
FACES come the default portrait and scikit-image's astronaut (NASA, public domain). Tables go to standard output as
Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage import data

import streamhead
from streamhead.assets import default_speech
from streamhead.evaluation.learned_metrics import Identity
from streamhead.face import compositor
from streamhead.face.align import crop, transform_points
from streamhead.face.compositor import window
from streamhead.face.landmarks import LandmarkFinder
from streamhead.face.letterbox import letterbox
from streamhead.face.portrait import Portrait
from streamhead.stream.talking_head import TalkingHead

Picture = NDArray[np.uint8]
Points = NDArray[np.floating[Any]]

SEED: Final = 1
FRAMES: Final = 90
SIZE: Final = (1280, 720)
STILL: Final = (slice(10, 34), slice(44, 84))
"""Rows and columns of the square that are still in real clips: the forehead."""
OUTER: Final = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
INNER: Final = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
SHAPES: Final = ("rest", "open", "closed", "wide", "rounded")
CELL: Final = (172, 196)


@dataclass(frozen=True)
class Take:
    """One face that spoke."""

    name: str
    portrait: Portrait
    fitted: Picture
    to_canonical: NDArray[np.float64]
    own: Points
    frames: list[Picture]
    points: list[Points]


def portraits(folder: Path) -> Iterator[Portrait]:
    """Default portrait, astronaut, and the pictures of a folder."""
    yield Portrait.default()
    yield Portrait.from_image(data.astronaut(), name="astronaut")
    for path in sorted(folder.glob("*.png")):
        yield Portrait.open(path, cache=False)


def take(head: TalkingHead, portrait: Portrait, finder: LandmarkFinder) -> Take:
    """Let a face speak."""
    fitted = letterbox(portrait.image, SIZE)
    back = np.linalg.inv(np.vstack([fitted.to_frame, (0, 0, 1)]))
    speaker = head.with_portrait(portrait)
    made = speaker.render(default_speech(), seed=SEED, still=True, size=SIZE)
    frames = [frame.image for frame in islice(made, FRAMES)]
    own = transform_points(fitted.to_frame, portrait.landmarks)
    points = [(finder.find(frame) or [own])[0] for frame in frames]
    return Take(portrait.name, portrait, fitted.frame, portrait.to_canonical @ back, own, frames, points)


def mouth(points: Points) -> tuple[float, float]:
    """How far the lips are apart and how wide they are, in eye distances."""
    eyes = np.linalg.norm(points[[33, 133]].mean(0) - points[[362, 263]].mean(0))
    apart, wide = (np.linalg.norm(points[a] - points[b]) / eyes for a, b in ((13, 14), (61, 291)))
    return float(apart), float(wide)


def shapes(one: Take) -> list[int]:
    """The frames that show ``SHAPES``."""
    apart, wide = np.array([mouth(points) for points in one.points]).T
    spoken = np.arange(len(apart)) >= 10  # the clip begins with silence
    half_open = spoken & (apart >= np.percentile(apart[spoken], 40))
    return [
        0,
        int(np.where(spoken, apart, -1.0).argmax()),
        int(np.where(spoken, apart, 9.0).argmin()),
        int(np.where(spoken, wide, -1.0).argmax()),
        int(np.where(half_open, wide, 9.0).argmin()),
    ]


def cells(one: Take) -> Picture:
    """The five shapes side by side, under the face's name."""
    to_cell = one.to_canonical.copy()
    to_cell[:, 2] += (2.0, 16.0)
    to_cell *= CELL[0] / 132.0
    row = [cv2.warpAffine(one.frames[i], to_cell, CELL, flags=cv2.INTER_AREA) for i in shapes(one)]
    strip = Image.new("RGB", (CELL[0] * len(row), CELL[1] + 22), "white")
    strip.paste(Image.fromarray(np.concatenate(row, 1)), (0, 22))
    ImageDraw.Draw(strip).text((4, 3), one.name, "black", ImageFont.load_default(14))
    return np.asarray(strip)


def save_sheet(rows: list[Picture], path: Path) -> None:
    """Two faces in a row, not more than 600 kB."""
    gap = np.full((len(rows[0]), 12, 3), 255, np.uint8)
    pairs = [np.concatenate([left, gap, right], 1) for left, right in zip(rows[::2], rows[1::2], strict=True)]
    sheet = Image.fromarray(np.concatenate(pairs))
    for quality in (90, 85, 80, 75, 65):
        sheet.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= 600_000:
            return


def lips(shape: tuple[int, ...], points: Points) -> NDArray[np.bool_]:
    """Where the lips are, without their rim and the mouth's inside."""
    areas = []
    for ring in (OUTER, INNER):
        area = np.zeros(shape[:2], np.uint8)
        cv2.fillPoly(area, [np.round(points[ring]).astype(np.int32)], (1,))
        areas.append(area)
    inside = cv2.dilate(areas[1], np.ones((5, 5), np.uint8))
    return np.asarray((cv2.erode(areas[0], np.ones((3, 3), np.uint8)) > 0) & (inside == 0))


def grey(picture: Picture) -> NDArray[np.float32]:
    """Grey levels."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32)


def lip_sharpness(picture: Picture, points: Points) -> float:
    """Variance of the Laplacian over the lips."""
    return float(cv2.Laplacian(grey(picture), cv2.CV_32F)[lips(picture.shape, points)].var())


def slope(picture: Picture, where: NDArray[np.bool_]) -> float:
    """Mean gradient."""
    light = grey(picture)
    return float(np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))[where].mean())


def likeness(identity: Identity, first: Picture, others: list[Picture]) -> float:
    """Cosine of the embeddings, mean."""
    one = identity.embedding(first)
    many = np.array([identity.embedding(np.ascontiguousarray(other)) for other in others])
    return float((many @ one / np.linalg.norm(many, axis=1) / np.linalg.norm(one)).mean())


def figures(one: Take, identity: Identity) -> tuple[float, ...]:
    """Lip sharpness, seam, flicker, likeness, bytes changed outside the square."""
    spoken = range(15, len(one.frames), 5)
    own = lip_sharpness(one.fitted, one.own)
    sharp = float(np.median([lip_sharpness(one.frames[i], one.points[i]) / own for i in spoken]))
    to_frame = cv2.invertAffineTransform(one.to_canonical)
    gate = cv2.warpAffine(window(), to_frame, SIZE)
    inside = cv2.warpAffine(np.ones((128, 128), np.uint8), to_frame, SIZE, flags=cv2.INTER_NEAREST) > 0
    rim = (gate > 0.01) & (gate < 0.99)
    seam = float(np.mean([slope(one.frames[i], rim) for i in spoken])) / slope(one.fitted, rim)
    outside = ~cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    changed = sum(int((frame != one.fitted)[outside].sum()) for frame in one.frames)
    area = np.zeros((128, 128), np.uint8)
    area[STILL] = 1
    still = cv2.warpAffine(area, to_frame, SIZE, flags=cv2.INTER_NEAREST) > 0
    values = np.array([grey(frame)[still] for frame in one.frames[10:]])
    flicker = float(np.abs(np.diff(values, axis=0)).mean())
    squares = [crop(one.frames[i], one.to_canonical) for i in range(15, len(one.frames), 12)]
    return sharp, seam, flicker, likeness(identity, one.portrait.square(), squares), changed


def faces(folder: Path, sheet: Path | None) -> None:
    """A row of figures for each face, and the sheet."""
    head, identity, rows, table = streamhead.load(device="cpu"), Identity(), [], []
    print(
        "| face | lip sharpness | seam | flicker | likeness | bytes changed outside |\n|---|---:|---:|---:|---:|---:|"
    )
    with LandmarkFinder(1) as finder:
        for portrait in portraits(folder):
            one = take(head, portrait, finder)
            rows.append(cells(one))
            table.append(figures(one, identity))
            print("| {} | {:.2f} | {:.3f} | {:.2f} | {:.3f} | {:.0f} |".format(one.name, *table[-1]), flush=True)
    print("| median | {:.2f} | {:.3f} | {:.2f} | {:.3f} | {:.0f} |".format(*np.median(table, 0)))
    if sheet is not None:
        save_sheet(rows, sheet)


def real_clips(prepared: Path) -> None:
    """The same against real frames: likeness and flicker, three clips at most of each talker kept for testing."""
    rows = [json.loads(line) for line in (prepared / "manifest.jsonl").read_text("utf-8").splitlines()]
    head, identity, seen, table = streamhead.load(device="cpu"), Identity(), dict[str, int](), []
    print("| talker | clip | likeness, drawn | real | flicker, drawn | real |\n|---|---|---:|---:|---:|---:|")
    for row in rows:
        if row["split"] not in ("test", "unseen") or seen.get(row["talker"], 0) == 3:
            continue
        seen[row["talker"]] = seen.get(row["talker"], 0) + 1
        folder = prepared / row["path"]
        real = np.load(folder / "frames.npy")
        speaker = head.with_portrait(Portrait.from_square(real[0]))
        made = speaker.render(np.load(folder / "audio.npy"), 16_000, seed=SEED, view="face")
        drawn = np.stack([frame.image for frame in made])[: len(real)]
        values = []
        for frames in (drawn, real):
            values.append(likeness(identity, real[0], list(frames[6::6])))
        for frames in (drawn, real):
            light = np.stack([grey(frame)[STILL] for frame in frames])
            values.append(float(np.abs(np.diff(light, axis=0)).mean()))
        table.append(values)
        print("| {} | {} | {:.3f} | {:.3f} | {:.2f} | {:.2f} |".format(row["talker"], row["name"], *values), flush=True)
    print("| mean | {} | {:.3f} | {:.3f} | {:.2f} | {:.2f} |".format(len(table), *np.mean(table, 0)))


def main() -> None:
    """Whatever is asked for."""
    parser = argparse.ArgumentParser(description="Measure the shipped head on many faces.")
    parser.add_argument("faces", type=Path, nargs="?", help="folder of PNG portraits")
    parser.add_argument("--sheet", type=Path, help="JPEG of all faces in five shapes")
    parser.add_argument("--fine", type=float, help="another strength of the compositor's fine sampling (0: bilinear)")
    parser.add_argument("--prepared", type=Path, help="prepared GRID: likeness and flicker against real frames")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.fine is not None:
        compositor._FINE = arguments.fine  # type: ignore[misc]
    if arguments.faces is not None:
        faces(arguments.faces, arguments.sheet)
    if arguments.prepared is not None:
        real_clips(arguments.prepared)


if __name__ == "__main__":
    main()
