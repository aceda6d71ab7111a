#!/usr/bin/env python3
"""Make the faces of docs/images/faces.jpg, nobody's either: other averages of GRID's talkers, painted over.

    .venv/bin/python scripts/make_sheet_faces.py ../shared/data/grid OUT

Each is a mean of four talkers or more, none above 0.4 (so that nobody is recognised), on the talkers' mean shape moved
away from the common one. Skin, light, beards, glasses and hats are then painted on. No talker kept for testing on
unseen people is in any of them. GRID: see make_default_portrait.py; what comes out is CC BY 4.0 like the default
portrait.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from average_faces import (
    HEIGHT,
    LUMA,
    TO_PICTURE,
    WIDTH,
    Array,
    Points,
    Talker,
    area,
    blur,
    common_shape,
    rings,
    step,
    study,
)
from make_default_portrait import CX, CY, LIP_RING, average, noise, outline, over
from numpy.typing import NDArray
from PIL import Image

from streamhead.face.align import transform_points

TALKERS: Final = ("s1", "s2", "s3", "s4", "s30", "s32", "s33", "s34")
Brush = Callable[[Array, Points], Array]
FRAMES: Final = 16
APART: Final = 1.7
"""How far each face's shape is moved away from the common one, as a multiple of its talkers' own difference."""

# Shares in the face; those in the hair are of talkers whose hair ends above the shoulders.
FIRST: Final = {"s33": (0.35, 0.0), "s34": (0.35, 0.5), "s4": (0.1, 0.0), "s30": (0.2, 0.3), "s2": (0.0, 0.2)}
SECOND: Final = {"s2": (0.4, 0.4), "s1": (0.25, 0.3), "s30": (0.1, 0.0), "s3": (0.25, 0.3)}
THIRD: Final = {"s30": (0.4, 0.4), "s34": (0.3, 0.1), "s32": (0.2, 0.3), "s1": (0.1, 0.2)}
FOURTH: Final = {"s3": (0.4, 0.4), "s32": (0.3, 0.4), "s2": (0.1, 0.0), "s33": (0.2, 0.0), "s34": (0.0, 0.2)}
FIFTH: Final = {"s4": (0.4, 0.0), "s32": (0.2, 0.3), "s33": (0.2, 0.0), "s2": (0.2, 0.4), "s1": (0.0, 0.3)}


def cut_hair(picture: Array) -> Array:
    """Long hair ends where the average does, in a straight line: what sticks out beside the jaw is covered."""
    aside = np.abs(CX - 64.0)
    beside = step(aside, 38.0, 43.0) * (1.0 - step(aside, 90.0, 120.0)) * step(CY, 86.0, 94.0) * (CY < 120.0)
    row = round(float(TO_PICTURE[1, 1] * 122.0 + TO_PICTURE[1, 2]))
    below = blur(picture[row - 12 : row + 12].mean(0, keepdims=True), 5.0)
    return over(picture, below, beside)


def skin(gain: tuple[float, float, float], gamma: float = 1.0) -> Brush:
    """Other skin (and hair): what is warm in colour is made darker or lighter."""

    def paint(picture: Array, shape: Points) -> Array:
        warm = (picture[..., 0] - picture[..., 2]) / (picture.sum(-1) + 1.0)
        head = area(outline(shape), 3.0)
        where = np.maximum(blur(step(warm, 0.01, 0.06), 1.5), head)
        changed = 255.0 * (picture / 255.0) ** gamma * np.array(gain, np.float32)
        return over(picture, np.clip(changed, 0.0, 255.0), where)

    return paint


def side_light(depth: float, side: float = 1.0) -> Brush:
    """Light from one side: the other half of the head lies in shade."""

    def paint(picture: Array, shape: Points) -> Array:
        nose = shape[4]
        across = step(side * (CX - nose[0]) + 0.15 * (CY - nose[1]), -26.0, 30.0)
        return np.asarray(picture * (1.12 - depth * across)[..., None])

    return paint


def beard(colour: tuple[float, float, float]) -> Brush:
    """Short hair on lip, chin and jaw, in strands that hang."""

    def paint(picture: Array, shape: Points) -> Array:
        rng = np.random.default_rng(3)
        lips = rings(shape, (LIP_RING,), 1.5)
        chin, mouth, nose = shape[152], shape[[61, 291]], shape[2]
        jaw = area(outline(shape), 2.0)
        sideburns = 9.0 + 0.02 * (CX - shape[4, 0]) ** 2
        low = step(CY - (mouth[:, 1].mean() + 4.0 - 0.4 * sideburns), -4.0, 5.0)
        moustache = np.exp(-(((CY - 0.45 * nose[1] - 0.55 * shape[0, 1]) / 3.2) ** 2)) * step(
            -np.abs(CX - nose[0]), -27.0, -18.0
        )
        under = 1.0 - step(CY, chin[1] - 1.0, chin[1] + 3.0)
        strands = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 0.8, sigmaY=3.0)
        thick = np.maximum(low, moustache) * jaw * under * (1.0 - lips)
        cover = np.clip(thick * (0.72 + 0.2 * strands / strands.std()), 0.0, 0.95)
        shade = 1.0 + 0.25 * noise(rng, 0.8)
        return over(picture, np.array(colour, np.float32) * shade[..., None], cover)

    return paint


def glasses(colour: tuple[float, float, float], thick: float) -> Brush:
    """Round-cornered frames, with a little gloss."""

    def paint(picture: Array, shape: Points) -> Array:
        drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
        inside = np.zeros((HEIGHT, WIDTH), np.uint8)
        eyes = transform_points(TO_PICTURE, np.array([shape[[33, 133]].mean(0), shape[[362, 263]].mean(0)]))
        half = 0.37 * float(np.linalg.norm(eyes[1] - eyes[0]))
        line = max(2, round(thick * half))
        for x, y in eyes:
            centre, axes = (round(x), round(y + 0.12 * half)), (round(half), round(0.8 * half))
            cv2.ellipse(drawn, centre, axes, 0, 0, 360, (255,), line, cv2.LINE_AA)
            cv2.ellipse(inside, centre, axes, 0, 0, 360, (255,), -1, cv2.LINE_AA)
        bridge = [(round(eyes[0, 0] + half), round(eyes[0, 1])), (round(eyes[1, 0] - half), round(eyes[1, 1]))]
        cv2.line(drawn, *bridge, (255,), line, cv2.LINE_AA)
        for point, away in ((eyes[0], -1), (eyes[1], 1)):
            start = round(point[0] + away * half), round(point[1] - 0.1 * half)
            cv2.line(drawn, start, (start[0] + away * round(0.7 * half), start[1] - 4), (255,), line, cv2.LINE_AA)
        glossed = over(picture, np.array((235.0, 240.0, 248.0), np.float32), 0.1 * blur(inside / np.float32(255), 1))
        return over(glossed, np.array(colour, np.float32), drawn / np.float32(255))

    return paint


def hat(colour: tuple[float, float, float]) -> Brush:
    """A knitted cap down to the brows."""

    def paint(picture: Array, shape: Points) -> Array:
        rng = np.random.default_rng(4)
        left, right = shape[127, 0] - 15.0, shape[356, 0] + 15.0
        brim = shape[[105, 334], 1].mean() - 7.0
        turn = np.linspace(np.pi, 0.0, 60)
        middle, half = (left + right) / 2, (right - left) / 2
        dome = np.stack([middle + half * np.cos(turn), brim - 1.2 * half * np.sin(turn) ** 0.8], 1)
        sag = np.stack([np.linspace(right, left, 40), brim + 3.0 * np.sin(np.linspace(0, np.pi, 40))], 1)
        ribs = np.cos((CX - middle) * 2.2) * (0.12 + 0.08 * (brim - 14.0 < CY))
        shade = (1.0 + ribs + 0.06 * noise(rng, 1.0)) * (1.1 - 0.5 * np.abs((CX - middle) / half) ** 2)
        return over(picture, np.array(colour, np.float32) * shade[..., None], area(np.concatenate([dome, sag]), 1.0))

    return paint


def grey(picture: Array, shape: Points) -> Array:
    """A black-and-white photo."""
    del shape
    light = 255.0 * step(picture @ LUMA, -20.0, 265.0)
    return np.repeat(light[..., None], 3, -1)


def studio(gain: tuple[float, float, float]) -> Brush:
    """Other light on what is cold in colour: the background and the jumper."""

    def paint(picture: Array, shape: Points) -> Array:
        cold = step((picture[..., 2] - picture[..., 0]) / (picture.sum(-1) + 1.0), -0.01, 0.015)
        where = blur(cold, 1.0) * (1.0 - area(outline(shape), 3.0))
        return over(picture, np.clip(picture * np.array(gain, np.float32), 0.0, 255.0), where)

    return paint


@dataclass(frozen=True)
class Face:
    """Whose means, and what is painted on, in order."""

    shares: dict[str, tuple[float, float]]
    brushes: tuple[Brush, ...]


FACES: Final = {
    "fair": Face(FIRST, (skin((1.1, 1.08, 1.08)), studio((1.05, 1.0, 0.92)))),
    "lit from one side": Face(SECOND, (side_light(0.72), studio((0.6, 0.6, 0.62)))),
    "glasses": Face(THIRD, (glasses((38.0, 30.0, 28.0), 0.1), studio((0.9, 1.0, 0.95)))),
    "beard": Face(FOURTH, (beard((62.0, 44.0, 34.0)), studio((0.8, 0.86, 0.95)))),
    "cap": Face(FIFTH, (hat((150.0, 52.0, 48.0)), studio((1.1, 1.1, 1.1)))),
    "dark skin": Face(FIRST, (skin((0.66, 0.6, 0.56), 1.35), studio((1.15, 1.1, 1.0)))),
    "darker, lit from one side": Face(SECOND, (skin((0.52, 0.46, 0.43), 1.4), side_light(0.6, -1.0))),
    "brown skin, glasses": Face(FIFTH, (skin((0.82, 0.76, 0.7), 1.15), glasses((120.0, 118.0, 122.0), 0.05))),
    "dark skin, beard": Face(THIRD, (skin((0.62, 0.56, 0.52), 1.3), beard((24.0, 20.0, 18.0)))),
    "black and white": Face(FOURTH, (grey,)),
}


def main() -> None:
    """Study the talkers once, then make face after face."""
    parser = argparse.ArgumentParser(description="Make the contact sheet's faces from the GRID corpus.")
    parser.add_argument("grid", type=Path, help="folder with a folder of clips for each talker: " + ", ".join(TALKERS))
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    talkers: dict[str, Talker] = {}
    for name in TALKERS:
        talker = study(arguments.grid / name)
        talkers[name] = changed(talker, images=talker.images[:FRAMES], landmarks=talker.landmarks[:FRAMES])
    common, radii = common_shape(list(talkers.values()))
    done: dict[int, tuple[NDArray[np.uint8], Points]] = {}
    for name, face in FACES.items():
        if id(face.shares) not in done:
            chosen = [talkers[talker] for talker in face.shares]
            shares = list(face.shares.values())
            own = sum(share * talker.shape for talker, (share, _) in zip(chosen, shares, strict=True))
            shape = np.asarray(common + APART * (own - np.mean([t.shape for t in talkers.values()], 0)))
            done[id(face.shares)] = average(chosen, shares, shape, radii), shape
        image, shape = done[id(face.shares)]
        picture = cut_hair(image.astype(np.float32))
        for brush in face.brushes:
            picture = brush(picture, shape)
        Image.fromarray(np.uint8(picture.clip(0.0, 255.0))).save(arguments.out / f"{name}.png")
        print(arguments.out / f"{name}.png", flush=True)


if __name__ == "__main__":
    main()
