"""A portrait out of moving pictures: the first good frame of a video, or a look into a webcam."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streamhead.errors import DeviceError, PortraitError
from streamhead.face.find import choose, find_faces
from streamhead.face.judge import Judgement, judge
from streamhead.face.landmarks import LandmarkFinder
from streamhead.face.picture import opened, reduced

__all__ = ["camera_number", "frame_at", "good_frame", "is_video", "snapshot"]

Image = NDArray[np.uint8]

_SUFFIXES: Final = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
    *(".ogv", ".wmv", ".3gp", ".mts", ".m2ts", ".ts", ".flv"),
)
_SECONDS: Final = 10.0
"""How far into a video a good frame is looked for."""
_STEP: Final = 0.2
"""Seconds between frames that are looked at."""
_SHARP_ENOUGH: Final = 0.6
"""Part of the sharpest frame's sharpness below which a frame is taken for one blurred by motion."""
_WARM_UP: Final = 12
"""Frames a camera is given to find its exposure."""
_LOOKS: Final = 12
_PATIENCE: Final = 8.0
_BLACK: Final = 4.0


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is a video."""
    return Path(path).suffix.lower() in _SUFFIXES


def camera_number(path: str | os.PathLike[str]) -> int | None:
    """``webcam`` -> 0, ``webcam:2`` -> 2, anything else -> None."""
    match = re.fullmatch(r"webcam(?::(\d{1,3}))?", os.fspath(path))
    return None if match is None else int(match[1] or 0)


def _upright(frame: av.VideoFrame, aspect: float) -> Image:
    """A frame in RGB with square pixels, turned as its display matrix says."""
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    if aspect != 1.0:
        size = max(1, round(image.shape[1] * aspect)), image.shape[0]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))


def _frames(path: str | os.PathLike[str], only: int | None = None) -> Iterator[tuple[int, Image]]:
    """Number and picture of frames some way apart, or of the one asked for."""
    with opened(path) as file:
        try:
            with av.open(file, "r") as container:
                if not container.streams.video:
                    raise PortraitError(f"{path} has no picture; use a video or a picture that shows a face")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                rate = float(stream.average_rate or 25)
                aspect = float(stream.sample_aspect_ratio or 1)
                every = max(1, round(_STEP * rate))
                for number, frame in enumerate(container.decode(stream)):
                    if only is None and number > _SECONDS * rate:
                        return
                    if number == only or (only is None and number % every == 0):
                        yield number, _upright(frame, aspect)
                    if number == only:
                        return
        except (av.FFmpegError, OSError, ValueError, EOFError) as error:
            raise PortraitError(f"cannot read {path} as a video (damaged?); save it again as mp4") from error


def _rank(judgement: Judgement) -> tuple[bool, float]:
    return judgement.at_rest, judgement.sharpness


def good_frame(path: str | os.PathLike[str], pick: int | None = None) -> int:
    """Number of the first frame of a video that shows the face sharp, its mouth shut and its eyes open.

    Where no frame of the first seconds does, the one that comes nearest.

    Raises:
        PortraitError: not a video; no frame with a face that can be used.
        CheckpointError: the landmark model cannot be had.
    """
    name = Path(path).name
    judged: dict[int, Judgement] = {}
    reason: PortraitError | None = None
    looked = 0
    with LandmarkFinder(8) as finder:
        for number, image in _frames(path):
            looked += 1
            image = reduced(image)
            try:
                judgement = judge(image, choose(find_faces(finder, image), pick, name))
                judgement.check(name)
            except PortraitError as error:
                # A frame with a face that was refused says more than one without a face.
                if reason is None or "no face" in str(reason):
                    reason = error
                continue
            judged[number] = judgement
    if not judged:
        if reason is None:
            raise PortraitError(f"{name} has no frames; use a video or a picture that shows a face")
        raise PortraitError(f"none of the {looked} frames looked at will do: {reason}")
    sharp = _SHARP_ENOUGH * max(judgement.sharpness for judgement in judged.values())
    good = [number for number, judgement in judged.items() if judgement.at_rest and judgement.sharpness >= sharp]
    return good[0] if good else max(judged, key=lambda number: _rank(judged[number]))


def frame_at(path: str | os.PathLike[str], number: int) -> Image:
    """One frame of a video, ``(height, width, 3)`` RGB.

    Raises:
        PortraitError: it has none of that number.
    """
    for _, image in _frames(path, number):
        return image
    raise PortraitError(f"{path} has no frame {number}; use another video")


def _views(camera: cv2.VideoCapture) -> Iterator[Image]:
    """Frames of a camera after its first, dark ones, for a few seconds."""
    end = monotonic() + _PATIENCE
    got = 0
    while monotonic() < end:
        read, frame = camera.read()
        if not read:
            return
        got += 1
        if got > _WARM_UP:
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


def snapshot(device: int | str, pick: int | None = None) -> Image:
    """Look into a camera until a good frame was seen, a few seconds at most.

    Args:
        device: number of the camera; or whatever else OpenCV opens.
        pick: which face of several, from 1, left to right.

    Returns:
        ``(height, width, 3)`` RGB: the best of the frames looked at.

    Raises:
        DeviceError: there is no such camera, or it gives no picture.
        PortraitError: no face that can be used was seen.
        CheckpointError: the landmark model cannot be had.
    """
    name = f"the picture of webcam {device}"
    best: tuple[Judgement, Image] | None = None
    reason: PortraitError | None = None
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    camera = cv2.VideoCapture(device)
    try:
        if not camera.isOpened():
            raise DeviceError(
                f"no webcam {device} that can be opened; streamhead devices lists cameras: choose one with webcam:N, "
                "close what uses it, or give a picture file"
            )
        camera.set(cv2.CAP_PROP_FRAME_WIDTH, 1280)
        camera.set(cv2.CAP_PROP_FRAME_HEIGHT, 720)
        looks, light = 0, 0.0
        with LandmarkFinder(8) as finder:
            for image in _views(camera):
                looks, light = looks + 1, max(light, float(image.mean()))
                try:
                    judgement = judge(image, choose(find_faces(finder, image), pick, name))
                    judgement.check(name)
                except PortraitError as error:
                    reason = error
                    continue
                if best is None or _rank(judgement) > _rank(best[0]):
                    best = judgement, image
                if looks >= _LOOKS and best[0].at_rest:
                    break
    finally:
        camera.release()
        cv2.utils.logging.setLogLevel(before)
    if best is not None:
        return best[1]
    if light < _BLACK:
        raise DeviceError(f"webcam {device} gives no picture, or a black one; uncover it and close what else uses it")
    raise reason or PortraitError(f"no face found in {name}; look at the camera")
