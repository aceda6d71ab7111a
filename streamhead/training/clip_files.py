"""Pictures and sound of a corpus clip, brought onto one time line: sample 0 is the start of frame 0."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono, resample
from streamhead.errors import DataError
from streamhead.timebase import FPS, HOP, SAMPLE_RATE
from streamhead.training.datasets import Clip, Word
from streamhead.training.datasets.grid import PICTURES

__all__ = ["read_pictures", "read_sound"]

_IN_STEP: Final = 0.1
"""Sound this much shorter than its pictures (s) still starts with them: GRID's own videos lack 0.02 s at the end."""


def _read_video(path: Path) -> tuple[list[NDArray[np.uint8]], float]:
    frames: list[NDArray[np.uint8]] = []
    start = 0.0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError("no pictures")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or FPS)
            if abs(rate - FPS) > 0.01:
                raise DataError(f"{rate:g} frames a second; convert it to {FPS}")
            for frame in container.decode(stream):
                if not frames:
                    start = float(frame.time or 0.0)
                frames.append(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"cannot be decoded: {error.strerror}") from error
    return frames, start


def _read_folder(path: Path) -> list[NDArray[np.uint8]]:
    numbered = {}
    for file in path.iterdir():
        if file.suffix.lower() in PICTURES and not file.name.startswith("."):
            digits = re.findall(r"\d+", file.stem)
            if not digits:
                raise DataError(f"frame {file.name} has no number")
            numbered[int(digits[-1])] = file
    order = sorted(numbered)
    if order and order[-1] - order[0] + 1 != len(order):
        raise DataError(f"truncated: frames missing between {order[0]} and {order[-1]}")
    try:
        frames = [np.asarray(Image.open(numbered[number]).convert("RGB")) for number in order]
    except OSError as error:
        raise DataError(f"cannot be decoded: {error}") from error
    if len({frame.shape for frame in frames}) > 1:
        raise DataError("frames of different sizes")
    return frames


def read_pictures(path: Path) -> tuple[list[NDArray[np.uint8]], float]:
    """Frames ``(height, width, 3)`` RGB of a 25 fps video or a folder of numbered pictures.

    Returns:
        The frames, and the file's time at which the first one is shown, in seconds.

    Raises:
        DataError: not decodable, not 25 fps, or frames are missing.
    """
    return (_read_folder(path), 0.0) if path.is_dir() else _read_video(path)


def _sound_start(path: Path) -> float:
    with av.open(str(path)) as container:
        first = next(container.decode(audio=0))
        return float(first.time or 0.0)


def _place(seconds: float, frames: int, words: tuple[Word, ...]) -> float:
    """When a separate sound file starts, in seconds from the first frame.

    GRID's ``audio_25k`` is cut to the spoken words, so its middle is put where the alignment has the sentence's.
    """
    missing = frames / FPS - seconds
    if missing <= _IN_STEP:
        return 0.0
    if not words:
        raise DataError(f"its sound is {missing:.1f} s shorter than its pictures and no .align says where it belongs")
    return (words[0][0] + words[-1][1] - seconds) / 2


def read_sound(clip: Clip, start: float, frames: int) -> NDArray[np.float32]:
    """The clip's sound from the start of its first frame to the end of its last, zeros where there is none.

    Args:
        clip: whose sound.
        start: time of the first frame in the clip's video file, seconds.
        frames: number of frames.

    Returns:
        ``(640 * frames,)`` at 16 kHz, mono.

    Raises:
        DataError: no sound, or none that can be put in step with the pictures.
        AudioError: not decodable.
    """
    try:
        samples, rate = load_audio(clip.sound)
        if clip.sound == clip.pictures:
            lead = _sound_start(clip.sound) - start
        else:
            lead = _place(len(samples) / rate, frames, clip.words)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"no sound: {error.strerror}") from error
    samples = resample(as_float_mono(samples), rate)
    shift = round(lead * SAMPLE_RATE)
    out = np.zeros(frames * HOP, np.float32)
    body = samples[max(-shift, 0) :][: max(0, len(out) - max(shift, 0))]
    out[max(shift, 0) : max(shift, 0) + len(body)] = body
    return out
