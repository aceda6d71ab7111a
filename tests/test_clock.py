"""Timelines and schedules."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import VirtualTimeLoop, run

from streamhead.stream.clock import Pacer, Timeline


def test_timeline_tells_when_each_sample_was_captured() -> None:
    line = Timeline(1000, 50.0)
    assert line.edge == 50.0
    assert line.captured_at(100) == pytest.approx(50.1)
    line.extend(200, 51.0)
    line.extend(100, 51.3)  # 100 ms after the last one ended
    assert line.position == 300
    assert line.edge == pytest.approx(51.4)
    for position, instant in ((0, 51.0), (199, 51.199), (200, 51.3), (299, 51.399), (350, 51.45)):
        assert line.captured_at(position) == pytest.approx(instant)


def test_timeline_forgets_what_is_over_and_nothing_else() -> None:
    line = Timeline(1000, 0.0)
    for k in range(1000):
        line.extend(20, 5.0 + 0.021 * k)
        line.forget(max(0, line.position - 60))
    assert len(line._pieces) <= 5
    assert line.captured_at(line.position - 60) == pytest.approx(5.0 + 0.021 * 997)
    assert line.captured_at(line.position - 1) == pytest.approx(5.0 + 0.021 * 999 + 0.019)


def test_pacer_does_not_drift() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        pacer = Pacer(loop.time)
        start = loop.time()
        for k in range(500):
            assert await pacer.step(0.02) == pytest.approx(start + 0.02 * k)
            assert loop.time() == pytest.approx(start + 0.02 * (k + 1))
            loop.stall(0.007)  # whoever takes the step is slow

    run(main)


def test_pacer_catches_up_or_starts_afresh() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        pacer = Pacer(loop.time)
        start = loop.time()
        await pacer.step(0.02)
        loop.stall(0.5)
        for k in range(1, 26):
            assert await pacer.step(0.02) == pytest.approx(start + 0.02 * k)
            assert loop.time() == pytest.approx(start + 0.52)
        await pacer.step(0.02)
        assert loop.time() == pytest.approx(start + 0.54)
        loop.stall(3600.0)
        woke = loop.time()
        assert await pacer.step(0.02) == pytest.approx(woke)
        assert loop.time() == pytest.approx(woke + 0.02)

    run(main)


def test_pacer_restarts_after_idling_but_not_within_a_step() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        pacer = Pacer(loop.time)
        await pacer.step(0.02)
        await asyncio.sleep(0.3)
        pacer.restart()
        assert await pacer.step(0.02) == pytest.approx(loop.time() - 0.02)
        pacer.restart()
        assert await pacer.step(0.02) == pytest.approx(loop.time() - 0.02)

    run(main)
