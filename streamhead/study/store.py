"""Ratings, in an SQLite file: one of each rater for each video, on disk before the rater is thanked."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from streamhead.errors import OutputError

__all__ = ["Rating", "Store"]

_TABLE = """
CREATE TABLE IF NOT EXISTS rating (
    rater TEXT NOT NULL,
    item TEXT NOT NULL,
    realism INTEGER NOT NULL CHECK (realism BETWEEN 1 AND 10),
    sync INTEGER NOT NULL CHECK (sync BETWEEN 1 AND 10),
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (rater, item)
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Rating:
    """What a rater thinks of a video.

    Attributes:
        rater: a code, no name.
        item: the video's id.
        realism: 1 to 10.
        sync: of lips and sound, 1 to 10.
    """

    rater: str
    item: str
    realism: int
    sync: int


class Store:
    """The ratings of a study; may be used from several threads. A context manager.

    Args:
        path: the file, made if missing.

    Raises:
        OutputError: it is no database, or cannot be written (on making one, and on :meth:`put`).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(path, check_same_thread=False, timeout=10.0, isolation_level=None)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")  # a rating that was answered survives a power cut
            self._base.execute(_TABLE)
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.Error) -> OutputError:
        return OutputError(f"cannot keep ratings in {self._path}: {error}; make room, or choose another folder")

    def put(self, rating: Rating) -> None:
        """Keep a rating. Sent twice it counts once; another one of the same rater for the same video replaces it."""
        values = (rating.rater, rating.item, rating.realism, rating.sync)
        with self._lock:
            try:
                self._base.execute(
                    "INSERT INTO rating (rater, item, realism, sync) VALUES (?, ?, ?, ?) ON CONFLICT (rater, item) "
                    "DO UPDATE SET realism = excluded.realism, sync = excluded.sync, at = excluded.at",
                    values,
                )
            except sqlite3.Error as error:
                raise self._refusal(error) from error

    def rated(self, rater: str) -> set[str]:
        """Ids of the videos a rater has rated."""
        with self._lock:
            return {row[0] for row in self._base.execute("SELECT item FROM rating WHERE rater = ?", (rater,))}

    def ratings(self) -> list[Rating]:
        """All of them, in the order of raters and videos."""
        with self._lock:
            rows = self._base.execute("SELECT rater, item, realism, sync FROM rating ORDER BY rater, item")
            return [Rating(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
