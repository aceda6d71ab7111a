"""The front door: a portrait and a model, from which sessions and renderings come."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from streamhead.audio.features import feature_spec
from streamhead.audio.files import load_audio
from streamhead.audio.frontend import AudioFrontEnd
from streamhead.audio.resample import as_float
from streamhead.errors import AudioError, CheckpointError
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import shipped_weights
from streamhead.output.frame import Frame
from streamhead.stream.easel import Studio
from streamhead.stream.engine import Engine
from streamhead.stream.engine_process import EngineProcess
from streamhead.stream.noise import CoherentNoise
from streamhead.stream.session import Session
from streamhead.stream.snapshot import fill, portrait_digest, read_header
from streamhead.stream.state import Stage, View
from streamhead.timebase import FPS

__all__ = ["COHERENCE", "TalkingHead", "load"]

COHERENCE: Final = 0.9
"""Default rho of the sampling noise: neighbouring frames agree, a look lasts some tenths of a second."""


def load(
    portrait: Portrait | str | PathLike[str] | None = None,
    preset: str = "call",
    device: str = "auto",
    *,
    weights: str | PathLike[str] | None = None,
    pick: int | None = None,
    cache: bool = True,
    own_process: bool = False,
) -> TalkingHead:
    """Load a model and give it a face.

    Args:
        portrait: a :class:`Portrait`, whatever :meth:`Portrait.open` takes (a picture, a video, ``webcam``), or None
            for the default face (which is nobody).
        preset: ``call``, ``paper-thin`` or ``paper``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        weights: a checkpoint, instead of the one shipped for the preset.
        pick: which face of several in the picture, from 1, left to right.
        cache: remember where the picture's face lies, so that the next time needs no landmark model.
        own_process: draw in a process of its own, which serves several callers better. It is spawned, so the program
            needs ``if __name__ == "__main__":``; end it with ``head.engine.close()``.

    Raises:
        CheckpointError: the weights are missing, damaged or of another preset.
        DeviceError: the device cannot be used.
        PortraitError: the picture cannot serve as a portrait.
    """
    path = Path(weights) if weights is not None else shipped_weights(preset)
    # The picture first: reading it is quick, and it is the likelier mistake.
    if portrait is None:
        portrait = Portrait.default()
    elif not isinstance(portrait, Portrait):
        portrait = Portrait.open(Path(portrait), pick, cache=cache)
    return TalkingHead((EngineProcess if own_process else Engine)(path, preset, device), portrait)


class TalkingHead:
    """A portrait that can speak: makes sessions and renderings. Made by :func:`load`."""

    def __init__(self, engine: Studio, portrait: Portrait) -> None:
        self.engine = engine
        self.portrait = portrait
        config = engine.header.network
        self._front_end = AudioFrontEnd(
            feature_spec(config.features, config.look_ahead), normalise=config.features == "log-mel"
        )
        self._sitter = engine.sit(portrait)

    def with_portrait(self, portrait: Portrait) -> TalkingHead:
        """Another face on the same model: both share one engine, so their sessions are batched together."""
        return TalkingHead(self.engine, portrait)

    def session(
        self,
        seed: int = 0,
        *,
        temperature: float = 1.0,
        coherence: float = COHERENCE,
        view: View = "call",
        size: tuple[int, int] = (1280, 720),
        badge: bool = False,
        still: bool = False,
    ) -> Session:
        """Open a live stream.

        Args:
            seed: the take; the same seed and sound give the same frames.
            temperature: scale of the sampling noise; 0 is the mean, 1 the model's own distribution.
            coherence: rho of the noise in [0, 1); 0 draws each frame on its own (the paper).
            view: ``call``, the portrait at ``size``, or ``face``, the bare canonical square.
            size: width and height of the picture in the ``call`` view.
            badge: draw a small mark into each frame that says it is made by an AI.
            still: no swaying head, no blinks beside the model's own (the ``face`` view never has them); outside the
                face every byte is then the portrait's.
        """
        if not np.isfinite(temperature) or temperature < 0:
            raise ValueError(f"temperature must be a number from 0 up, not {temperature}")
        stage = Stage(view, size, badge, still)
        return Session(
            self.engine,
            self._sitter.easel(stage),
            self._front_end,
            self.portrait,
            stage,
            CoherentNoise(seed, coherence, self.engine.header.network.z_size),
            temperature,
        )

    def restore(self, snapshot: bytes) -> Session:
        """Go on with a session from its :meth:`Session.snapshot`, bit for bit.

        Raises:
            CheckpointError: the bytes are no snapshot, or one of another model or portrait.
        """
        header, tensors = read_header(snapshot)
        if header.weights != self.engine.header.sha256:
            raise CheckpointError("the snapshot is of other weights; load the head with the ones it was taken with")
        if header.portrait != portrait_digest(self.portrait):
            raise CheckpointError("the snapshot is of another portrait; load the head with the one it was taken with")
        session = self.session(
            header.seed,
            temperature=header.temperature,
            coherence=header.coherence,
            view=header.view,
            size=header.size,
            badge=header.badge,
            still=header.still,
        )
        fill(session, header, tensors)
        return session

    def render(
        self,
        audio: ArrayLike | str | PathLike[str],
        sample_rate: int | None = None,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        coherence: float = COHERENCE,
        view: View = "call",
        size: tuple[int, int] = (1280, 720),
        badge: bool = False,
        still: bool = False,
    ) -> Iterator[Frame]:
        """Frames for a whole recording, by the very kernels of a live session.

        Args:
            audio: a file, or samples ``(n,)`` or ``(n, channels)`` with their ``sample_rate``.
            sample_rate: Hz; needed for samples, not allowed for a file.
            seed: see :meth:`session`, as for the other options.
            temperature: scale of the sampling noise.
            coherence: rho of the noise.
            view: ``call`` or ``face``.
            size: width and height in the ``call`` view.
            badge: mark each frame.
            still: neither sways nor blinks.

        Raises:
            AudioError: the sound cannot be used.
        """
        if isinstance(audio, str | PathLike):
            samples, rate = load_audio(Path(audio))
        elif sample_rate is None:
            raise AudioError("samples were given without their sample_rate; pass it")
        else:
            samples, rate = as_float(np.asarray(audio)), sample_rate
        session = self.session(
            seed, temperature=temperature, coherence=coherence, view=view, size=size, badge=badge, still=still
        )
        block = max(1, rate // FPS)
        for start in range(0, len(samples), block):
            session.push(samples[start : start + block], rate)
            yield from session.frames()
        session.flush()
        yield from session.frames()
