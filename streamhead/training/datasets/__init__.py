"""Readers of the corpora as people have them: each turns a folder into a list of clips."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Clip", "Word"]

Word = tuple[float, float, str]
"""A spoken word: start and end in seconds from the clip's first frame, and the word."""


@dataclass(frozen=True)
class Clip:
    """One clip of a corpus, not yet read.

    Attributes:
        talker: whose face; the prepared data keep one folder a talker.
        name: unique for the talker.
        pictures: a video file, or a folder of numbered JPEG or PNG frames at 25 a second.
        sound: the file with the voice, as a rule the video itself.
        split: ``train``, ``val``, ``test``, ``unseen`` or None.
        words: what is said when, as far as it is known.
        expected_frames: a clip with clearly fewer frames than this is a broken one.
        fault: why the clip cannot be used, where the folder alone tells.
    """

    talker: str
    name: str
    pictures: Path
    sound: Path
    split: str | None = None
    words: tuple[Word, ...] = ()
    expected_frames: int = 1
    fault: str | None = None

    @property
    def path(self) -> str:
        """Where the clip lies inside the prepared data."""
        return f"{self.talker}/{self.name}"
