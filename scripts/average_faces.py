"""Average people: talkers' frames warped onto one shape, freed of GRID's blue screen, brought to one colour, blended.

An average washes out what is fine, since no two people have their hairs in the same place; so each band of detail is
given back the strength it has in the single pictures. Used by make_default_portrait.py and make_sheet_faces.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import Delaunay, cKDTree

from streamhead.face.align import mean_face, similarity, transform_points
from streamhead.face.landmarks import LandmarkFinder

Array = NDArray[np.floating[Any]]
Points = NDArray[np.float64]

CLIPS, FRAMES = 4, 48
WIDTH, HEIGHT, SCALE = 1280, 720, 2.75
TO_PICTURE: Final = np.array([[SCALE, 0.0, 640.0 - 64.0 * SCALE], [0.0, SCALE, 52.0 + 50.0 * SCALE]])
"""Canonical pixels to the finished picture's."""

LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
SKIN: Final = np.array([200.0, 152.0, 128.0], np.float32)

HEAD_CENTRE: Final = np.array([64.0, 52.0])
ANGLES: Final = np.radians(np.arange(-15.0, 196.0, 7.5))
"""Directions, from one ear over the crown to the other, in which the hair's outline is measured."""

MOUTH_CORNERS: Final = (61, 291)

PIXEL_Y, PIXEL_X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur in the plane, channels apart."""
    sigmas = (sigma, sigma) + (0.0,) * (image.ndim - 2)
    return np.asarray(gaussian_filter(image, sigmas, mode="nearest"), np.float32)


def step(value: Array, start: float, end: float) -> Array:
    """0 below start, 1 above end, smooth between."""
    t = np.clip((value - start) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def area(outline: NDArray[np.floating], soft: float) -> Array:
    """Coverage of a polygon given in canonical coordinates, its edge softened by ``soft`` pixels."""
    mask = np.zeros((HEIGHT * 2, WIDTH * 2), np.uint8)
    corners = transform_points(TO_PICTURE, outline) * 2 + 0.5
    cv2.fillPoly(mask, [np.round(corners * 8).astype(np.int32)], (255,), lineType=cv2.LINE_AA, shift=3)
    return blur(cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255, soft)


def rings(shape: Points, indices: tuple[tuple[int, ...], ...], soft: float) -> Array:
    """Coverage of one or two rings of landmarks."""
    return np.asarray(np.max([area(shape[list(ring)], soft) for ring in indices], axis=0))


def gap_of(landmarks: NDArray[np.floating], a: int, b: int) -> NDArray[np.floating]:
    """Distance of two landmarks in eye distances, for each frame."""
    eyes = landmarks[:, [33, 133]].mean(1) - landmarks[:, [362, 263]].mean(1)
    return np.asarray(np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=1) / np.linalg.norm(eyes, axis=1))


# -------------------------------------------------------------------------------------------------- one talker


def neutral_frames(folder: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
    """Frames of a talker with the mouth shut at its usual width and the eyes open, and their landmarks."""
    images: list[NDArray[np.uint8]] = []
    points = []
    with LandmarkFinder(1) as finder:
        for clip in sorted([*folder.glob("*.mp4"), *folder.glob("*.mpg")])[:CLIPS]:
            with av.open(str(clip)) as container:
                for frame in container.decode(video=0):
                    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                    if faces := finder.find(image):
                        images.append(image)
                        points.append(faces[0])
    landmarks = np.array(points)
    lips, width = gap_of(landmarks, 13, 14), gap_of(landmarks, *MOUTH_CORNERS)
    lids = gap_of(landmarks, 159, 145) + gap_of(landmarks, 386, 374)
    shut = lips <= max(0.012, np.percentile(lips, 12))
    cost = np.abs(width - np.median(width[shut])) / 0.03 + np.abs(lids - np.percentile(lids[shut], 60)) / 0.012
    best = np.argsort(cost + 10.0 * ~shut)[:FRAMES]
    return [images[i] for i in best], landmarks[best]


def matte(image: NDArray[np.uint8]) -> Array:
    """How much of each pixel is the talker: keyed against a smooth model of the unevenly lit blue screen."""
    picture = image.astype(np.float32)
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width] / np.float32(max(height, width))
    terms = np.stack([x**i * y**j for i in range(5) for j in range(5 - i)], -1).reshape(height * width, -1)
    known = np.zeros((height, width), bool)
    known[: height // 10] = True
    known[: int(0.6 * height), : width // 10] = known[: int(0.6 * height), -(width // 10) :] = True
    chosen = known.ravel()
    for _ in range(6):
        fit = np.linalg.lstsq(terms[chosen], picture.reshape(-1, 3)[chosen], rcond=None)[0]
        screen = (terms @ fit).reshape(picture.shape)
        chosen = (np.abs(picture - screen).max(-1) < 18).ravel() & (y.ravel() < 0.62 * height / max(height, width))

    def blueness(colours: Array) -> Array:
        return np.asarray((colours[..., 2] - colours[..., 0]) / (colours.sum(-1) + 20), np.float32)

    unlike = 1.0 - np.clip((blueness(picture) / np.maximum(blueness(screen), 0.05) - 0.25) / 0.5, 0, 1)
    darker = np.clip((1.0 - picture.sum(-1) / screen.sum(-1)) * 3 - 0.5, 0, 1)
    return np.asarray(np.clip(np.maximum(unlike, darker), 0, 1), np.float32)


def polar(radii: NDArray[np.floating], stretch: float = 1.0) -> Points:
    """Points of an outline around the head, canonical."""
    directions = np.stack([np.cos(ANGLES), -np.sin(ANGLES)], 1)
    return np.asarray(HEAD_CENTRE + stretch * radii[:, None] * directions)


def hair_outline(images: list[NDArray[np.uint8]], landmarks: NDArray[np.float32]) -> Points:
    """Distance from the head's centre to where the hair ends, for each of ``ANGLES``; NaN where it does not."""
    pad, total = 80, np.zeros((320, 288), np.float32)
    for image, points in zip(images[:8], landmarks, strict=False):
        transform = similarity(points)
        transform[:, 2] += pad
        total += cv2.warpAffine(matte(image), transform, (288, 320)) / len(images[:8])
    along = np.arange(20.0, 140.0, 0.5)
    radii = np.full(len(ANGLES), np.nan)
    for i, angle in enumerate(ANGLES):
        x, y = HEAD_CENTRE[0] + pad + along * np.cos(angle), HEAD_CENTRE[1] + pad - along * np.sin(angle)
        outside = np.flatnonzero(map_coordinates(total, [y, x], order=1) < 0.5)
        if len(outside):
            radii[i] = along[outside[0]]
    return radii


