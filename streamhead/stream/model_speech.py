"""The speech that comes with the library, as a model hears it: what faces are measured by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamhead.assets import default_speech
from streamhead.audio.features import feature_spec
from streamhead.audio.files import load_audio
from streamhead.audio.frontend import AudioFrontEnd
from streamhead.audio.resample import as_float_mono, resample
from streamhead.model.config import NetworkConfig
from streamhead.timebase import HOP, SAMPLE_RATE

__all__ = ["model_speech"]

_SECONDS = 6.0


def model_speech(config: NetworkConfig) -> list[NDArray[np.float32]]:
    """Feature patches ``(rows, dims)`` of its first six seconds, frame by frame."""
    spec = feature_spec(config.features, config.look_ahead)
    front_end = AudioFrontEnd(spec, normalise=config.features == "log-mel")
    samples, rate = load_audio(default_speech())
    samples = resample(as_float_mono(samples), rate)[: int(_SECONDS * SAMPLE_RATE) // HOP * HOP]
    state, patches = front_end.init_state(), []
    for hop in samples.astype(np.float32).reshape(-1, HOP):
        heard, state = front_end.step(hop, state)
        if heard is not None:
            patches.append(heard.patch)
    return patches
