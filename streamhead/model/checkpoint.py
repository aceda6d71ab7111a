"""Checkpoints: safetensors with a JSON header, the content's hash checked at load. No pickle anywhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from streamhead.errors import CheckpointError
from streamhead.model.config import NetworkConfig
from streamhead.model.families import build_network
from streamhead.model.network import Network

__all__ = ["FORMAT", "Header", "load_network", "read_header", "save_network", "shipped_weights"]

FORMAT: Final = 1
"""Version of the checkpoint format."""


class Header(BaseModel):
    """What a checkpoint says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    network: NetworkConfig
    mean_face: tuple[tuple[float, float], ...] = ()
    """The mean face the training crops were aligned to, canonical pixels."""
    natural_opening: float = 0.0
    """Standard deviation of the inner lips' opening of training talkers as drawn for the library's speech, in eye
    distances; 0 where nobody measured it. See :mod:`streamhead.stream.drive`."""
    steps: int = 0
    data: str = ""
    licence: str = ""
    sha256: str = ""
    """Hash of the tensors' names, shapes, types and bytes."""


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def shipped_weights(preset: str) -> Path:
    """Where the weights of a preset are that come with the library.

    Raises:
        CheckpointError: none are shipped for this preset.
    """
    path = Path(str(resources.files("streamhead"))) / "weights" / f"{preset}.safetensors"
    if not path.is_file():
        raise CheckpointError(f"no weights are shipped for preset {preset!r}; train some and pass --weights FILE")
    return path


def save_network(path: Path, tensors: Mapping[str, Tensor], header: Header) -> None:
    """Write a network's parameters in half precision, under a header with their hash."""
    half = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    header = header.model_copy(update={"sha256": _digest(half)})
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(path.suffix + ".new")
    save_file(half, fresh, {"streamhead": header.model_dump_json()})
    os.replace(fresh, path)


def _open(path: Path) -> tuple[Header, dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; check the path given as --weights")
    try:
        with safe_open(path, "pt") as file:
            raw = (file.metadata() or {}).get("streamhead")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error}); fetch it again") from error
    if raw is None:
        raise CheckpointError(f"{path} is no streamhead checkpoint (it has no header); check the path")
    try:
        header = Header.model_validate_json(raw)
    except ValidationError as error:
        raise CheckpointError(f"{path} has a header of another version; use weights of this streamhead") from error
    if header.format != FORMAT:
        raise CheckpointError(f"{path} has format {header.format}, this streamhead reads {FORMAT}; update one of them")
    return header, tensors


def read_header(path: Path) -> Header:
    """The header of a checkpoint, its content verified.

    Raises:
        CheckpointError: missing, damaged, of another format, or its hash does not match.
    """
    header, tensors = _open(path)
    if _digest(tensors) != header.sha256:
        raise CheckpointError(f"{path} is damaged (its hash does not match its header); fetch it again")
    return header


def load_network(path: Path, preset: str | None = None) -> tuple[Network, Header]:
    """Read weights into a network in evaluation mode, full precision, on the CPU.

    Args:
        path: the checkpoint.
        preset: the preset it must be of, if any.

    Raises:
        CheckpointError: as :func:`read_header`, or it is of another preset or does not fit its own header.
    """
    header, tensors = _open(path)
    if _digest(tensors) != header.sha256:
        raise CheckpointError(f"{path} is damaged (its hash does not match its header); fetch it again")
    if preset is not None and header.network.preset != preset:
        raise CheckpointError(
            f"{path} is of preset {header.network.preset!r}, not {preset!r}; pass --preset or other weights"
        )
    network = build_network(header.network)
    state = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    lacking = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lacking or unexpected:
        raise CheckpointError(f"{path} does not fit its own header ({len(lacking)} tensors missing); fetch it again")
    return network.eval(), header
