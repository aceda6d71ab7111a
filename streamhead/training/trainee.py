"""A network with what only training needs: the frame posterior q(z|f), its encoder, and the geometry head.

:class:`Trainee` is what the training loop knows; the baselines' own are in :mod:`streamhead.baselines.trainees`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamhead.face.align import MOUTH
from streamhead.model.config import NetworkConfig
from streamhead.model.gaussian_lstm import Gaussian, GaussianLSTM
from streamhead.model.image_encoder import FrameEncoder
from streamhead.model.mouth_gauge import load_gauge, shipped_gauge
from streamhead.model.network import Network, Reference, TalkingHeadNetwork
from streamhead.model.objective import latent_cost
from streamhead.training.batches import Batch, BatchSource
from streamhead.training.config import LossConfig
from streamhead.training.critic import Critics
from streamhead.training.geometry import MEASURES, MOUTH_MEASURES
from streamhead.training.picture_loss import carry_loss, lips_loss, picture_loss

__all__ = ["Imagined", "StochasticTrainee", "Trainee", "detrended"]

N = TypeVar("N", bound=Network)

WINDOW: Final = 15
"""Frames that a mouth's movement is seen apart from: about a word."""


def detrended(series: Tensor) -> Tensor:
    """``(B, T, n)`` less the moving average over :data:`WINDOW` frames; clips are shorter than a sentence."""
    reach = WINDOW // 2
    padded = F.pad(series.transpose(1, 2), (reach, reach), mode="replicate")
    return series - F.avg_pool1d(padded, WINDOW, 1).transpose(1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Imagined:
    """The frames a network is about to draw.

    Attributes:
        code: ``(B, K, code)``.
        terms: of the loss, besides the picture's, each before its weight.
        weights: of those terms.
    """

    code: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)


class Trainee(nn.Module, ABC, Generic[N]):
    """A network in training; ``forward`` computes the losses of a batch."""

    def __init__(self, network: N, loss: LossConfig) -> None:
        super().__init__()
        self.config = network.config
        self.loss = loss
        self.network = network
        self.critics = Critics() if loss.adversary else None
        # Not a part of what is trained or kept: in a tuple PyTorch does not see it.
        self._gauge = (load_gauge(loss.gauge) if loss.gauge else shipped_gauge(),) if loss.lips else ()

    def adopt(self, source: BatchSource) -> None:
        """Take over what is measured on the training data before the first step."""
        self.network.audio_encoder.mean, self.network.audio_encoder.scale = source.feature_statistics()

    @abstractmethod
    def imagine(self, batch: Batch, reference: Reference) -> Imagined:
        """The codes of the frames to be drawn, from all that training may know."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch; ``loss`` is their sum, the others are for the log."""
        network, weights = self.network, self.loss
        reference = network.encode_reference(batch.reference)
        imagined = self.imagine(batch, reference)
        clips, decoded = batch.index.shape
        halves = tuple(half.repeat_interleave(decoded, 0) for half in reference.halves)
        update = network.decoder(imagined.code.flatten(0, 1), halves)
        image = update.apply(batch.reference.repeat_interleave(decoded, 0))
        target = batch.targets.flatten(0, 1)

        heard = batch.heard.repeat_interleave(decoded)
        terms = picture_loss(image, target, heard, weights)
        loss = terms.pop("picture")
        if weights.carry:
            origins = batch.origins.repeat_interleave(decoded, 0)
            terms["carry"] = carry_loss(update.flow, batch.points.flatten(0, 1), origins, heard)
            loss = loss + weights.carry * terms["carry"]
        for gauge in self._gauge:
            terms["lips"] = lips_loss(gauge.to(image.device), image, target)
            loss = loss + weights.lips * terms["lips"]
        if self.critics is not None:
            terms["critics"], terms["adversary"] = self.critics(image, target)
            loss = loss + terms["critics"] + weights.adversary * terms["adversary"]
        for name, term in imagined.terms.items():
            terms[name] = term
            loss = loss + imagined.weights[name] * term
        if weights.mask:
            terms["mask"] = update.mask.mean()
            loss = loss + weights.mask * terms["mask"]
        if weights.smooth:
            rough = torch.diff(update.flow, dim=-1).square().mean() + torch.diff(update.flow, dim=-2).square().mean()
            loss = loss + weights.smooth * rough
        # The two rows of the log that tell whether the sound is understood: mouth error by source of z.
        mouth = (image - target)[:, :, *MOUTH].detach().square().mean((1, 2, 3)).unflatten(0, (clips, decoded)).mean(1)
        terms["mouth heard"] = (mouth * batch.heard).sum() / batch.heard.sum().clamp_min(1)
        terms["loss"] = loss
        return terms


