"""One delay for all frames: small, quick to grow, slow to shrink, deaf to single accidents."""

from __future__ import annotations

import numpy as np
import pytest

from streamhead.stream.even_delay import ENOUGH, LONGEST, SPARE, EvenDelay
from streamhead.timebase import FPS


def test_before_anything_is_known() -> None:
    for look_ahead in (0, 1):
        delay = EvenDelay(look_ahead)
        assert delay.seconds == pytest.approx((1 + look_ahead) / FPS + SPARE)
        for _ in range(ENOUGH - 1):
            delay.follow(0.3)  # the first frames are slow
        assert delay.seconds == pytest.approx((1 + look_ahead) / FPS + SPARE)


def test_nearly_all_frames_are_in_time_and_none_waits_long() -> None:
    needs = 0.09 + np.random.default_rng(0).gamma(2.0, 0.004, 3000)
    delay, early = EvenDelay(1), []
    for need in needs:
        early.append(delay.seconds - need)
        delay.follow(need)
    settled = np.array(early[500:])
    assert 0.95 < np.mean(settled >= 0) < 1.0
    assert np.median(settled) < 0.025


def test_single_accidents_move_nothing() -> None:
    delay = EvenDelay(1)
    for t in range(1000):
        delay.follow(0.4 if t % 100 == 50 else 0.095)
    assert delay.seconds < 0.1


def test_it_grows_at_once_and_shrinks_slowly() -> None:
    delay = EvenDelay(1)
    for _ in range(500):
        delay.follow(0.09)
    low = delay.seconds
    for _ in range(20):
        delay.follow(0.15)
    high = delay.seconds
    assert high > 0.15 > low
    after = [delay.follow(0.09) for _ in range(1000)]
    assert np.diff([high, *after]).min() > -0.001  # a millisecond a frame is not seen
    assert after[-1] == pytest.approx(low, abs=0.002)


def test_it_never_is_less_than_the_sound_a_frame_needs_nor_endless() -> None:
    delay = EvenDelay(1)
    for _ in range(2000):
        delay.follow(0.01)
    assert delay.seconds == pytest.approx(2 / FPS)
    for _ in range(2000):
        delay.follow(3.0)
    assert delay.seconds == LONGEST
