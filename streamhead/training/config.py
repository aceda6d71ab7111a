"""What a training run is: one TOML file, checked when it is read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamhead.errors import DataError
from streamhead.model.config import NetworkConfig, preset

__all__ = ["DataConfig", "LossConfig", "OptimiserConfig", "TrainingConfig", "parse_config", "read_config"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Which clips, and how they are cut and altered."""

    prepared: Path
    """Folder written by ``streamhead prepare``."""
    talkers: tuple[str, ...] = ()
    """Only these talkers; empty: all in the training split."""
    talker_power: float = Field(default=0.5, ge=0.0, le=1.0)
    """Talkers are drawn in proportion to (number of clips) ** power: 1 is clips evenly, 0 is talkers evenly."""
    clips: int = Field(default=8, ge=1)
    """Clips a step, over all processes."""
    frames: int = Field(default=25, ge=2)
    """Consecutive frames a clip."""
    burn_in: int = Field(default=12, ge=0)
    """Frames of sound heard before the first of them, so that the audio LSTM is not always at its start."""
    decoded: int = Field(default=4, ge=1)
    """Time steps decoded a clip."""
    augment_picture: bool = True
    augment_sound: bool = True
    plain_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of clips whose picture is left as it is all the same: a talker's own mouth is to be learnt, too."""
    disguise_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the clips with altered pictures whose talker also wears a beard, a moustache or other lips."""
    silence: int = Field(default=15, ge=0)
    """Longest stretch of added silence before or after the sentence, frames."""


class LossConfig(_Section):
    """Eq. 2 and what ``call`` adds to it."""

    kind: Literal["mse", "l1", "ms-ssim"] = "mse"
    """What a picture's error is: squared, absolute, or, of the whole square, its lack of multi-scale structural
    similarity (the regions' own terms stay squared); see :mod:`streamhead.training.picture_loss`."""
    kl: float = 1e-4
    """beta of eq. 2, against the mean squared error a pixel."""
    square: float = 1.0
    """Weight of the whole square's mean squared error."""
    mouth: float = 0.0
    """Weight of the mouth region's own mean squared error."""
    eyes: float = 0.0
    """Weight of the eye region's own mean squared error."""
    gradient: float = 0.0
    """Weight of the mean absolute error of the picture's gradients: against blur."""
    texture: float = 0.0
    """Weight of the difference in local contrast of mouth and eyes: against blur, wherever the edges lie."""
    adversary: float = 0.0
    """Weight of what two small critics say of drawn patches of mouth and eyes."""
    mask: float = 0.0
    """Price of the mask: paint only what cannot be carried."""
    smooth: float = 0.0
    """Price of the flow's roughness."""
    carry: float = 0.0
    """Weight of the flow's error at the landmarks, pixels: each is to be taken from where the first frame has it."""
    lips: float = 0.0
    """Weight of what the mouth gauge reads off a drawn mouth, against what it reads off the true one: squared, in eye
    distances."""
    gauge: Path | None = None
    """Weights of another mouth gauge than the shipped one, which knows all training talkers."""
    geometry: float = 0.0
    """Weight of reading five mouth and lid measures off z and off the mean of q(z|a)."""
    articulation: float = 0.0
    """Weight of the mouth's measures once more, less their moving average over a word: what each syllable does."""
    landmarks: float = 1.0
    """Weight of the squared error of ``landmark-cascade``'s mouth landmarks, in eye distances."""
    audio_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of clips whose frames are decoded from q(z|a) instead of q(z|f)."""


class OptimiserConfig(_Section):
    """The update rule."""

    kind: Literal["adam", "rmsprop"] = "adam"
    rate: float = 1e-3
    warm_up: int = 200
    half_life: int = 4000
    """The rate falls as 1/sqrt(1 + step / half_life): no end has to be known beforehand."""
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.998
    frozen: tuple[str, ...] = ()
    """Beginnings of the names of parameters that are left as they are, such as ``network.frame_encoder``."""


class TrainingConfig(_Section):
    """A whole run."""

    network: NetworkConfig
    data: DataConfig
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    steps: int = Field(default=100_000, ge=1)
    minutes: float | None = Field(default=None, gt=0.0)
    """Wall time to train for, over all the times the run was resumed, validations not counted; None for no limit."""
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    compiled: bool = False
    """Fuse the step with ``torch.compile``: a minute or two at each start, then a fifth more frames a second."""
    save_every: int = 200
    check_every: int = 400
    """Steps between validations (and sample strips)."""


def read_config(path: Path, **overrides: Any) -> TrainingConfig:
    """Read a run's TOML file; ``[network]`` names a preset and replaces its fields.

    Raises:
        DataError: the file is missing, is no TOML, or a field is unknown or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}; give a training config such as scripts/recipes/call.toml"
        ) from error
    return parse_config(text, str(path), **overrides)


def parse_config(text: str, name: str, **overrides: Any) -> TrainingConfig:
    """As :func:`read_config`, of a file's text; ``name`` is what errors call it.

    Raises:
        DataError: the text is no TOML, or a field is unknown or out of range.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(
            f"{name} is not valid TOML ({error}); see scripts/recipes/call.toml for a working one"
        ) from error
    try:
        network = dict(raw.get("network", {}))
        raw["network"] = preset(network.pop("preset", "call"), **network)
        raw.setdefault("data", {}).update({k: v for k, v in overrides.items() if k == "prepared" and v is not None})
        raw.update({k: v for k, v in overrides.items() if k != "prepared" and v is not None})
        return TrainingConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{name}: {where}: {first['msg']}; mend that line") from error
    except ValueError as error:
        raise DataError(f"{name}: {error}") from error
