"""Figures for Prometheus, gathered when they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamhead.server.calls import Calls
from streamhead.server.portraits import Portraits
from streamhead.stream.stats import BUCKETS, STAGES, Tally

__all__ = ["Metrics"]

TICK = 0.05
"""Seconds between two measurements of the event loop."""
LAGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def _buckets(tally: Tally) -> list[tuple[str, float]]:
    edges = [*(str(edge / 1000) for edge in BUCKETS), "+Inf"]
    return [(edge, float(count)) for edge, count in zip(edges, tally.counts, strict=True)]


class Metrics(Collector):
    """A server's figures.

    Args:
        calls: that are counted.
        portraits: that are counted.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, calls: Calls, portraits: Portraits) -> None:
        self._calls = calls
        self._portraits = portraits
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._lag = Histogram(
            "streamhead_event_loop_lag_seconds",
            "How late the event loop wakes who asked to be woken",
            buckets=LAGS,
            registry=self._registry,
        )

    async def watch_loop(self) -> None:
        """Measure the event loop's lag, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            self._lag.observe(max(0.0, loop.time() - due))

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the names are told with the figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures now."""
        calls, totals = self._calls, self._calls.totals
        yield GaugeMetricFamily("streamhead_sessions", "Calls going on", len(calls))
        yield GaugeMetricFamily("streamhead_sessions_limit", "Calls that may go on at once", calls.most)
        viewers = sum(len(call.viewers) for call in calls)
        yield GaugeMetricFamily("streamhead_viewers", "Peers that only see a head", viewers)
        yield GaugeMetricFamily("streamhead_portraits", "Pictures kept in memory", len(self._portraits))
        yield CounterMetricFamily("streamhead_sessions_opened", "Calls since the server began", calls.opened)
        ends = CounterMetricFamily("streamhead_sessions_ended", "Calls that are over, by why", labels=["reason"])
        for reason, count in calls.ended.items():
            ends.add_metric([reason], count)
        yield ends
        yield CounterMetricFamily("streamhead_frames", "Frames handed over to senders", totals.frames)
        yield CounterMetricFamily("streamhead_late_frames", "Frames not drawn because they were late", totals.late)
        yield CounterMetricFamily("streamhead_dropped_frames", "Frames no sender took in time", totals.dropped)
        yield CounterMetricFamily("streamhead_silence_seconds", "Silence fed where no sound came", totals.silence_s)
        delay = HistogramMetricFamily("streamhead_delay_seconds", "From a sound's capture to its frame's handing over")
        delay.add_metric([], _buckets(totals.times["delay"]), totals.times["delay"].total_ms / 1000)
        yield delay
        stages = HistogramMetricFamily("streamhead_stage_seconds", "The delay's parts", labels=["stage"])
        for name in STAGES:
            stages.add_metric([name], _buckets(totals.times[name]), totals.times[name].total_ms / 1000)
        yield stages
