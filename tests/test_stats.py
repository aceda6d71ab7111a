"""The figures a pipeline tells, against those numpy tells of the same times."""

from __future__ import annotations

import numpy as np
import pytest

from streamhead.stream.stats import STAGES, Meter, Spread


def _fill(meter: Meter, delays: np.ndarray, period: float = 0.04) -> float:
    handed = 0.0
    for t, delay in enumerate(delays):
        handed = 100.0 + period * t
        captured = handed - delay
        instants = (captured + share * delay for share in (0.5, 0.6, 0.8, 0.9))
        meter.frame(captured, *instants, handed)
    return handed


def test_nothing_yet() -> None:
    stats = Meter().stats(5.0)
    assert (stats.frames, stats.fps, stats.mean_fps, stats.seconds) == (0, 0.0, 0.0, 0.0)
    assert stats.delay_ms == Spread()
    assert set(stats.stages_ms) == set(STAGES)


def test_percentiles_and_stages() -> None:
    delays = np.random.default_rng(0).gamma(4.0, 0.03, 5000)
    meter = Meter()
    stats = meter.stats(_fill(meter, delays))
    expected = 1e3 * np.percentile(delays, [50, 95, 99])
    assert [stats.delay_ms.p50, stats.delay_ms.p95, stats.delay_ms.p99] == pytest.approx(expected, abs=1.0)
    assert stats.delay_ms.mean == pytest.approx(1e3 * delays.mean(), abs=0.01)
    assert stats.delay_ms.max == pytest.approx(1e3 * delays.max(), abs=0.01)
    shares = [stats.stages_ms[name].mean / stats.delay_ms.mean for name in STAGES]
    assert shares == pytest.approx([0.5, 0.1, 0.2, 0.1, 0.1], abs=1e-3)


def test_growth_of_delay() -> None:
    noise = np.random.default_rng(1).normal(0, 0.002, 3000)
    for growth in (0.0, 0.012):
        meter = Meter()
        now = _fill(meter, 0.1 + noise + growth * np.arange(3000) / 1500)  # over two minutes
        assert meter.stats(now).delay_growth_ms_per_minute == pytest.approx(1e3 * growth, abs=0.3)


def test_rate_just_now_and_over_all() -> None:
    meter = Meter()
    now = _fill(meter, np.full(500, 0.1))
    stats = meter.stats(now)
    assert (stats.fps, stats.mean_fps) == (25.0, 25.0)
    assert stats.delay_now_ms == pytest.approx(100.0)
    later = meter.stats(now + 3.0)  # frames have stopped
    assert (later.fps, later.mean_fps) == (0.0, 25.0)
