#!/usr/bin/env python3
"""Make the default portrait, a person who does not exist, from the GRID corpus.

    .venv/bin/python scripts/make_default_portrait.py ../shared/data/grid

Several talkers' frames (mouth shut, eyes open) are warped onto the talkers' mean shape, hair outline included, freed of
the blue screen, brought to one colour and averaged. An average washes out what is fine, since no two people have their
hairs in the same place; so each band of detail is given back the strength it has in the single pictures. Neck, jumper
and background are painted: there GRID talkers differ too much to be averaged.

GRID audio-visual sentence corpus: M. Cooke, J. Barker, S. Cunningham, X. Shao (2006), Zenodo 3625687, CC BY 4.0.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from average_faces import (
    ANGLES,
    HEAD_CENTRE,
    HEIGHT,
    LUMA,
    PIXEL_X,
    PIXEL_Y,
    SCALE,
    SKIN,
    TO_PICTURE,
    WIDTH,
    Array,
    Points,
    Talker,
    area,
    blend,
    blur,
    common_shape,
    free,
    rings,
    step,
    study,
    tone,
    warp_mean,
)
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates

from streamhead.face.portrait import Portrait

TALKERS: Final = {"s1": (0.2, 0.28), "s2": (0.2, 0.06), "s3": (0.2, 0.22), "s30": (0.2, 0.28), "s32": (0.2, 0.16)}
"""Share of each talker in the face and in the hair: at least four, none above 0.4, so that nobody is recognised."""

OUT: Final = Path(__file__).resolve().parents[1] / "streamhead" / "assets" / "portrait.json"

LIPS: Final = np.array([176.0, 112.0, 104.0], np.float32)
HAIR: Final = np.array([70.0, 56.0, 47.0], np.float32)
JUMPER: Final = np.array([52.0, 60.0, 74.0], np.float32)
STUDIO: Final = np.array([172.0, 180.0, 188.0], np.float32)


EYE_RINGS: Final = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382),
)
BROW_RINGS: Final = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (336, 296, 334, 293, 300, 276, 283, 282, 295, 285))
LIP_RING: Final = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)

CX: Final = (PIXEL_X - np.float32(TO_PICTURE[0, 2])) / np.float32(SCALE)
CY: Final = (PIXEL_Y - np.float32(TO_PICTURE[1, 2])) / np.float32(SCALE)
"""Canonical coordinates of the finished picture's pixels."""


def grade(picture: Array, shape: Points, hull: Points, hair_zone: Array) -> tuple[Array, Array]:
    """Even skin, brown hair, natural lips, whites left white; and where hair is."""
    eyes, lips, brows = rings(shape, EYE_RINGS, 2), rings(shape, (LIP_RING,), 3), rings(shape, BROW_RINGS, 2)
    middle = area(hull * 0.86 + np.array([64.0, 75.0]) * 0.14, 8)
    # What is left of the blue screen's light: neither skin nor hair is that green or blue.
    light = picture @ LUMA
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    green = green * eyes + np.minimum(green, 0.86 * red) * (1 - eyes)
    blue = blue * middle + np.minimum(blue, 0.9 * green) * (1 - middle)
    clean = np.stack([red, green, blue], -1)
    clean *= (light / np.maximum(clean @ LUMA, 1))[..., None]
    hair = blur(step(-light, -125, -85) * (1 - middle) * (1 - step(CY, 80, 95)), 3)
    hair = np.maximum(hair, hair_zone * (1 - step(CY, 18, 32)) * step(-light, -150, -105))
    hair = np.maximum(hair, hair_zone * (1 - step(CY, -8, 4)))
    clean = tone(clean, SKIN, 0.6 * (1 - hair) * (1 - eyes) * (1 - lips) * (1 - 0.5 * brows))
    clean = tone(tone(clean, LIPS, 0.6 * lips), HAIR, 0.9 * hair)
    light = np.maximum(clean @ LUMA, 1)
    wanted = np.where(light > 165, 165 + 0.62 * (light - 165), light) * (1 - hair) + (8 + 0.72 * light) * hair
    return clean * (wanted / light)[..., None], hair


