"""What both measurements of the offset between picture and sound share."""

from __future__ import annotations

import os

import numpy as np
from e2e.av_probe import RATE, paint

import streamhead
from streamhead.audio.resample import as_float_mono
from streamhead.stream.session import Session
from streamhead.timebase import HOP

__all__ = ["DRIFTS", "LONG", "SECONDS", "SETTLING", "drift", "numbered"]

SECONDS = float(os.environ.get("STREAMHEAD_E2E_SECONDS", "10"))
LONG = SECONDS >= 60
DRIFTS = SECONDS >= 600
SETTLING = 3  # s, and tones, at the start of a connection that are not judged


def drift(at: np.ndarray, offset: np.ndarray) -> float:
    """From the first minute to the last, or the first fifth to the last of what is shorter."""
    span = min(60.0, (at[-1] - at[0]) / 5)
    return float(offset[at > at[-1] - span].mean() - offset[at < at[0] + span].mean())


def numbered(session: Session) -> list[np.ndarray]:
    """Make a session write each frame's number into it; returns the sound it hears from now on, ``(n,)`` each."""
    step, push = session.step, session.push
    heard: list[np.ndarray] = []

    async def numbered_step(skip: int = 0) -> streamhead.Frame | None:
        frame = await step(skip)
        if frame is not None:
            paint(frame.image, frame.pts // HOP)
        return frame

    def noted_push(pcm: np.ndarray, sample_rate: int) -> None:
        assert sample_rate == RATE
        heard.append(as_float_mono(np.asarray(pcm)))
        push(pcm, sample_rate)

    session.step, session.push = numbered_step, noted_push  # type: ignore[method-assign, assignment]
    return heard
