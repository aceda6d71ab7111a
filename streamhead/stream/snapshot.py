"""A live session as bytes: safetensors with a JSON header, no pickle."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from streamhead.audio.frontend import FrontEndFrame, FrontEndState
from streamhead.audio.resample import StreamResampler
from streamhead.errors import CheckpointError
from streamhead.face.portrait import Portrait
from streamhead.model.gaussian_lstm import LSTMState
from streamhead.model.network import NetworkState
from streamhead.stream.life import LifeState
from streamhead.stream.state import Progress, View

if TYPE_CHECKING:
    from streamhead.stream.session import Session

__all__ = ["SnapshotHeader", "dump", "fill", "portrait_digest", "read_header"]

FORMAT: Final = 2


class SnapshotHeader(BaseModel):
    """What a snapshot needs besides arrays, and what it must be restored onto."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = FORMAT
    weights: str
    portrait: str
    seed: int
    coherence: float
    temperature: float
    view: View
    size: tuple[int, int]
    badge: bool
    still: bool
    t: int
    epoch_t: int
    ease: float
    lively: float
    blink: int
    rate: int | None
    heard: int
    own_start: int
    flushed: bool


def _raw(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def portrait_digest(portrait: Portrait) -> str:
    """Tells portraits apart: a hash of the picture and of where its face lies."""
    return sha256(portrait.image.tobytes() + portrait.to_canonical.tobytes()).hexdigest()


def dump(session: Session) -> bytes:
    """A session's state."""
    progress, state = session._progress, session._easel.state
    arrays: dict[str, NDArray[np.generic]] = {"unread": session._unread, "own": session._own}
    arrays |= {f"front/{name}": value for name, value in session._front_state.to_arrays().items()}
    if session._pending:
        arrays["pending/patch"] = np.stack([frame.patch for frame in session._pending])
        arrays["pending/speech"] = np.array([frame.speech for frame in session._pending])
    if progress.eps is not None:
        arrays["eps"] = progress.eps
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
    tensors |= {
        "audio/hidden": state.audio.hidden,
        "audio/cell": state.audio.cell,
        "predictor/hidden": state.predictor.hidden,
        "predictor/cell": state.predictor.cell,
        "code": state.code,
    }
    if session._resampler is not None:
        tensors["resampler"] = _raw(session._resampler.snapshot())
    header = SnapshotHeader(
        weights=session._studio.header.sha256,
        portrait=portrait_digest(session.portrait),
        seed=session.noise.seed,
        coherence=session.noise.coherence,
        temperature=session.temperature,
        view=session.stage.view,
        size=session.stage.size,
        badge=session.stage.badge,
        still=session.stage.still,
        t=progress.t,
        epoch_t=session._epoch_t,
        ease=progress.ease,
        lively=progress.life.lively,
        blink=progress.life.blink,
        rate=session._rate,
        heard=session._heard,
        own_start=session._own_start,
        flushed=session._flushed,
    )
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    plain["header"] = _raw(header.model_dump_json().encode())
    return save(plain)


def read_header(data: bytes) -> tuple[SnapshotHeader, dict[str, Tensor]]:
    """Header and arrays of a snapshot.

    Raises:
        CheckpointError: the bytes are no snapshot of this version.
    """
    try:
        tensors = load(data)
        header = SnapshotHeader.model_validate_json(tensors.pop("header").numpy().tobytes())
    except (SafetensorError, KeyError, ValidationError, ValueError) as error:
        raise CheckpointError("these bytes are no session snapshot of this version; take a new one") from error
    return header, tensors


def fill(session: Session, header: SnapshotHeader, tensors: dict[str, Tensor]) -> None:
    """Put a snapshot's state into a fresh session of the same head."""
    session._easel.state = NetworkState(
        LSTMState(tensors["audio/hidden"], tensors["audio/cell"]),
        LSTMState(tensors["predictor/hidden"], tensors["predictor/cell"]),
        tensors["code"],
    )
    eps = tensors["eps"].numpy() if "eps" in tensors else None
    session._progress = Progress(header.t, eps, header.ease, LifeState(header.lively, header.blink))
    session._epoch_t, session._heard, session._own_start = header.epoch_t, header.heard, header.own_start
    session._unread, session._own = tensors["unread"].numpy(), tensors["own"].numpy()
    session._rate, session._flushed = header.rate, header.flushed
    front = {name.removeprefix("front/"): value.numpy() for name, value in tensors.items() if name.startswith("front/")}
    session._front_state = FrontEndState.from_arrays(front)
    if "resampler" in tensors:
        session._resampler = StreamResampler.restore(tensors["resampler"].numpy().tobytes())
    if "pending/patch" in tensors:
        pairs = zip(tensors["pending/patch"].numpy(), tensors["pending/speech"].numpy(), strict=True)
        session._pending.extend(FrontEndFrame(patch, bool(speech)) for patch, speech in pairs)