def head_matte(coverage: Array, hair: Array, radii: Points, jaw: Array, rng: np.random.Generator) -> Array:
    """Where the head covers what is behind it: ragged in strands at the hair, the jaw's line below."""
    angle = np.degrees(np.arctan2(-(CY - HEAD_CENTRE[1]), CX - HEAD_CENTRE[0])) % 360
    distance = np.hypot(CX - HEAD_CENTRE[0], CY - HEAD_CENTRE[1])
    above = ANGLES >= 0
    limit = np.interp(angle, np.r_[0, np.degrees(ANGLES[above]), 345], np.r_[radii[above][0], radii[above], radii[0]])
    near = np.where(HEAD_CENTRE[1] + 8 < CY, 1.0, 1 - step(distance, limit + 2, limit + 9))
    strands = gaussian_filter(rng.standard_normal((1600, 120)), (1.1, 2.0))
    place = [(angle / 360 * 1599 + 0.35 * distance) % 1599, np.clip(distance / 3, 0, 119)]
    ragged = (
        map_coordinates(strands / strands.std(), place, order=1) * hair * np.clip(4 * coverage * (1 - coverage), 0, 1)
    )
    matte = near * step(coverage + 0.12 * ragged, 0.15, 0.97)
    return np.asarray(np.maximum(matte * (1 - step(CY, 100, 110) * (1 - jaw)), jaw), np.float32)


# ------------------------------------------------------------------------------------------------- what is painted


def mirrored(points: list[tuple[float, float]]) -> Points:
    """A closed smooth outline from its right half, (distance from the middle, y), top to bottom."""
    half = PchipInterpolator(np.arange(len(points)), np.array(points, np.float64))(np.linspace(0, len(points) - 1, 90))
    return np.asarray(np.array((64.0, 0.0)) + np.concatenate([half, half[::-1] * (-1, 1)]))


def noise(rng: np.random.Generator, sigma: float) -> Array:
    """Smooth noise of unit strength."""
    field = blur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), sigma)
    return np.asarray(field / field.std())


def over(picture: Array, colours: Array, coverage: Array) -> Array:
    """Paint colours over a picture."""
    return picture + (colours - picture) * coverage[..., None]


def neck_colours(pictures: Array, mattes: Array, jaw: Array, opening: Array) -> Array:
    """Mean of what the talkers show of their necks, carried outwards, rounded by shade."""
    grey = pictures.sum(-1)
    unlike = np.abs(pictures / (grey[..., None] + 1) - SKIN / SKIN.sum()).sum(-1)
    light = grey / SKIN.sum()
    shows = np.exp(-((unlike / 0.1) ** 2)) * step(light, 0.25, 0.4) * (1 - step(light, 1.1, 1.25)) * (mattes > 0.9)
    shows = np.stack([cv2.erode(blur(one, 1), np.ones((7, 7), np.uint8)) for one in shows.astype(np.float32)])
    shows *= (np.abs(CX - 64) < 25) & (CY < 148)
    colour, weight = (pictures * shows[..., None]).sum(0), shows.sum(0)
    spread = ((3.0, 1.0), (9.0, 0.08), (25.0, 5e-3), (60.0, 3e-4))
    colour = sum(share * blur(colour, sigma) for sigma, share in spread)
    neck = np.asarray(colour / (sum(share * blur(weight, sigma)[..., None] for sigma, share in spread) + 1e-9))
    neck = tone(neck, 0.9 * SKIN + 16, np.full((HEIGHT, WIDTH), 0.9, np.float32))
    round_off = 1 - 0.2 * np.clip(np.abs(CX - 64) / 36, 0, 1.2) ** 3
    under_chin = 1 - 0.3 * np.exp(-(((CY - 133) / 8) ** 2) - ((CX - 64) / 34) ** 4)
    under_jaw = 1 - 0.3 * blur(jaw, 9)
    at_collar = 1 - 0.35 * blur(1 - opening, 7) * step(CY, 134, 144)
    return np.asarray(neck * (1.08 * round_off * under_chin * under_jaw * at_collar)[..., None])


