"""Videos that some other program made, as a system to be scored; and a clip through the product's own video file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamhead.errors import DataError
from streamhead.face.align import SIZE, crop, similarity, smooth
from streamhead.output.frame import Frame
from streamhead.output.video_file import VideoWriter
from streamhead.timebase import HOP, SAMPLE_RATE
from streamhead.training.batches import Clip
from streamhead.training.clip_files import read_pictures
from streamhead.training.datasets.grid import PICTURES, VIDEOS
from streamhead.training.prepare import follow_face

__all__ = ["LACKING", "VideoFolder", "reencoded", "write_clip"]

LACKING: Final = 5
"""Frames that a video may lack at its end: windows of sound end there."""


class _Finder(Protocol):
    def find(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]: ...


@dataclass(frozen=True, slots=True)
class VideoFolder:
    """A system that is known by what it drew: one video of 25 fps for each clip.

    A clip's video is ``TALKER/NAME.mp4``, ``TALKER-NAME.mp4`` or ``TALKER_NAME.mp4`` (or .mpg, .avi, .mov, .mkv), or a
    folder ``TALKER/NAME/`` of numbered pictures; ``NAME.mp4`` alone, where there are no folders in the folder.

    Attributes:
        folder: where they are.
        name: in the tables.
        files: what is there, by path without ending.
    """

    folder: Path
    name: str
    files: dict[str, Path] = field(hash=False, repr=False)

    @classmethod
    def of(cls, folder: Path, name: str) -> VideoFolder:
        """List a folder.

        Raises:
            DataError: there is no video in it.
        """
        files = {}
        for path in sorted(folder.rglob("*")):
            ending = path.suffix.lower()
            if ending in VIDEOS:
                files[path.relative_to(folder).with_suffix("").as_posix()] = path
            elif ending in PICTURES:
                files[path.parent.relative_to(folder).as_posix()] = path.parent
        if not files:
            raise DataError(f"no video in {folder}; expected {folder}/TALKER/NAME.mp4 for each clip")
        return cls(folder, name, files)

    def find(self, clip: Clip) -> Path | None:
        """The clip's video, if there is one."""
        flat = all("/" not in key for key in self.files)
        names = [f"{clip.talker}/{clip.name}", f"{clip.talker}-{clip.name}", f"{clip.talker}_{clip.name}"]
        return next((self.files[name] for name in (*names, *([clip.name] * flat)) if name in self.files), None)

    def check(self, clips: Sequence[Clip]) -> int:
        """How many of the clips it has.

        Raises:
            DataError: none.
        """
        found = sum(self.find(clip) is not None for clip in clips)
        if not found and clips:
            raise DataError(
                f"{self.folder} has none of the {len(clips)} clips; "
                f"expected {clips[0].talker}/{clips[0].name}.mp4 and the like"
            )
        return found

    def read(self, clip: Clip, finder: _Finder) -> NDArray[np.uint8] | None:
        """Canonical squares ``(T, 128, 128, 3)`` of a clip's video; None where there is none.

        Pictures of 128x128 are taken for canonical squares; in others the face is found and cut out as ``prepare``
        does. Up to ``LACKING`` frames may be missing at the end; frames beyond the clip's are left out.

        Raises:
            DataError: it cannot be read, is not of 25 fps, is shorter than the clip, or shows no face.
        """
        path = self.find(clip)
        if path is None:
            return None
        try:
            frames, _ = read_pictures(path)
            if len(frames) < len(clip.frames) - LACKING:
                raise DataError(f"{len(frames)} frames, where the clip has {len(clip.frames)}")
            frames = frames[: len(clip.frames)]
            if frames[0].shape[:2] == (SIZE, SIZE):
                return np.stack(frames)
            points = follow_face([finder.find(np.ascontiguousarray(frame)) for frame in frames])
        except DataError as error:
            raise DataError(f"{path}: {error}; mend or remove it") from error
        transforms = smooth(np.stack([similarity(face) for face in points]))
        return np.stack([crop(frame, matrix) for frame, matrix in zip(frames, transforms, strict=True)])

    def digest(self, clip: Clip) -> str:
        """What tells this version of a clip's video from another."""
        path = self.find(clip)
        if path is None:
            return "none"
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return repr([(file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files])


def write_clip(path: Path, frames: NDArray[np.uint8], audio: NDArray[np.floating[Any]], *, size: int = SIZE) -> None:
    """Write squares and 16 kHz sound as the mp4 the product writes.

    Args:
        path: the file.
        frames: ``(T, 128, 128, 3)`` RGB.
        audio: ``(n,)`` in [-1, 1], sample 0 at the start of frame 0.
        size: side of the pictures in the file.

    Raises:
        OutputError: it cannot be written.
    """
    import cv2

    heard = np.zeros(len(frames) * HOP, np.float32)
    heard[: min(len(audio), len(heard))] = audio[: len(heard)]
    with VideoWriter(path) as writer:
        for t, frame in enumerate(frames):
            image = frame if size == SIZE else cv2.resize(frame, (size, size), interpolation=cv2.INTER_CUBIC)
            samples = heard[t * HOP : (t + 1) * HOP]
            writer.write(Frame(np.ascontiguousarray(image, np.uint8), t * HOP, samples, SAMPLE_RATE, True))


def reencoded(clip: Clip) -> NDArray[np.uint8]:
    """The clip's frames ``(T, 128, 128, 3)`` as they come out of the video file the product writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, np.asarray(clip.frames), clip.audio)
        return np.stack(read_pictures(path)[0])