@dataclass(frozen=True)
class Talker:
    """What one talker brings: frames, landmarks, mean canonical shape and hair outline."""

    name: str
    images: list[NDArray[np.uint8]]
    landmarks: NDArray[np.float32]
    shape: Points
    radii: Points


def study(folder: Path) -> Talker:
    """Look at one talker's clips."""
    images, landmarks = neutral_frames(folder)
    shape = np.mean([transform_points(similarity(points), points) for points in landmarks], 0)
    return Talker(folder.name, images, landmarks, shape, hair_outline(images, landmarks))


# ------------------------------------------------------------------------------------------------ all onto one shape


def common_shape(talkers: list[Talker]) -> tuple[Points, Points]:
    """Mean landmarks, made nearly symmetric and with a hint of a smile, and the mean hair outline; canonical."""
    shape = np.mean([talker.shape for talker in talkers], 0)
    flipped_mean = mean_face() * (-1, 1) + (128, 0)
    flipped = (shape * (-1, 1) + (128, 0))[cKDTree(mean_face()).query(flipped_mean)[1]]
    shape = 0.65 * shape + 0.35 * flipped
    for corner in MOUTH_CORNERS:
        shape[:, 1] -= 1.3 * np.exp(-((np.linalg.norm(shape - shape[corner], axis=1) / 9) ** 2))
    radii = np.nanmean([talker.radii for talker in talkers], 0)
    return shape, 0.97 * gaussian_filter((radii + radii[::-1]) / 2, 0.7)


def anchors(shape: NDArray[np.floating], radii: Points) -> Points:
    """All points that correspond between people: landmarks, hair outline, its surroundings and a far frame."""
    sides = [(x, y) for x in (-160, 288) for y in (-75, 0, 60, 120, 180, 230)]
    top = [(x, -75) for x in np.linspace(-96, 224, 6)]
    below = [(x, y) for y in (165, 200, 235) for x in np.linspace(-60, 188, 9)]
    return np.concatenate([shape, polar(radii), polar(radii, 1.5), sides, top, below])


