"""Lip Reading in the Wild (Chung and Zisserman, 2016): one word of BBC television a clip, 29 frames, 256 px.

The corpus is licensed by the BBC: ``WORD/{train,val,test}/WORD_00001.mp4`` and a ``.txt`` beside each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from streamhead.errors import DataError
from streamhead.timebase import FPS
from streamhead.training.datasets import Clip, Word

__all__ = ["FRAMES", "find_clips", "read_metadata"]

FRAMES: Final = 29
"""Frames a clip; the word is in the middle."""

_SPLITS: Final = ("train", "val", "test")
_DURATION: Final = re.compile(r"^Duration:\s*(\d+(?:\.\d+)?)\s*seconds", re.MULTILINE)


def read_metadata(path: Path, word: str) -> tuple[Word, ...]:
    """When the word is spoken: LRW gives its duration and puts it in the clip's middle.

    Raises:
        DataError: the file cannot be read or gives no duration.
    """
    try:
        match = _DURATION.search(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again or delete it") from error
    if match is None:
        raise DataError(f"{path} gives no 'Duration: ... seconds'; fetch it again or delete it")
    duration = float(match[1])
    middle = FRAMES / FPS / 2
    return ((middle - duration / 2, middle + duration / 2, word),)


def find_clips(source: Path) -> list[Clip]:
    """List the clips of LRW, each in the corpus' own split.

    LRW does not say who talks, so the word stands for the talker; the three splits use the same file names, so the
    split is part of a clip's name.

    Raises:
        DataError: there is no such folder, or no clip in it.
    """
    if not source.is_dir():
        raise DataError(f"{source} is no folder; give LRW's lipread_mp4")
    clips = []
    for split in _SPLITS:
        for path in source.glob(f"*/{split}/[!.]*.mp4"):
            word = path.parent.parent.name
            metadata = path.with_suffix(".txt")
            words: tuple[Word, ...] = ()
            fault = None
            if metadata.is_file():
                try:
                    words = read_metadata(metadata, word)
                except DataError as error:
                    fault = str(error)
            clips.append(Clip(word, f"{split}_{path.stem}", path, path, split, words, FRAMES, fault))
    if not clips:
        raise DataError(f"no clips in {source}; expected WORD/{{train,val,test}}/WORD_00001.mp4")
    return sorted(clips, key=lambda clip: clip.path)
