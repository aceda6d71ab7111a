"""Generated frames to be scored: the product itself, at the canonical square."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from streamhead.errors import DataError
from streamhead.face.align import SIZE
from streamhead.face.portrait import Portrait
from streamhead.stream.engine import Engine
from streamhead.stream.talking_head import TalkingHead
from streamhead.timebase import HOP, SAMPLE_RATE
from streamhead.training.batches import Clip

__all__ = ["generate", "head_of", "heard", "still", "take_seed"]


def take_seed(seed: int, clip: Clip) -> int:
    """The seed of a clip's take: differs between clips, so that their mean is not over one and the same noise."""
    return crc32(f"{seed} {clip.talker} {clip.name}".encode())


def head_of(engine: Engine, clip: Clip) -> TalkingHead:
    """The product with a clip's first frame as its portrait.

    Raises:
        DataError: the clip's frames are no canonical squares.
    """
    if clip.frames.shape[1:] != (SIZE, SIZE, 3) or clip.frames.dtype != np.uint8:
        raise DataError(f"{clip.folder} holds no canonical squares; prepare it again")
    return TalkingHead(engine, Portrait.from_square(np.array(clip.frames[0])))


def heard(clip: Clip, sound: Clip) -> NDArray[np.float32]:
    """The sound of one clip ``(640 T,)`` for the frames of another, cut or filled up with silence."""
    audio = np.zeros(len(clip.frames) * HOP, np.float32)
    own = sound.audio[: len(audio)]
    audio[: len(own)] = own
    return audio


def generate(head: TalkingHead, clip: Clip, sound: Clip, *, seed: int, temperature: float) -> NDArray[np.uint8]:
    """What the product draws from a clip's first frame and some clip's sound: raw canonical output, no composite.

    Args:
        head: of :func:`head_of` for this clip.
        clip: whose frames are to be matched.
        sound: whose sound is heard; cut or filled up with silence to the length of ``clip``.
        seed: of all takes; see :func:`take_seed`.
        temperature: scale of the sampling noise.

    Returns:
        ``(T, 128, 128, 3)`` RGB; frame t is to be compared with the clip's frame t.
    """
    frames = head.render(
        heard(clip, sound), SAMPLE_RATE, seed=take_seed(seed, clip), temperature=temperature, view="face"
    )
    return np.stack([frame.image for frame in frames])


def still(clip: Clip) -> NDArray[np.uint8]:
    """The clip's first frame, all along: what doing nothing scores."""
    return np.repeat(clip.frames[:1], len(clip.frames), axis=0)