def warp_mean(talker: Talker, shape: Points, radii: Points) -> tuple[Array, Array]:
    """The talker's frames, each warped piece by piece onto the common shape, averaged; and the matte likewise.

    Many frames, each shifted a little against the pixel grid, also show more than any one of them.
    """
    triangles = Delaunay(transform_points(TO_PICTURE, anchors(shape, radii)).astype(np.float64))
    pixels = np.stack([PIXEL_X.ravel(), PIXEL_Y.ravel()], 1).astype(np.float64)
    inside = triangles.find_simplex(pixels)
    affine = triangles.transform[inside]
    weights = np.einsum("nij,nj->ni", affine[:, :2], pixels - affine[:, 2])
    weights = np.c_[weights, 1.0 - weights.sum(1)]
    corners = triangles.simplices[inside]
    own_radii = np.where(np.isnan(talker.radii), radii, talker.radii)
    picture, coverage = np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.float32)
    for number, (image, points) in enumerate(zip(talker.images, talker.landmarks, strict=True)):
        own = transform_points(similarity(points), points)
        here = anchors(0.5 * (talker.shape + own), own_radii)
        back = np.linalg.inv(np.vstack([similarity(points), (0, 0, 1)]))[:2]
        source = np.einsum("nk,nkd->nd", weights, transform_points(back, here).astype(np.float64)[corners])
        x, y = source.reshape(HEIGHT, WIDTH, 2).astype(np.float32).transpose(2, 0, 1)
        picture += cv2.remap(image.astype(np.float32), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if number < 6:
            coverage += cv2.remap(matte(image), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return picture / len(talker.images), coverage / min(6, len(talker.images))


# ------------------------------------------------------------------------------------------------------ the average


def tone(picture: Array, target: Array, weight: Array) -> Array:
    """Pull colours, not brightness, towards a target's."""
    aim = target / (target @ LUMA)
    return picture * (1 - weight[..., None]) + (picture @ LUMA * weight)[..., None] * aim


def free(picture: Array, coverage: Array, face: Array) -> tuple[Array, Array]:
    """The talker alone: blue screen and its spill taken away, skin brought to the common colour; and the matte."""
    solid = np.maximum(step(coverage, 0.08, 0.92), face)[..., None]
    screen = (blur(coverage, 2) < 0.04)[..., None].astype(np.float32)
    behind = blur(picture * screen, 25) / (blur(screen, 25) + 1e-4)
    own = np.clip(picture - (1 - solid) * behind, 0, 255) / np.maximum(solid, 0.15)
    # Towards the rim only brightness is the picture's own: colour comes from further inside.
    disc = np.ones((9, 9), np.uint8)
    core = np.maximum(cv2.erode(step(coverage, 0.9, 0.99), disc), cv2.erode(face, disc))[..., None]
    near, far = (blur(own * core, sigma) / (blur(core, sigma) + 1e-4) for sigma in (4, 14))
    share = step(blur(core, 4), 0.0, 0.1)
    inside = near * share + far * (1 - share)
    light = np.clip((own @ LUMA) / np.maximum(inside @ LUMA, 1), 0.6, 1.15)[..., None]
    own = own * core + (1 - core) * inside * light
    skin = face > 0.99
    own = own * (SKIN / own[skin].mean(0))
    contrast = np.clip(32 / (own[skin] @ LUMA).std(), 0.8, 1.2)
    return np.clip((own - SKIN) * contrast + SKIN, 0, 255).astype(np.float32), solid[..., 0]


def blend(pictures: Array, mattes: Array, shares: Array) -> tuple[Array, Array]:
    """Weighted mean of the talkers with the single pictures' strength of detail, and the mean matte."""
    weights = mattes * shares
    coverage = weights.sum(0)
    mean = (pictures * weights[..., None]).sum(0) / np.maximum(coverage, 1e-3)[..., None]
    light = mean @ LUMA
    bands = [picture @ LUMA * matte + (1 - matte) * light for picture, matte in zip(pictures, mattes, strict=True)]
    detail = 0.9 * (light - blur(light, 1.6))  # the sources are half as fine as the picture
    for sigma, most in ((1.3, 2.2), (2.6, 2.2), (5.2, 1.8), (10.4, 1.35)):
        lower = [blur(band, sigma) for band in bands]
        single = np.stack(bands) - np.stack(lower)
        together = (shares * single).sum(0)
        strength = np.sqrt(blur((shares * single**2).sum(0), 3 * sigma + 2))
        left = np.sqrt(blur(together**2, 3 * sigma + 2))
        gain = blur(np.clip(strength / np.maximum(left, 0.3), 1, most), 4)
        detail = detail + together * (gain - 1)
        bands = lower
    return np.clip(mean + (detail * step(coverage, 0.5, 0.95))[..., None], 0, 255), coverage
