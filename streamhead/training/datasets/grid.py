"""The GRID audio-visual sentence corpus (Cooke, Barker, Cunningham and Shao, 2006; CC BY 4.0).

Read as people have it: ``sN/NAME.mpg`` or ``.mp4`` with ``align/NAME.align`` or ``alignments/sN/NAME.align``, or the
Zenodo release unpacked, folders of frames ``sN/NAME/*.jpg`` with the sound in ``audio_25k/sN/NAME.wav``.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from streamhead.errors import DataError
from streamhead.training.datasets import Clip, Word

__all__ = ["FRAMES", "PICTURES", "VIDEOS", "find_clips", "read_alignment", "read_split"]

FRAMES: Final = 75
"""Frames a clip; a few have 74."""

VIDEOS: Final = frozenset({".mpg", ".mpeg", ".mp4", ".avi", ".mov", ".mkv"})
"""File name endings taken for videos."""

PICTURES: Final = frozenset({".jpg", ".jpeg", ".png"})
"""File name endings taken for frames."""

_TICKS: Final = 25_000
_FEWEST_PICTURES: Final = 10
_TALKER: Final = re.compile(r"([a-z]\d{1,3})(?![a-z0-9])", re.IGNORECASE)


def read_alignment(path: Path) -> tuple[Word, ...]:
    """Read the words of an ``.align`` file: lines of start, end (in 1/25000 s) and word; silences are left out.

    Raises:
        DataError: the file cannot be read or a line is something else.
    """
    words = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                start, end, word = line.split()
                words.append((int(start) / _TICKS, int(end) / _TICKS, word))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no GRID alignment ({error}); fetch it again or delete it") from error
    return tuple(word for word in words if word[2] not in ("sil", "sp"))


def read_split(path: Path) -> dict[tuple[str, str], str]:
    """Read ``{split: {talker: [clip names]}}`` from a JSON file, turned round: (talker, name) -> split.

    Raises:
        DataError: the file cannot be read or has another form.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {
            (talker, name): split
            for split, talkers in table.items()
            for talker, names in talkers.items()
            for name in names
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is no split file ({error}); it must read {{split: {{talker: [names]}}}}") from error


def _walk(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders below a folder and their files, in order, without what macOS and Windows leave behind."""
    for folder, below, files in os.walk(source, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
        yield Path(folder), sorted(name for name in files if not name.startswith("."))


def _talker(folder: Path, source: Path) -> str:
    """The talker a folder belongs to: the innermost ``s12``-like name on its path, else its own name."""
    for name in reversed((source.resolve().name, *folder.relative_to(source).parts)):
        if match := _TALKER.match(name):
            return match[1].lower()
    return folder.resolve().name


class _Companions:
    """Files that belong to clips, found by talker and name; by name alone only where no other talker has that name."""

    def __init__(self) -> None:
        self._files: defaultdict[str, dict[str, Path]] = defaultdict(dict)

    def add(self, talker: str, path: Path) -> None:
        self._files[path.stem][talker] = path

    def find(self, talker: str, name: str, clips_of_that_name: int) -> Path | None:
        files = self._files.get(name, {})
        if talker in files:
            return files[talker]
        return next(iter(files.values())) if len(files) == 1 and clips_of_that_name == 1 else None


def find_clips(source: Path, split: Mapping[tuple[str, str], str] = MappingProxyType({})) -> list[Clip]:
    """List the clips below a folder.

    A video is preferred to a folder of frames of the same clip: its sound is in step with its pictures, whereas the
    files of ``audio_25k`` are cut to the spoken words.

    Args:
        source: the corpus, or one talker's folder.
        split: (talker, name) -> split, from ``read_split``; a clip it names and the folder lacks is listed as faulty.

    Raises:
        DataError: there is no such folder, or no clip in it.
    """
    if not source.is_dir():
        raise DataError(f"{source} is no folder; give the one that holds GRID's s1, s2, ...")
    pictures: dict[tuple[str, str], Path] = {}
    sounds, alignments = _Companions(), _Companions()
    for folder, files in _walk(source):
        endings = [os.path.splitext(name)[1].lower() for name in files]
        if sum(ending in PICTURES for ending in endings) >= _FEWEST_PICTURES:
            pictures.setdefault((_talker(folder.parent, source), folder.name), folder)
            continue
        talker = _talker(folder, source)
        for name, ending in zip(files, endings, strict=True):
            path = folder / name
            if ending in VIDEOS:
                pictures[talker, path.stem] = path
            elif ending == ".wav":
                sounds.add(talker, path)
            elif ending == ".align":
                alignments.add(talker, path)
    if not pictures:
        raise DataError(f"no clips in {source}; expected sN/NAME.mpg, sN/NAME.mp4 or folders of frames sN/NAME/*.jpg")
    namesakes = Counter(name for _, name in pictures)
    clips = []
    for (talker, name), path in sorted(pictures.items()):
        words: tuple[Word, ...] = ()
        fault = None
        sound: Path | None = path
        if path.suffix.lower() not in VIDEOS:
            sound = sounds.find(talker, name, namesakes[name])
            fault = None if sound else f"no sound: there is no audio_25k/{talker}/{name}.wav"
        if alignment := alignments.find(talker, name, namesakes[name]):
            try:
                words = read_alignment(alignment)
            except DataError as error:
                fault = str(error)
        clips.append(Clip(talker, name, path, sound or path, split.get((talker, name)), words, FRAMES, fault))
    absent = [
        Clip(talker, name, source, source, which, fault="in the split file, but not in the corpus")
        for (talker, name), which in sorted(split.items())
        if (talker, name) not in pictures
    ]
    return clips + absent