def jumper_colours(collar: Array, opening: Array, rng: np.random.Generator) -> Array:
    """A dark knitted jumper with a ribbed collar."""
    shade: Array = 1.05 - 0.42 * np.abs((CX - 64) / 165) ** 1.7 - 0.1 * step(CY, 185, 250)
    shade += 0.05 * np.exp(-(((CX - 64) / 80) ** 2) - ((CY - 185) / 30) ** 2)
    shade += 0.035 * noise(rng, 40) + 0.012 * noise(rng, 14)
    knit: Array = rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    knit = blur(knit, 0.9) - blur(knit, 2.2)
    shade *= 1 + 0.045 * knit / knit.std()
    ribs = np.cos(np.arctan2(CY - 139, (CX - 64) * 0.6) * 150)
    shade *= 1 - collar * (1 - opening) * (0.1 - 0.045 * ribs)
    shade *= 1 - 0.55 * blur(collar, 3) * (1 - collar)
    return np.asarray(JUMPER * shade[..., None])


def paint(
    pictures: Array, mattes: Array, shares: list[tuple[float, float]], shape: Points, radii: Points
) -> NDArray[np.uint8]:
    """The finished picture; ``shares`` are each talker's in the face and in the hair."""
    hull = outline(shape)
    rng = np.random.default_rng(1)
    jaw = area(hull, 1.6)
    hair_zone = (1 - area((hull - (64, 75)) * (1, 0.96) + (64, 77), 5)) * (1 - step(CY, 85, 105))
    face_share, hair_share = (np.array(part, np.float32)[:, None, None] for part in zip(*shares, strict=True))
    mean, coverage = blend(pictures, mattes, face_share * (1 - hair_zone) + hair_share * hair_zone)
    head, hair = grade(mean, shape, hull, hair_zone)

    turn = np.linspace(0, np.pi / 2, 30)
    inner, outer = (
        area(mirrored([(side, 130), *zip(width * np.cos(turn), y + deep * np.sin(turn), strict=True)]), 0.9)
        for side, width, deep, y in ((38, 42, 22, 139), (43, 49, 30, 139.5))
    )
    neck = area(mirrored([(37, 100), (36, 112), (36.5, 136), (42, 146), (46, 160), (60, 175)]), 1.2)
    body = area(mirrored([(43, 141), (58, 148), (92, 160), (128, 173), (145, 184), (156, 197), (168, 240)]), 1.5)

    from_light = np.hypot((PIXEL_X - WIDTH * 0.5) / (WIDTH * 0.62), (PIXEL_Y - HEIGHT * 0.42) / (HEIGHT * 0.85))
    picture = STUDIO * (1 - 0.42 * step(from_light, 0, 1.25))[..., None]
    picture = over(picture, neck_colours(pictures, mattes, jaw, inner), neck)
    picture = over(picture, jumper_colours(outer, inner, rng), body * (1 - inner))
    picture = over(picture, head, head_matte(coverage, hair, radii, jaw, rng))
    picture = picture + 1.2 * noise(rng, 0.7)[..., None] + rng.random((HEIGHT, WIDTH, 1), np.float32)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def outline(shape: Points) -> Points:
    """The face's, of its points."""
    return np.asarray(cv2.convexHull(shape.astype(np.float32))[:, 0], np.float64)


def average(
    talkers: list[Talker], shares: list[tuple[float, float]], shape: Points, radii: Points
) -> NDArray[np.uint8]:
    """A picture of nobody: the talkers' mean on a shape, with each one's shares in the face and in the hair."""
    face = area(outline(shape) * 0.97 + np.array([64.0, 75.0]) * 0.03, 2)
    warped = [warp_mean(talker, shape, radii) for talker in talkers]
    freed = [free(picture, coverage, face) for picture, coverage in warped]
    pictures, mattes = (np.stack(parts) for parts in zip(*freed, strict=True))
    return paint(pictures, mattes, shares, shape, radii)


def main() -> None:
    """Build the portrait and prepare it."""
    parser = argparse.ArgumentParser(description="Make the default portrait from the GRID corpus.")
    parser.add_argument("grid", type=Path, help="folder with a folder of clips for each talker: " + ", ".join(TALKERS))
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    talkers = [study(arguments.grid / name) for name in TALKERS]
    shape, radii = common_shape(talkers)
    image = average(talkers, list(TALKERS.values()), shape, radii)
    Portrait.from_image(image, name="default").save(arguments.out, jpeg_quality=93)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
