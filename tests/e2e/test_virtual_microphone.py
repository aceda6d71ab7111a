"""A real capture device (PulseAudio's, through PortAudio): what is played is what is heard, and when."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from e2e.sound_server import RATE, SoundServer

BLOCK = RATE // 100

CAPTURE = """
import asyncio, sys, time
import numpy
from streamhead.audio.microphone import Microphone

async def main(out, seconds, pause):
    chunks = []
    with Microphone("pulse", sample_rate=48000) as microphone:
        began = time.monotonic()
        async for chunk in microphone:
            chunks.append((time.monotonic(), chunk))
            if len(chunks) == 50 and pause:
                time.sleep(pause)
            if time.monotonic() - began > seconds:
                break
        overruns = microphone.overruns
    numpy.savez(
        out,
        pcm=numpy.concatenate([chunk.pcm for _, chunk in chunks]),
        sizes=[len(chunk.pcm) for _, chunk in chunks],
        captured=[chunk.captured_at for _, chunk in chunks],
        arrived=[instant for instant, _ in chunks],
        lost=[chunk.lost for _, chunk in chunks],
        overruns=overruns,
    )

asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
"""


def _capture(sound: SoundServer, out: Path, seconds: float, pause: float = 0.0) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CAPTURE, str(out), str(seconds), str(pause)],
        env={**os.environ, **sound.environment},
    )


def test_what_is_played_is_captured(sound: SoundServer, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    signal = np.convolve(rng.uniform(-1, 1, 2 * RATE), np.ones(8) / 8, "same").astype(np.float32) * 0.8
    process = _capture(sound, tmp_path / "heard.npz", 4.5)
    time.sleep(1.5)
    played = time.monotonic()
    sound.play(signal, tmp_path / "signal.raw")
    assert process.wait(30) == 0
    heard = np.load(tmp_path / "heard.npz")
    pcm, captured, arrived = heard["pcm"], heard["captured"], heard["arrived"]
    assert set(heard["sizes"][1:]) == {BLOCK}
    assert heard["overruns"] == 0
    # Piece by piece, in order, the played signal lies in what was heard. (On a loaded machine it is the player that
    # stumbles, between two pieces; more than a few would be the microphone's doing.)
    size = 1 << (len(pcm) + len(signal)).bit_length()
    spectrum = np.fft.rfft(pcm, size)
    places = []
    for piece in np.split(signal, 20):
        match = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece, size)))
        place = int(np.argmax(match[: len(pcm) - len(piece)]))
        if np.corrcoef(pcm[place : place + len(piece)], piece)[0, 1] > 0.999:
            places.append(place)
    assert len(places) >= 17
    assert places == sorted(places)
    place = places[0]
    # The instants: chunks arrive just after they were captured, and the clock runs at the sample rate.
    age = arrived - captured
    assert 0.01 <= np.median(age[1:]) < 0.03
    settled = slice(100, None)  # PulseAudio's own estimate of its latency takes a moment to settle
    slope = np.polyfit(np.cumsum(heard["sizes"])[settled] / RATE, captured[settled], 1)[0]
    assert slope == pytest.approx(1.0, abs=0.01)
    first = np.cumsum(heard["sizes"]) - heard["sizes"]
    chunk = int(np.searchsorted(first, place, "right")) - 1
    instant = captured[chunk] + (place - first[chunk]) / RATE
    assert 0.0 < instant - played < 1.0
    assert sound.listeners == 0


def test_chunks_that_nobody_takes_are_counted(sound: SoundServer, tmp_path: Path) -> None:
    process = _capture(sound, tmp_path / "heard.npz", 4.0, pause=1.5)
    assert process.wait(30) == 0
    heard = np.load(tmp_path / "heard.npz")
    assert heard["overruns"] == pytest.approx((1.5 - 0.5) * 100, abs=10)  # half a second is kept
    assert heard["lost"].sum() == heard["overruns"] * BLOCK
    assert np.count_nonzero(heard["lost"]) <= 2
    # With what was lost, the count of samples and the capture instants agree.
    stream = np.cumsum(heard["sizes"] + heard["lost"])[50:] / RATE
    captured = heard["captured"][50:]
    assert stream[-1] - stream[0] == pytest.approx(captured[-1] - captured[0], abs=0.05)
