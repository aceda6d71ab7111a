"""Live sources: a file in real time, pushed sound, and microphones that are not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import numpy as np
import pytest
from virtual_time import VirtualTimeLoop, run

from streamhead.audio.microphone import AudioChunk, FileSource, Microphone, PushSource, open_source
from streamhead.errors import AudioError, DeviceError


def _wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    layout = "mono" if samples.ndim == 1 else "stereo"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), format="flt", layout=layout)
        frame.sample_rate = rate
        out.mux(stream.encode(frame))
    return path


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (11025, 1), (44100, 2), (48000, 1)])
def test_a_file_plays_once_in_real_time(tmp_path: Path, rate: int, channels: int) -> None:
    shape = (rate + 37,) if channels == 1 else (rate + 37, channels)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)
    path = _wav(tmp_path / "a.wav", samples, rate)

    async def main(loop: VirtualTimeLoop) -> None:
        source = FileSource(path, loop=False, now=loop.time)
        assert (source.sample_rate, source.channels) == (rate, channels)
        start, heard = loop.time(), 0
        chunks = []
        async for chunk in source:
            assert chunk.sample_rate == rate
            assert chunk.captured_at == pytest.approx(start + heard / rate, abs=1e-6)
            heard += len(chunk.pcm)
            assert loop.time() == pytest.approx(start + heard / rate, abs=1e-6)  # not before it could be captured
            assert len(chunk.pcm) <= rate // 100 + 1
            chunks.append(chunk.pcm)
        assert np.array_equal(np.concatenate(chunks), samples)

    run(main)


def test_a_file_loops_without_a_seam(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 700).astype(np.float32)  # shorter than five chunks
    path = _wav(tmp_path / "a.wav", samples, 16000)

    async def main(loop: VirtualTimeLoop) -> None:
        source = FileSource(path, now=loop.time)
        heard: list[np.ndarray] = []
        async for chunk in source:
            heard.append(chunk.pcm)
            if len(heard) == 200:
                break
        assert np.array_equal(np.concatenate(heard), np.resize(samples, 32000))

    run(main)


def test_open_source_takes_a_file_or_a_device(tmp_path: Path) -> None:
    path = _wav(tmp_path / "a.wav", np.zeros(1600, np.float32), 16000)
    assert isinstance(open_source(str(path)), FileSource)
    with pytest.raises(DeviceError, match=r"called 'nobody\.wav'.*streamhead devices|PortAudio is missing") as caught:
        open_source("nobody.wav")
    assert "\n" not in str(caught.value)
    with pytest.raises(AudioError):
        open_source(__file__)


@pytest.mark.parametrize("name", ["a microphone of this name is nowhere", "4711", 4711])
def test_a_missing_microphone_names_the_command_that_lists_them(name: str | int) -> None:
    with pytest.raises(DeviceError, match=r"streamhead devices|PortAudio is missing") as caught:
        Microphone(name)
    assert "\n" not in str(caught.value)


async def _collect(source: PushSource, chunks: list[AudioChunk]) -> None:
    async for chunk in source:
        chunks.append(chunk)


def test_pushed_sound_plays_in_real_time_from_when_it_is_there() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        source, chunks = PushSource(16000, limit=1.0, now=loop.time), []
        task = asyncio.create_task(_collect(source, chunks))
        await asyncio.sleep(0.7)
        start = loop.time()
        sound = np.random.default_rng(0).uniform(-0.5, 0.5, 40_000).astype(np.float32)
        for part in np.split(sound, [1, 17, 900, 30_001]):
            await source.push(part)
            assert source.waiting <= 1.0
        assert loop.time() - start == pytest.approx(1.5, abs=0.03)
        source.close()
        await task
        assert np.array_equal(np.concatenate([chunk.pcm for chunk in chunks]), sound)
        assert loop.time() - start == pytest.approx(2.5, abs=0.001)
        heard = 0
        for chunk in chunks:
            assert chunk.captured_at == pytest.approx(start + heard / 16000)
            heard += len(chunk.pcm)

    run(main)


def test_pushes_of_two_speakers_do_not_interleave() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        source, chunks = PushSource(8000, channels=2, limit=0.1, now=loop.time), []
        task = asyncio.create_task(_collect(source, chunks))
        await asyncio.gather(*(source.push(np.full((4000, 2), level, np.float32)) for level in (0.1, 0.2, 0.3)))
        source.close()
        await task
        pcm = np.concatenate([chunk.pcm for chunk in chunks])
        assert pcm.shape == (12_000, 2)
        assert np.count_nonzero(np.diff(pcm[:, 0])) == 2

    run(main)


def test_clear_drops_what_waits_and_the_push_under_way() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        source, chunks = PushSource(16000, limit=0.5, now=loop.time), []
        task = asyncio.create_task(_collect(source, chunks))
        pushing = asyncio.create_task(source.push(np.full(160_000, 0.1, np.float32)))
        await asyncio.sleep(1.007)
        source.clear()
        assert source.waiting == 0.0
        await asyncio.wait_for(pushing, 0.001)
        before = len(chunks)
        await asyncio.sleep(1.0)
        assert len(chunks) == before  # not even the chunk that was about to come
        await source.push(np.full(1600, 0.2, np.float32))
        source.close()
        await task
        assert np.concatenate([chunk.pcm for chunk in chunks[before:]]).tolist() == [np.float32(0.2)] * 1600

    run(main)


def test_what_cannot_be_pushed() -> None:
    async def main(loop: VirtualTimeLoop) -> None:
        source = PushSource(16000, now=loop.time)
        await source.push(np.zeros(0, np.float32))
        with pytest.raises(AudioError, match="of 1 channel"):
            await source.push(np.zeros((100, 2), np.float32))
        with pytest.raises(AudioError, match="NaN"):
            await source.push(np.full(100, np.nan, np.float32))
        assert source.waiting == 0.0
        source.close()
        with pytest.raises(AudioError, match="closed"):
            await source.push(np.zeros(100, np.float32))
        assert [chunk async for chunk in source] == []

    run(main)
