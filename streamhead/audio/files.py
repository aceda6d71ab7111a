"""Reading sound files, and the sound of videos."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from streamhead.audio.resample import as_float
from streamhead.errors import AudioError

__all__ = ["load_audio"]


def load_audio(path: str | PathLike[str]) -> tuple[NDArray[np.float32], int]:
    """Read the first sound track of any file FFmpeg can read: wav, flac, mp3, ogg, m4a, mp4, mkv, webm, ...

    Args:
        path: the file.

    Returns:
        Samples, ``(n,)`` for one channel or ``(n, channels)``, float32 with full scale 1; and their rate in Hz.

    Raises:
        AudioError: no such file, no sound in it, damaged, or not a format FFmpeg knows.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"no sound file {path}; check the name")
    try:
        parts, rate = _decode(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"cannot read sound from {path} ({reason}); convert it to wav, flac or mp3") from error
    if not parts:
        raise AudioError(f"{path} holds no sound; give a recording that is not empty")
    samples = np.concatenate(parts, axis=1).T
    try:
        return as_float(samples[:, 0] if samples.shape[1] == 1 else samples), rate
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error


def _decode(path: Path) -> tuple[list[NDArray[np.float32]], int]:
    parts: list[NDArray[np.float32]] = []
    rate = 0
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise AudioError(f"{path} has no sound track; give a file with sound")
        to_float: av.AudioResampler | None = None
        for packet in container.demux(container.streams.audio[0]):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue  # one damaged packet (a tag inside an mp3, a cut stream) does not spoil the rest
            for frame in frames:
                if to_float is None:
                    rate = frame.sample_rate
                    to_float = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate)
                frame.pts = None
                parts += [np.asarray(out.to_ndarray(), np.float32) for out in to_float.resample(frame)]
    return parts, rate
