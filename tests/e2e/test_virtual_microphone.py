"""A real capture device (PulseAudio's, through PortAudio): what is played is what is heard, and when.

STREAMHEAD_E2E_SECONDS=60 says that the machine is to itself: then how prompt it is counts, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from e2e.sound_server import RATE, SoundServer

BLOCK = RATE // 100
LONG = float(os.environ.get("STREAMHEAD_E2E_SECONDS", "10")) >= 60

CAPTURE = """
# From the line that it prints on until its standard input is closed.
import asyncio, sys, threading, time
import numpy
from streamhead.audio.microphone import Microphone

async def main(out, pause):
    chunks, paused, told = [], 0.0, threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
    with Microphone("pulse", sample_rate=48000) as microphone:
        async for chunk in microphone:
            chunks.append((time.monotonic(), chunk))
            if len(chunks) == 50:
                began = time.monotonic()
                time.sleep(pause)
                paused = time.monotonic() - began
            if len(chunks) == 100:
                print("listening", flush=True)
            if told.is_set():
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
        paused=paused,
    )

asyncio.run(main(sys.argv[1], float(sys.argv[2])))
"""


@contextmanager
def _capture(sound: SoundServer, out: Path, pause: float = 0.0) -> Iterator[None]:
    """Capture to a file, from about a second before the context is entered until it is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", CAPTURE, str(out), str(pause)],
        env={**os.environ, **sound.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        yield
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_what_is_played_is_captured(sound: SoundServer, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    signal = np.convolve(rng.uniform(-1, 1, 2 * RATE), np.ones(8) / 8, "same").astype(np.float32) * 0.8
    with _capture(sound, tmp_path / "heard.npz"):
        played = time.monotonic()
        sound.play(signal, tmp_path / "signal.raw").wait(60)
        ended = time.monotonic()
        time.sleep(1)
    heard = np.load(tmp_path / "heard.npz")
    pcm, captured, arrived = heard["pcm"], heard["captured"], heard["arrived"]
    assert set(heard["sizes"][1:]) == {BLOCK}
    if LONG:  # half a second may pass before one is lost: on a machine to itself it never does
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
    assert 0.01 <= np.median(age[1:]) < (0.03 if LONG else 0.2)
    settled = slice(100, None)  # PulseAudio's own estimate of its latency takes a moment to settle
    slope = np.polyfit(np.cumsum(heard["sizes"])[settled] / RATE, captured[settled], 1)[0]
    assert slope == pytest.approx(1.0, abs=0.01)
    first = np.cumsum(heard["sizes"]) - heard["sizes"]
    chunk = int(np.searchsorted(first, place, "right")) - 1
    instant = captured[chunk] + (place - first[chunk]) / RATE
    assert played < instant < ended
    sound.settle(lambda: sound.listeners == 0)


def test_chunks_that_nobody_takes_are_counted(sound: SoundServer, tmp_path: Path) -> None:
    with _capture(sound, tmp_path / "heard.npz", pause=1.5):
        time.sleep(1)
    heard = np.load(tmp_path / "heard.npz")
    assert heard["overruns"] == pytest.approx((heard["paused"] - 0.5) * 100, abs=10)  # half a second is kept
    assert heard["lost"].sum() == heard["overruns"] * BLOCK
    assert np.count_nonzero(heard["lost"]) <= 2
    # With what was lost, the count of samples and the capture instants agree.
    stream = np.cumsum(heard["sizes"] + heard["lost"])[50:] / RATE
    captured = heard["captured"][50:]
    assert stream[-1] - stream[0] == pytest.approx(captured[-1] - captured[0], abs=0.05)
