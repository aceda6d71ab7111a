"""Is anyone speaking? webrtcvad, made forgetful, with an ear for the room's noise.

Every decision comes from a fresh detector run over the last 0.6 s, so that the state is nothing but recent samples: it
can be saved, moved and continued bit for bit, which webrtcvad's own object cannot. What a fresh detector cannot know,
how loud the room is, is tracked beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log10
from typing import Final

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from streamhead.timebase import HOP, SAMPLE_RATE

__all__ = ["VadState", "VoiceDetector"]

Samples = NDArray[np.float32]

BLOCK: Final = HOP // 2
"""Samples of one decision, 20 ms."""
WARM_UP: Final = 30
"""Blocks the fresh detector hears before the ones it is asked about."""
AGGRESSIVENESS: Final = 2
"""webrtcvad's mode: on GRID, 1 opens for every breath and 3 misses quiet talkers."""
SILENCE_DB: Final = -55.0
"""Blocks below this level are never speech."""
USUAL_ROOM_DB: Final = -45.0
"""Where the noise estimate begins; the first quiet block corrects it downwards."""
QUIETEST_ROOM_DB: Final = -65.0
"""Below this the noise estimate does not fall, so that digital silence does not make it start from nothing."""
ABOVE_NOISE_DB: Final = 8.0
"""Speech stands out of the noise by this much; a block's level over its quietest neighbours' wanders by less."""
NOISE_RISE_DB: Final = 4.0 * BLOCK / SAMPLE_RATE
"""A block's rise of the noise estimate: slow beside the gaps of speech, fast enough to learn a fan in some seconds."""
HANGOVER: Final = 6
"""Blocks for which the gate stays open after speech: 120 ms, longer than a plosive's closure."""


@dataclass(frozen=True, slots=True, eq=False)
class VadState:
    """What voice detection remembers.

    Attributes:
        recent: ``(9600,)`` int16, the last 0.6 s.
        noise_db: level of the room, dB of full scale.
        quiet: blocks since the last one with speech, :data:`HANGOVER` + 1 at most.
    """

    recent: NDArray[np.int16]
    noise_db: float
    quiet: int


class VoiceDetector:
    """The detector's kernel: 640 samples -> is the gate open. Holds no state."""

    def init_state(self) -> VadState:
        """The state before the first sample: silence, in a usual room."""
        return VadState(np.zeros(WARM_UP * BLOCK, np.int16), USUAL_ROOM_DB, HANGOVER + 1)

    def step(self, hop: Samples, state: VadState) -> tuple[bool, VadState]:
        """Take the next 640 samples.

        Args:
            hop: ``(640,)`` float32 at 16 kHz.
            state: from :meth:`init_state` or the step before.

        Returns:
            Whether there is speech in these samples or within 120 ms before them; and the state after them.
        """
        samples = np.concatenate((state.recent, np.rint(np.clip(hop, -1.0, 1.0) * 32767).astype(np.int16)))
        voiced = _fresh_decisions(samples)
        noise_db, quiet, speech = state.noise_db, state.quiet, False
        for block, is_voiced in zip(hop.reshape(2, BLOCK), voiced, strict=True):
            level = _level_db(block)
            noise_db = max(min(level, noise_db + NOISE_RISE_DB), QUIETEST_ROOM_DB)
            heard = is_voiced and level > max(SILENCE_DB, noise_db + ABOVE_NOISE_DB)
            quiet = 0 if heard else min(quiet + 1, HANGOVER + 1)
            speech = speech or quiet <= HANGOVER
        return speech, VadState(samples[HOP:], noise_db, quiet)


def _fresh_decisions(samples: NDArray[np.int16]) -> list[bool]:
    """The detector's answers for the last two blocks of ``(10240,)`` samples."""
    vad = webrtcvad.Vad(AGGRESSIVENESS)
    data, size = samples.tobytes(), 2 * BLOCK
    answers = [bool(vad.is_speech(data[at : at + size], SAMPLE_RATE)) for at in range(0, len(data), size)]
    return answers[-2:]


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float64]:
    """Hann window of a block, scaled so that the one-sided power spectrum sums to the mean square."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(BLOCK) + 0.5) / BLOCK)
    return np.asarray(window / np.sqrt((window**2).sum() * BLOCK / 2))


def _level_db(block: Samples) -> float:
    """Level above 150 Hz in dB of full scale: voices are heard there, while hum, rumble and offsets lie below."""
    spectrum = np.fft.rfft(block * _hann())[150 * BLOCK // SAMPLE_RATE :]
    power = float((spectrum.real**2 + spectrum.imag**2).sum())
    return 10.0 * log10(max(power, 1e-12))
