"""The mark in the corner: there, readable, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from heads import head
from sounds import speech

from streamhead.face.badge import Badge


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (128, 128), (64, 64)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_it_is_readable_on_any_ground(size: tuple[int, int], grey: int) -> None:
    frame = np.full((size[1], size[0], 3), grey, np.uint8)
    badge = Badge(size)
    badge.stamp(frame)
    mark = frame[badge.rows, badge.columns].astype(int)
    assert 14 <= mark.shape[0] <= 0.25 * min(size)
    middle = mark[len(mark) // 2, 3:-3].mean(-1)
    assert middle.max() - middle.min() > 150  # white letters on a dark ground
    outside = frame.copy()
    outside[badge.rows, badge.columns] = grey
    assert (outside == grey).all()
    assert (mark[0, 0] == grey).all()  # round corners show the picture


@pytest.mark.parametrize("view", ["call", "face"])
def test_every_frame_of_a_session_carries_it(view: str) -> None:
    def frames(badge: bool) -> np.ndarray:
        made = head().render(speech(0.2, 16000), 16000, view=view, size=(192, 128), badge=badge)
        return np.stack([frame.image for frame in made])

    plain, marked = frames(False), frames(True)
    badge = Badge((plain.shape[2], plain.shape[1]))
    for frame in plain:
        badge.stamp(frame)
    assert len(plain) == 5
    assert np.array_equal(plain, marked)


def test_a_restored_session_keeps_it() -> None:
    session = head().session(badge=True, size=(192, 128))
    session.push(speech(0.2, 16000), 16000)
    again = head().restore(session.snapshot())
    assert [frame.image.tobytes() for frame in session.frames()] == [f.image.tobytes() for f in again.frames()]
    assert again.stage.badge