class StochasticTrainee(Trainee[TalkingHeadNetwork]):
    """The whole of paper Figure 2, its unimodal form (eq. 1), and the same without a q(z|f): deterministic."""

    def __init__(self, config: NetworkConfig, loss: LossConfig) -> None:
        super().__init__(TalkingHeadNetwork(config), loss)
        certain = config.prior == "none"
        self.frame_posterior = None if certain else GaussianLSTM(config.code_size, config.hidden_size, config.z_size)
        # `paper` has one image encoder for all; `call` reads frames at 64 px with a net that is never shipped.
        self.frame_encoder = FrameEncoder(config) if config.backbone == "warp" else None
        self.geometry = nn.Linear(config.z_size, len(MEASURES)) if config.geometry_head else None
        self.network.initialise()
        if self.frame_encoder is not None and self.frame_posterior is not None:
            self.frame_posterior.awaken()

    def _frame_codes(self, frames: Tensor) -> Tensor:
        flat = frames.flatten(0, 1)
        codes = self.frame_encoder(flat) if self.frame_encoder else self.network.image_encoder(flat)[0]
        return torch.unflatten(codes, 0, frames.shape[:2])

    def _seen(self, codes: Tensor) -> Gaussian | None:
        """q(z|f) over the T frames of these codes; None where there is none."""
        if self.frame_posterior is None:
            return None
        start = self.frame_posterior.initial_state(len(codes), codes.device)
        return self.frame_posterior.step(codes, start)[0]

    def _heard(self, batch: Batch) -> Gaussian | None:
        """q(z|a) over the T frames; None where the network is deaf."""
        if self.config.deaf:
            return None
        start = self.network.audio_posterior.initial_state(len(batch.patches), batch.patches.device)
        heard, _ = self.network.listen(batch.patches, start)
        span = batch.eps.shape[2]
        return Gaussian(heard.mean[:, -span:], heard.logvar[:, -span:])

    def _latent(self, seen: Gaussian | None, heard: Gaussian | None, batch: Batch) -> Tensor:
        if seen is None:
            assert heard is not None
            return heard.mean
        z = seen.sample(batch.eps[0])
        return z if heard is None else torch.lerp(z, heard.sample(batch.eps[1]), batch.heard[:, None, None])

    def imagine(self, batch: Batch, reference: Reference) -> Imagined:
        """See :meth:`Trainee.imagine`: z is drawn from q(z|f), or for some clips from q(z|a)."""
        network, weights = self.network, self.loss
        codes = self._frame_codes(batch.frames)
        seen, heard = self._seen(codes), self._heard(batch)
        z = self._latent(seen, heard, batch)
        clips, span = z.shape[:2]
        if network.feeds_back:
            given = codes[:, :-1]  # teacher-forced: the true previous frame (released training loop)
            state = network.predictor.initial_state(clips, z.device)
            drawn, _ = network.predictor.step(given, z[:, 1:], state)
            index = batch.index - 1
        else:
            given = reference.code[:, None].expand(-1, span, -1)
            drawn, _ = network.predictor.step(given, z, network.predictor.initial_state(clips, z.device))
            index = batch.index
        chosen = torch.gather(drawn, 1, index[:, :, None].expand(-1, -1, drawn.shape[-1]))
        if seen is None:
            return Imagined(chosen)
        terms, scales = {"kl": latent_cost(seen, heard)}, {"kl": weights.kl}
        if self.geometry is not None and weights.geometry and heard is not None:
            for name, latent in (("seen", seen.sample(batch.eps[0])), ("heard", heard.mean)):
                error = self.geometry(latent) - batch.geometry
                terms[f"geometry {name}"] = error.square().mean()
                scales[f"geometry {name}"] = weights.geometry
                if weights.articulation:
                    terms[f"articulation {name}"] = detrended(error[:, :, :MOUTH_MEASURES]).square().mean()
                    scales[f"articulation {name}"] = weights.articulation
        return Imagined(chosen, terms, scales)
