"""Sound from aiortc tracks: its clock, its losses, its formats, and tracks that come and go."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame
from virtual_time import VirtualTimeLoop, run

from streamhead.audio.microphone import AudioChunk
from streamhead.audio.track import LONGEST_QUEUE, RATE, ArrivalClock, TrackSource

PACKET = 0.02


class Sender(MediaStreamTrack):
    """A track that brings numbered packets, each at the instant it is told."""

    kind = "audio"

    def __init__(
        self,
        loop: VirtualTimeLoop,
        arrivals: list[tuple[int, float]],
        *,
        rate: int = RATE,
        layout: str = "stereo",
        end: bool = True,
    ) -> None:
        super().__init__()
        self._loop, self._arrivals, self._rate, self._layout, self._end = loop, list(arrivals), rate, layout, end

    async def recv(self) -> AudioFrame:
        if not self._arrivals:
            if self._end:
                raise MediaStreamError
            await asyncio.Event().wait()
        number, instant = self._arrivals.pop(0)
        await asyncio.sleep(max(0.0, instant - self._loop.time()))
        count = round(PACKET * self._rate)
        channels = 2 if self._layout == "stereo" else 1
        pcm = np.full((1, count * channels), number + 1, np.int16)
        frame = AudioFrame.from_ndarray(pcm, "s16", self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, number * count, Fraction(1, self._rate)
        return frame


async def gather(source: TrackSource, seconds: float) -> list[AudioChunk]:
    chunks: list[AudioChunk] = []

    async def take() -> None:
        async for chunk in source:
            chunks.append(chunk)

    task = asyncio.create_task(take())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return chunks


def steady(count: int, start: float, first: int = 0) -> list[tuple[int, float]]:
    return [(first + k, start + (k + 1) * PACKET) for k in range(count)]


def test_sound_is_as_old_as_its_packet_is_late() -> None:
    clock, jitter = ArrivalClock(), np.random.default_rng(0).exponential(0.01, 2000)
    captured = np.array(
        [clock.captured_at(PACKET * k, PACKET, 7.0 + PACKET * (k + 1) + jitter[k]) for k in range(2000)]
    )
    error = captured - (7.0 + PACKET * np.arange(2000))
    assert np.abs(error[50:]).max() < 0.001


@pytest.mark.parametrize("drift", [-300e-6, 300e-6])
def test_the_clock_follows_a_sender_whose_clock_runs_otherwise(drift: float) -> None:
    clock = ArrivalClock()
    for k in range(30_000):  # ten minutes
        arrived = PACKET * (k + 1) * (1 + drift)
        captured = clock.captured_at(PACKET * k, PACKET, arrived)
        assert arrived - PACKET - captured == pytest.approx(0.0, abs=0.002)


def test_a_burst_after_an_outage_is_old_and_new_timestamps_are_not() -> None:
    clock = ArrivalClock()
    for k in range(500):
        clock.captured_at(PACKET * k, PACKET, PACKET * (k + 1))
    for k in range(500, 750):  # five seconds of packets at once
        assert clock.captured_at(PACKET * k, PACKET, 15.0) == pytest.approx(PACKET * k)
    assert clock.captured_at(PACKET * 750, PACKET, 15.02) == pytest.approx(15.0)
    for k in range(100):  # another sender, anywhere in its own time
        assert clock.captured_at(900.0 + PACKET * k, PACKET, 15.1 + PACKET * k) == pytest.approx(15.08 + PACKET * k)


def test_every_sample_comes_with_its_time() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        start = loop.time()
        chunks = await gather(TrackSource(Sender(loop, steady(100, start)), now=loop.time), 3.0)
        assert len(chunks) == 100
        assert [float(chunk.pcm[0, 0] * 2**15) for chunk in chunks] == list(range(1, 101))
        assert {chunk.pcm.shape[1] for chunk in chunks} == {2}
        assert 0 < len(chunks[0].pcm) < 480  # so that frames end shortly before a packet does
        ends = [chunk.captured_at + len(chunk.pcm) / RATE - start for chunk in chunks]
        assert ends == pytest.approx(PACKET * np.arange(1, 101))
        assert not any(chunk.lost for chunk in chunks)

    run(main)


def test_lost_packets_are_told() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        arrivals = [item for item in steady(50, loop.time()) if item[0] not in (10, 11, 30)]
        chunks = await gather(TrackSource(Sender(loop, arrivals), now=loop.time), 2.0)
        told = {int(chunk.pcm[0, 0] * 2**15) - 1: chunk.lost for chunk in chunks if chunk.lost}
        assert told == {12: 1920, 31: 960}

    run(main)


@pytest.mark.parametrize(("rate", "layout"), [(8000, "mono"), (16_000, "mono"), (48_000, "mono"), (44_100, "stereo")])
def test_any_format_becomes_48_khz_stereo(rate: int, layout: str) -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        sender = Sender(loop, steady(100, loop.time()), rate=rate, layout=layout)
        chunks = await gather(TrackSource(sender, now=loop.time), 3.0)
        sound = np.concatenate([chunk.pcm for chunk in chunks])
        assert sound.shape[1] == 2
        assert len(sound) == pytest.approx(RATE * (100 * PACKET - 0.017), abs=RATE * 0.01)
        assert np.array_equal(sound[:, 0], sound[:, 1])
        assert sound[len(sound) // 2, 0] * 2**15 == pytest.approx(50, abs=3)
        assert not any(chunk.lost for chunk in chunks)

    run(main)


def test_tracks_come_end_and_change() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        source, start = TrackSource(now=loop.time), loop.time()

        async def change() -> None:
            await asyncio.sleep(1.0)
            source.listen(Sender(loop, steady(25, loop.time())))
            await asyncio.sleep(1.0)  # it ends by itself
            source.listen(Sender(loop, steady(200, loop.time(), first=1000), end=False))
            await asyncio.sleep(0.505)
            source.listen(Sender(loop, steady(25, loop.time(), first=2000)))

        task = asyncio.create_task(change())
        chunks = await gather(source, 4.0)
        await task
        numbers = [int(chunk.pcm[0, 0] * 2**15) - 1 for chunk in chunks]
        assert numbers == [*range(25), *range(1000, 1025), *range(2000, 2025)]
        assert chunks[0].captured_at - start == pytest.approx(1.0 + 0.017)
        assert chunks[25].captured_at - start == pytest.approx(2.0)
        assert not any(chunk.lost for chunk in chunks)

    run(main)


def test_a_track_nobody_takes_from_is_consumed_and_its_losses_counted() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        source = TrackSource(Sender(loop, steady(100, loop.time())), now=loop.time)
        chunks = aiter(source)
        first = await anext(chunks)
        await asyncio.sleep(3.0)
        assert source.overruns == 99 - LONGEST_QUEUE
        second = await anext(chunks)
        await chunks.aclose()
        assert second.lost == source.overruns * 960
        assert second.captured_at == pytest.approx(first.captured_at + (len(first.pcm) + second.lost) / RATE)
        source.clear()
        assert not source._queue

    run(main)
