"""One delay for every frame, so that the sound beside them can have it too."""

from __future__ import annotations

from collections import deque
from typing import Final

from streamhead.timebase import FPS

__all__ = ["EvenDelay"]

WINDOW: Final = 10 * FPS
"""Frames that are looked back on."""
ENOUGH: Final = FPS
"""Frames to judge by, and as many before them that are not judged: the very first are slow."""
SHARE: Final = 0.95
"""Share of the frames that are to be in time; the others leave late, each on its own."""
MARGIN: Final = 0.003
"""Seconds that frames are to be ready before they leave."""
FALL: Final = 0.004
"""Seconds a second that the delay may shrink; it grows at once."""
SPARE: Final = 0.025
"""Seconds beyond the sound it needs that a frame is given before anything is known."""
LONGEST: Final = 0.4
"""Seconds; beyond it frames are late, whatever they need."""


class EvenDelay:
    """The smallest delay at which nearly all frames of the last ten seconds would have been in time.

    Args:
        look_ahead: frames of sound after its own that a frame waits for.
    """

    def __init__(self, look_ahead: int) -> None:
        self._least = (1 + look_ahead) / FPS
        self.seconds = self._least + SPARE
        """The delay, s."""
        self._needs: deque[float] = deque(maxlen=WINDOW)
        self._unjudged = ENOUGH

    def follow(self, need: float) -> float:
        """Note that a frame took ``need`` seconds from capture until it was made; returns the delay from now on."""
        if self._unjudged:
            self._unjudged -= 1
            return self.seconds
        self._needs.append(need)
        if len(self._needs) >= ENOUGH:
            wish = sorted(self._needs)[int(SHARE * (len(self._needs) - 1))] + MARGIN
            self.seconds = min(max(wish, self.seconds - FALL / FPS, self._least), LONGEST)
        return self.seconds
