"""Where the face lies in pictures seen before, so that a second start needs no landmark model.

Kept are landmarks and numbers, never pictures: an entry is of use only beside the very file it was found in, whose
hash is its name.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import platformdirs
from numpy.typing import NDArray

from streamhead.face.landmarks import MODEL_SHA256, POINTS
from streamhead.face.picture import MAX_SIDE, opened
from streamhead.files import write_whole

__all__ = ["OFF_ENV", "Entry", "folder", "key", "read", "write"]

OFF_ENV: Final = "STREAMHEAD_NO_PORTRAIT_CACHE"
"""Environment variable that, if it is set to anything, keeps portraits from being remembered."""

_VERSION: Final = 1
"""Raised whenever a face would be found elsewhere, or an entry is written otherwise."""
_MOST: Final = 256
"""Entries kept, of about 12 kB each; the oldest are forgotten."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Where a face was found.

    Attributes:
        points: ``(478, 2)`` float32.
        shape: height and width of the picture they lie in.
        box: what was cut out of the picture before, or None.
        frame: number of the video's frame, or None for a picture.
    """

    points: NDArray[np.float32]
    shape: tuple[int, int]
    box: tuple[int, int, int, int] | None
    frame: int | None


def folder() -> Path:
    """Where entries are kept."""
    return Path(platformdirs.user_cache_dir("streamhead")) / "portraits"


def key(path: str | os.PathLike[str], pick: int | None) -> str | None:
    """Name of a file's entry, from its content and what the result depends on; None where nothing is remembered.

    Raises:
        PortraitError: the file cannot be opened.
    """
    if os.environ.get(OFF_ENV):
        return None
    with opened(path) as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    options = json.dumps([_VERSION, MODEL_SHA256, MAX_SIDE, Path(path).suffix.lower(), pick])
    return hashlib.sha256(f"{content} {options}".encode()).hexdigest()


def read(name: str) -> Entry | None:
    """An entry, if there is one that is whole."""
    path = folder() / f"{name}.json"
    try:
        facts = json.loads(path.read_text("utf-8"))
        points = np.array(facts["points"], np.float32)
        height, width = map(int, facts["shape"])
        box = None if facts["box"] is None else tuple(map(int, facts["box"]))
        frame = None if facts["frame"] is None else int(facts["frame"])
        if points.shape != (POINTS, 2) or not np.isfinite(points).all() or (box is not None and len(box) != 4):
            raise ValueError("damaged")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        forget(name)
        return None
    with suppress(OSError):
        os.utime(path)  # the least recently used are forgotten first
    return Entry(points, (height, width), box, frame)


def forget(name: str) -> None:
    """Remove an entry, if it is there."""
    with suppress(OSError):
        (folder() / f"{name}.json").unlink(missing_ok=True)


def write(name: str, entry: Entry) -> None:
    """Keep an entry; where nothing can be written, nothing is kept."""
    facts = {
        "points": entry.points.astype(np.float64).tolist(),
        "shape": list(entry.shape),
        "box": entry.box,
        "frame": entry.frame,
    }
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        write_whole(folder() / f"{name}.json", json.dumps(facts).encode(), 0o600)
        for old in sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_MOST]:
            old.unlink(missing_ok=True)
