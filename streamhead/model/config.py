"""What a network is made of: one frozen description per preset, stored in every checkpoint."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["PRESETS", "NetworkConfig", "preset"]


class NetworkConfig(BaseModel):
    """Sizes and choices of a network (paper section 3; released code for the sizes).

    ``paper`` and ``paper-thin`` reproduce the publication, ``call`` is meant for a live call; all share every class.
    The other presets are what the paper is compared with, as wide as ``paper-thin`` (docs/baselines.md).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal[
        "call", "paper", "paper-thin", "frame-independent", "landmark-cascade", "deterministic", "unimodal-vae"
    ]
    family: Literal["stochastic", "frame-independent", "landmark-cascade"] = "stochastic"
    """Which class of :mod:`streamhead.model.families` the network is."""
    backbone: Literal["warp", "vgg", "dcgan"]
    features: Literal["log-mel", "mfcc"]
    look_ahead: int
    """Frames of audio after its own that a frame may depend on."""
    predictor_input: Literal["reference", "previous-output"]
    emits: Literal["face-update", "rgb", "masked-rgb"]
    """What the decoder answers with: all of a :class:`FaceUpdate`, colour alone, or colour and a mask."""
    prior: Literal["audio", "standard-normal", "none"] = "audio"
    """What q(z|frames) is matched to: q(z|audio) (eq. 2) or N(0, I) (eq. 1, deaf at test time by construction);
    ``none``: there is no q(z|frames), and what the sound says is certain."""
    width: float = 1.0
    """Factor on the published channel counts of the picture and audio networks."""
    code_size: int = 128
    z_size: int = 24
    hidden_size: int = 256
    audio_channels: int = 128
    """Channels of the convolutions over log-mel rows."""
    audio_hidden_size: int | None = None
    """Cells of the LSTM of q(z|a); None: ``hidden_size``."""
    predictor_layers: int = 2
    painter_layers: int = 1
    """Convolutions of ``warp``'s painters at full resolution before the last."""
    geometry_head: bool = False
    """Training aid of ``call``: five mouth and lid measures are read off z; never shipped."""

    def channels(self, published: int) -> int:
        """A published channel count under this configuration's width, a multiple of eight."""
        return max(8, round(published * self.width / 8) * 8)

    @property
    def deaf(self) -> bool:
        """Whether nothing of the sound reaches the picture."""
        return self.prior == "standard-normal"

    @property
    def samples(self) -> bool:
        """Whether noise reaches the picture, so that takes differ."""
        return self.prior != "none"

    @property
    def sees_frames(self) -> bool:
        """Whether training reads the frames besides the first and those it is to draw."""
        return self.prior != "none" or self.predictor_input == "previous-output"


_PAPER_THIN: Final = NetworkConfig(
    preset="paper-thin",
    backbone="dcgan",
    features="mfcc",
    look_ahead=4,
    predictor_input="previous-output",
    emits="rgb",
    width=0.375,
)


def _beside(name: str, **changes: object) -> NetworkConfig:
    """A baseline: ``paper-thin`` but for what it is there to show."""
    return NetworkConfig.model_validate({**_PAPER_THIN.model_dump(), "preset": name, **changes})


PRESETS: Final[dict[str, NetworkConfig]] = {
    "call": NetworkConfig(
        preset="call",
        backbone="warp",
        features="log-mel",
        look_ahead=1,
        predictor_input="reference",
        emits="face-update",
        audio_channels=256,
        audio_hidden_size=384,
        painter_layers=2,
        geometry_head=True,
    ),
    "paper": NetworkConfig(
        preset="paper",
        backbone="vgg",
        features="mfcc",
        look_ahead=4,
        predictor_input="previous-output",
        emits="rgb",
    ),
    "paper-thin": _PAPER_THIN,
    "frame-independent": _beside(
        "frame-independent", family="frame-independent", predictor_input="reference", prior="none"
    ),
    "landmark-cascade": _beside(
        "landmark-cascade",
        family="landmark-cascade",
        predictor_input="reference",
        prior="none",
        emits="masked-rgb",
        z_size=12,
        predictor_layers=3,
    ),
    "deterministic": _beside("deterministic", prior="none"),
    "unimodal-vae": _beside("unimodal-vae", prior="standard-normal"),
}


def preset(name: str, **changes: object) -> NetworkConfig:
    """A preset by name, with fields replaced.

    Raises:
        ValueError: for a name that is none of :data:`PRESETS`.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}: choose one of {', '.join(PRESETS)}")
    return NetworkConfig.model_validate({**PRESETS[name].model_dump(), **changes})
