"""A rival to beat: a mouth that loudness alone opens and shuts, in the model's own pixels and by its own compositor.

What a face gains by this much is not owed to any understanding of speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from streamhead.audio.frontend import analyse
from streamhead.evaluation.sync import find_landmarks, mouth_opening
from streamhead.face.align import SIZE
from streamhead.face.compositor import Compositor
from streamhead.face.landmarks import LandmarkFinder
from streamhead.face.portrait import Portrait
from streamhead.model.face_update import FaceUpdate
from streamhead.stream.easel import Order, Row
from streamhead.stream.engine import Engine, join
from streamhead.stream.model_speech import model_speech
from streamhead.timebase import HOP

__all__ = ["Puppet", "loudness"]

_SMOOTHING: Final = 2
"""Frames, its own and those before it, of whose loudness a frame's opening is the mean. On training and validation
clips no other of 54 choices (amplitude, its root, decibels; 1 to 3 frames; 2 frames early to 3 late) came closer to the
real opening."""
_WIDE_AT: Final = 1.5
"""Times the clip's usual level at which the mouth is as wide as it gets."""
_WIDEST: Final = 5


def loudness(samples: NDArray[np.float32], look_ahead: int = 1) -> NDArray[np.float64]:
    """How loud the voice is: 0 where the product's gate is shut, 1 at the clip's usual level, known beforehand.

    Args:
        samples: ``(640 T,)`` at 16 kHz.
        look_ahead: frames by which the gate opens before the voice.

    Returns:
        ``(T,)`` amplitude, smoothed over two frames.
    """
    speech = analyse(samples, look_ahead)
    power = np.square(samples.reshape(-1, HOP), dtype=np.float64).mean(1)
    usual = float(power[speech].mean()) if speech.any() else 1.0
    smooth = np.convolve(power, np.full(_SMOOTHING, 1 / _SMOOTHING))[: len(power)]
    return np.asarray(np.sqrt(smooth / max(usual, 1e-12)) * speech)


class Puppet:
    """Draws faces whose mouth goes straight from the model's shut to its open one, as far as the voice is loud.

    Shut is what the model draws after a second of silence. Open is the mean of what it draws in five frames of the
    speech that comes with the library, at temperature 0: those in which the portrait that comes with it has its mouth
    open widest. Nothing of the model hears the clip.

    Args:
        engine: the model.
        finder: of landmarks.
    """

    def __init__(self, engine: Engine, finder: LandmarkFinder) -> None:
        config = engine.network.config
        self._engine = engine
        self._look_ahead = config.look_ahead
        self._calm = np.zeros(config.z_size, np.float32)
        self._patches = model_speech(config)
        portrait = Portrait.default()
        compositor = self._compositor(portrait)
        drawn = [self._compose(compositor, one) for one in self._say(portrait, range(len(self._patches)))]
        self._widest = np.sort(np.argsort(-mouth_opening(find_landmarks(np.stack(drawn), finder)))[:_WIDEST])

    def draw(self, square: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Frames ``(T, 128, 128, 3)`` of a first frame ``(128, 128, 3)`` and sound ``(640 T,)`` at 16 kHz."""
        portrait = Portrait.from_square(square)
        shut = self._engine.rest(self._engine.reference(portrait))
        all_wide = join(self._say(portrait, [int(t) for t in self._widest]))
        wide = FaceUpdate(*(part.mean(0, keepdim=True) for part in (all_wide.flow, all_wide.mask, all_wide.rgb)))
        compositor = self._compositor(portrait)
        frames = []
        for loud in loudness(samples, self._look_ahead):
            weight = min(float(loud) / _WIDE_AT, 1.0)
            update = FaceUpdate(
                torch.lerp(shut.flow, wide.flow, weight),
                torch.lerp(shut.mask, wide.mask, weight),
                torch.lerp(shut.rgb, wide.rgb, weight),
            )
            frames.append(self._compose(compositor, update))
        return np.stack(frames)

    @torch.inference_mode()
    def _say(self, portrait: Portrait, moments: Sequence[int]) -> list[FaceUpdate]:
        """What the model draws of the library's speech at some moments, in rising order."""
        reference = self._engine.reference(portrait)
        row = Row(reference, self._engine.network.initial_state(reference))
        updates, last = [], -1
        for t in moments:
            steps = [(patch, self._calm) for patch in self._patches[last + 1 : t + 1]]
            ((row, update),) = self._engine.step([row], [Order(steps, 0.0)])
            updates.append(update)
            last = t
        return updates

    def _compositor(self, portrait: Portrait) -> Compositor:
        return Compositor(portrait, (SIZE, SIZE), "face", self._engine.device.torch)

    def _compose(self, compositor: Compositor, update: FaceUpdate) -> NDArray[np.uint8]:
        return self._engine.device.fetch(compositor.compose(update)).copy()
