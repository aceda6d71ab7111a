"""A rival to beat: a mouth that loudness alone opens and shuts, in the model's own pixels and by its own compositor.

What a face gains by this much is not owed to any understanding of speech.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from streamhead.assets import default_speech
from streamhead.audio.features import feature_spec
from streamhead.audio.files import load_audio
from streamhead.audio.frontend import AudioFrontEnd, analyse
from streamhead.audio.level import TARGET_DB, LevelNormaliser
from streamhead.audio.resample import as_float_mono, resample
from streamhead.face.compositor import Compositor
from streamhead.face.portrait import Portrait
from streamhead.model.face_update import FaceUpdate
from streamhead.stream.engine import Engine, Job, Row, join
from streamhead.timebase import HOP

__all__ = ["loudness", "puppet"]

_SMOOTHING: Final = 2
"""Frames, its own and those before it, of whose loudness a frame's opening is the mean. On training and validation
clips no other of 54 choices (amplitude, its root, decibels; 1 to 3 frames; 2 frames early to 3 late) came closer to the
real opening."""
_WIDE_AT: Final = 2.0
"""Times the talker's usual level at which the mouth is as wide as it gets."""
_MODEL_SPEECH_S: Final = 6.0
_WIDEST: Final = 0.1
_LOWER_LIP: Final = (slice(98, 112), slice(54, 74))


def loudness(samples: NDArray[np.float32], look_ahead: int = 1) -> NDArray[np.float64]:
    """How loud the voice is, by the product's own gate and level: 0 in silence, 1 at the talker's usual level.

    Args:
        samples: ``(640 T,)`` at 16 kHz.
        look_ahead: frames by which the gate opens before the voice.

    Returns:
        ``(T,)`` amplitude, smoothed over two frames.
    """
    speech = analyse(samples, look_ahead)
    hops = samples.reshape(-1, HOP)
    normaliser = LevelNormaliser()
    level = normaliser.init_state()
    gains = np.zeros(len(hops))
    for t, hop in enumerate(hops):
        gains[t], level = normaliser.step(hop, bool(speech[t]), level)
    power = np.convolve(np.square(hops, dtype=np.float64).mean(1), np.full(_SMOOTHING, 1 / _SMOOTHING))[: len(hops)]
    return np.asarray(np.sqrt(power) * 10 ** ((gains - TARGET_DB) / 20) * speech)


def puppet(engine: Engine, square: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a face whose mouth goes straight from the model's shut to its open one, as far as the voice is loud.

    Shut is what the model draws after a second of silence; open the mean of the tenth of its frames with the lowest
    lower lip in the speech that comes with the library, at temperature 0. Nothing of the model hears the clip.

    Args:
        engine: the model.
        square: the first frame, ``(128, 128, 3)`` RGB.
        samples: ``(640 T,)`` at 16 kHz.

    Returns:
        ``(T, 128, 128, 3)`` RGB.
    """
    portrait = Portrait.from_square(square)
    shut, wide = _mouths(engine, portrait)
    compositor = Compositor(portrait, (square.shape[1], square.shape[0]), "face", engine.device.torch)
    frames = []
    for loud in loudness(samples, engine.network.config.look_ahead):
        weight = min(float(loud) / _WIDE_AT, 1.0)
        update = FaceUpdate(
            torch.lerp(shut.flow, wide.flow, weight),
            torch.lerp(shut.mask, wide.mask, weight),
            torch.lerp(shut.rgb, wide.rgb, weight),
        )
        frames.append(engine.device.fetch(compositor.compose(update)).copy())
    return np.stack(frames)


@torch.inference_mode()
def _mouths(engine: Engine, portrait: Portrait) -> tuple[FaceUpdate, FaceUpdate]:
    config = engine.network.config
    front_end = AudioFrontEnd(feature_spec(config.features, config.look_ahead), normalise=config.features == "log-mel")
    samples, rate = load_audio(default_speech())
    samples = resample(as_float_mono(samples), rate)
    samples = samples[: int(_MODEL_SPEECH_S * 16000) // HOP * HOP].astype(np.float32)
    reference = engine.reference(portrait.square())
    shut = engine.rest(reference, front_end.spec.silence_patch())
    row = Row(reference, engine.network.initial_state(reference))
    calm = np.zeros(config.z_size, np.float32)
    state = front_end.init_state()
    drawn = []
    for hop in samples.reshape(-1, HOP):
        heard, state = front_end.step(hop, state)
        if heard is not None:
            ((row, update),) = engine.step([Job(row, [(heard.patch, calm)], 0.0)])
            drawn.append(update)
    # A pixel takes the portrait at p + flow: where the lip has come down, its dy is negative.
    drawn.sort(key=lambda update: float(update.flow[:, 1, *_LOWER_LIP].mean()))
    widest = join(drawn[: max(1, round(_WIDEST * len(drawn)))])
    wide = FaceUpdate(*(part.mean(0, keepdim=True) for part in (widest.flow, widest.mask, widest.rgb)))
    return shut, wide
