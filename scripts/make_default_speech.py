#!/usr/bin/env python3
"""Make the default speech clip with Flite, a small synthesiser that Debian packages, and its male voice "rms".

    apt-get install flite
    .venv/bin/python scripts/make_default_speech.py

Two sentences rich in shut lips (p, b, m) and open vowels, with silence before, between and after them, so that a
portrait shows at once whether its mouth opens and closes with the voice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from streamhead.assets import default_speech
from streamhead.audio.files import load_audio

VOICE: Final = "rms"
SENTENCES: Final = (
    "Hello! My lips open and shut because somebody is speaking.",
    "Mama and papa bought a big apple pie, and now I am happy.",
)
LEAD, PAUSE, TAIL = 0.4, 0.8, 0.6  # seconds of digital silence
RATE: Final = 16_000
PEAK: Final = 0.7
SILENCE: Final = 0.004  # flite's own quiet edges lie below it

Samples = NDArray[np.float32]


def speak(sentence: str, folder: Path) -> Samples:
    """A sentence by flite, without the silence around it, its ends faded over 10 ms."""
    path = folder / "sentence.wav"
    subprocess.run(["flite", "-voice", VOICE, "-t", sentence, "-o", str(path)], check=True)
    samples, rate = load_audio(path)
    if rate != RATE:
        raise SystemExit(f"flite's voice {VOICE} speaks at {rate} Hz, not {RATE}")
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    margin = RATE // 50
    cut = samples[max(loud[0] - margin, 0) : loud[-1] + margin].copy()
    ramp = np.linspace(0.0, 1.0, RATE // 100, dtype=np.float32)
    cut[: len(ramp)] *= ramp
    cut[-len(ramp) :] *= ramp[::-1]
    return cut


def write(path: Path, samples: Samples) -> None:
    """Ogg Opus, the same bytes each time."""
    with av.open(str(path), "w", format="ogg", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono", options={"flags": "+bitexact"})
        stream.bit_rate = 48_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for item in (frame, None):
            container.mux(stream.encode(item))


def main() -> None:
    """Build the clip."""
    parser = argparse.ArgumentParser(description="Make the default speech clip.")
    parser.add_argument("output", nargs="?", type=Path, default=default_speech())
    output: Path = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        first, second = (speak(sentence, Path(folder)) for sentence in SENTENCES)
    lead, pause, tail = (np.zeros(round(seconds * RATE), np.float32) for seconds in (LEAD, PAUSE, TAIL))
    samples = np.concatenate((lead, first, pause, second, tail))
    samples *= np.float32(PEAK / np.abs(samples).max())
    temporary = output.with_name(f".{output.name}")
    write(temporary, samples)
    os.replace(temporary, output)
    print(f"{output}: {len(samples) / RATE:.2f} s, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
