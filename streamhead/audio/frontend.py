"""The front end of a session: sound in, gated and levelled feature patches out. Offline work loops the same kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamhead.audio.features import FeatureExtractor, FeatureSpec, FeatureState
from streamhead.audio.level import LevelNormaliser, LevelState
from streamhead.audio.vad import VadState, VoiceDetector
from streamhead.timebase import HOP

__all__ = ["AudioFrontEnd", "FrontEndFrame", "FrontEndState", "analyse"]

Samples = NDArray[np.float32]

_POWER_PER_DB: Final = log(10.0) / 10.0


@dataclass(frozen=True, slots=True, eq=False)
class FrontEndFrame:
    """What the model hears of one video frame.

    Attributes:
        patch: ``(rows, dims)`` float32.
        speech: whether the gate is open.
    """

    patch: NDArray[np.float32]
    speech: bool


@dataclass(frozen=True, slots=True, eq=False)
class FrontEndState:
    """All that the front end remembers; about 25 kB.

    Attributes:
        features: tail of samples and the last rows.
        vad: recent samples, noise level, hangover.
        level: level of the talker.
        gate: ``(look_ahead + 1,)`` bool, the detector's answers for the last hops, newest last.
        hops: taken so far, ``look_ahead`` at most: the first frame is ready with the hop after that.
    """

    features: FeatureState
    vad: VadState
    level: LevelState
    gate: NDArray[np.bool_]
    hops: int

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as plain arrays of one or more dimensions, for a snapshot."""
        return {
            "tail": self.features.tail,
            "rows": self.features.rows,
            "recent": self.vad.recent,
            "gate": self.gate,
            "counts": np.array([self.vad.quiet, self.level.hops, self.hops], np.int64),
            "levels": np.array([self.vad.noise_db, self.level.power], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> FrontEndState:
        """The state that :meth:`to_arrays` described, bit for bit."""
        quiet, heard, hops = (int(x) for x in arrays["counts"])
        noise_db, power = (float(x) for x in arrays["levels"])
        return cls(
            FeatureState(np.asarray(arrays["tail"], np.float32), np.asarray(arrays["rows"], np.float32)),
            VadState(np.asarray(arrays["recent"], np.int16), noise_db, quiet),
            LevelState(heard, power),
            np.asarray(arrays["gate"], np.bool_),
            hops,
        )


class AudioFrontEnd:
    """640 samples at a time become feature patches. Holds no state: one object serves many streams.

    Args:
        spec: which features.
        gate: replace the patch by that of digital silence where nobody speaks.
        normalise: bring speech to one level; MFCC patches carry no level and need none.
    """

    def __init__(self, spec: FeatureSpec, *, gate: bool = True, normalise: bool = True) -> None:
        self.spec = spec
        self.gate = gate
        self.normalise = normalise
        self._features = FeatureExtractor(spec)
        self._vad = VoiceDetector()
        self._level = LevelNormaliser()

    def init_state(self) -> FrontEndState:
        """The state before the first sample: silence for ever."""
        return FrontEndState(
            self._features.init_state(),
            self._vad.init_state(),
            self._level.init_state(),
            np.zeros(self.spec.look_ahead + 1, np.bool_),
            0,
        )

    def interrupted(self, state: FrontEndState) -> FrontEndState:
        """The state of a stream that begins anew with the same talker in the same room.

        Every sound is forgotten; the talker's level and the room's noise are kept.
        """
        fresh = self.init_state()
        return replace(fresh, level=state.level, vad=replace(fresh.vad, noise_db=state.vad.noise_db))

    def step(self, hop: Samples, state: FrontEndState) -> tuple[FrontEndFrame | None, FrontEndState]:
        """Take the next 640 samples.

        Frame ``t`` comes with hop ``t + look_ahead`` and depends on nothing later. Its gate is open if there is speech
        in hops ``t .. t + look_ahead`` or in the hangover before them: it opens ahead of the voice, as mouths do, and
        rows from before the onset pass with it, so that no first syllable is lost.

        Args:
            hop: ``(640,)`` float32 at 16 kHz.
            state: from :meth:`init_state` or the step before.

        Returns:
            The frame that is now ready, None for the first ``look_ahead`` hops; and the state after the hop.
        """
        _, features = self._features.step(hop, state.features)
        heard, vad = self._vad.step(hop, state.vad)
        gain_db, level = self._level.step(hop, heard, state.level)
        gate = np.append(state.gate[1:], heard)
        ahead = self.spec.look_ahead
        after = FrontEndState(features, vad, level, gate, min(state.hops + 1, ahead))
        if state.hops < ahead:
            return None, after
        speech = bool(gate.any())
        if self.gate and not speech:
            return FrontEndFrame(self.spec.silence_patch(), speech), after
        patch = self._features.patch(features)
        if self.normalise:
            patch = self.spec.amplify(patch, gain_db * _POWER_PER_DB)
        return FrontEndFrame(patch, speech), after


def analyse(samples: Samples, look_ahead: int = 1) -> NDArray[np.bool_]:
    """Where a clip speaks, by the very gate of a live session.

    Args:
        samples: ``(n,)`` float32 at 16 kHz.
        look_ahead: frames.

    Returns:
        ``(ceil(n / 640),)``: whether frame ``t``'s gate is open.
    """
    frames = -(-len(samples) // HOP)
    hops = np.pad(samples, (0, (frames + look_ahead) * HOP - len(samples))).reshape(-1, HOP)
    vad = VoiceDetector()
    state = vad.init_state()
    flags = np.zeros(frames + look_ahead, np.bool_)
    for number, hop in enumerate(hops):
        heard, state = vad.step(hop, state)
        flags[max(number - look_ahead, 0) : number + 1] |= heard
    return flags[:frames]
