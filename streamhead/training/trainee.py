"""A network with what only training needs: the frame posterior q(z|f), its encoder, and the geometry head."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamhead.face.align import MOUTH
from streamhead.model.config import NetworkConfig
from streamhead.model.gaussian_lstm import Gaussian, GaussianLSTM
from streamhead.model.image_encoder import FrameEncoder
from streamhead.model.network import TalkingHeadNetwork
from streamhead.model.objective import latent_cost
from streamhead.training.batches import Batch
from streamhead.training.config import LossConfig
from streamhead.training.geometry import MEASURES, MOUTH_MEASURES
from streamhead.training.picture_loss import picture_loss

__all__ = ["Trainee"]

WINDOW: Final = 15
"""Frames that a mouth's movement is seen apart from: about a word."""


def _detrended(series: Tensor) -> Tensor:
    """``(B, T, n)`` less the moving average over :data:`WINDOW` frames; clips are shorter than a sentence."""
    reach = WINDOW // 2
    padded = F.pad(series.transpose(1, 2), (reach, reach), mode="replicate")
    return series - F.avg_pool1d(padded, WINDOW, 1).transpose(1, 2)


class Trainee(nn.Module):
    """The whole of paper Figure 2; ``forward`` computes the losses of a batch."""

    def __init__(self, config: NetworkConfig, loss: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.loss = loss
        self.network = TalkingHeadNetwork(config)
        self.frame_posterior = GaussianLSTM(config.code_size, config.hidden_size, config.z_size)
        # `paper` has one image encoder for all; `call` reads frames at 64 px with a net that is never shipped.
        self.frame_encoder = FrameEncoder(config) if config.backbone == "warp" else None
        self.geometry = nn.Linear(config.z_size, len(MEASURES)) if config.geometry_head else None
        self.network.initialise()
        if self.frame_encoder is not None:
            self.frame_posterior.awaken()

    def _frame_codes(self, frames: Tensor) -> Tensor:
        flat = frames.flatten(0, 1)
        codes = self.frame_encoder(flat) if self.frame_encoder else self.network.image_encoder(flat)[0]
        return torch.unflatten(codes, 0, frames.shape[:2])

    def posteriors(self, batch: Batch) -> tuple[Gaussian, Gaussian, Tensor]:
        """q(z|f) and q(z|a) over the T frames, and the frames' codes."""
        span = batch.frames.shape[1]
        codes = self._frame_codes(batch.frames)
        start = self.frame_posterior.initial_state(len(codes), codes.device)
        of_frames, _ = self.frame_posterior.step(codes, start)
        start = self.network.audio_posterior.initial_state(len(codes), codes.device)
        heard, _ = self.network.listen(batch.patches, start)
        return of_frames, Gaussian(heard.mean[:, -span:], heard.logvar[:, -span:]), codes

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch; ``loss`` is their sum, the others are for the log."""
        network, weights = self.network, self.loss
        of_frames, of_audio, codes = self.posteriors(batch)
        choose = batch.heard[:, None, None]
        z = torch.lerp(of_frames.sample(batch.eps[0]), of_audio.sample(batch.eps[1]), choose)
        clips, span = z.shape[:2]
        reference = network.encode_reference(batch.reference)
        if network.feeds_back:
            given = codes[:, :-1]  # teacher-forced: the true previous frame (released training loop)
            state = network.predictor.initial_state(clips, z.device)
            drawn, _ = network.predictor.step(given, z[:, 1:], state)
            index = batch.index - 1
        else:
            given = reference.code[:, None].expand(-1, span, -1)
            drawn, _ = network.predictor.step(given, z, network.predictor.initial_state(clips, z.device))
            index = batch.index
        decoded = batch.index.shape[1]
        chosen = torch.gather(drawn, 1, index[:, :, None].expand(-1, -1, drawn.shape[-1])).flatten(0, 1)
        halves = tuple(half.repeat_interleave(decoded, 0) for half in reference.halves)
        update = network.decoder(chosen, halves)
        image = update.apply(batch.reference.repeat_interleave(decoded, 0))
        target = batch.targets.flatten(0, 1)

        terms = picture_loss(image, target, batch.heard.repeat_interleave(decoded), weights)
        terms["kl"] = latent_cost(of_frames, of_audio, self.config.prior)
        loss = terms.pop("picture") + weights.kl * terms["kl"]
        if weights.mask:
            terms["mask"] = update.mask.mean()
            loss = loss + weights.mask * terms["mask"]
        if weights.smooth:
            rough = torch.diff(update.flow, dim=-1).square().mean() + torch.diff(update.flow, dim=-2).square().mean()
            loss = loss + weights.smooth * rough
        if self.geometry is not None and weights.geometry:
            for name, latent in (("seen", of_frames.sample(batch.eps[0])), ("heard", of_audio.mean)):
                error = self.geometry(latent) - batch.geometry
                terms[f"geometry {name}"] = error.square().mean()
                loss = loss + weights.geometry * terms[f"geometry {name}"]
                if weights.articulation:
                    terms[f"articulation {name}"] = _detrended(error[:, :, :MOUTH_MEASURES]).square().mean()
                    loss = loss + weights.articulation * terms[f"articulation {name}"]
        # The two rows of the log that tell whether the sound is understood: mouth error by source of z.
        mouth = (image - target)[:, :, *MOUTH].detach().square().mean((1, 2, 3)).unflatten(0, (clips, decoded)).mean(1)
        terms["mouth heard"] = (mouth * batch.heard).sum() / batch.heard.sum().clamp_min(1)
        terms["loss"] = loss
        return terms
