"""The networks a call needs, wired together: q(z|audio), the frame predictor, the first frame's encoder, the decoder.

:class:`Network` is what engine, trainer and checkpoints know of them, the baselines included. Nothing here keeps state:
``step`` takes the state of B streams and returns the next one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from streamhead.model.audio_encoder import AudioEncoder, audio_encoder
from streamhead.model.config import NetworkConfig
from streamhead.model.decoder import Decoder, WarpDecoder, decoder
from streamhead.model.face_update import FaceUpdate
from streamhead.model.frame_predictor import FramePredictor
from streamhead.model.gaussian_lstm import Gaussian, GaussianLSTM, LSTMState
from streamhead.model.image_encoder import ImageEncoder

__all__ = ["Network", "NetworkState", "Reference", "TalkingHeadNetwork"]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A batch of first frames, encoded once: all that a stream needs of its portrait.

    Attributes:
        square: ``(B, 3, 128, 128)`` in [0, 1].
        code: ``(B, code)``.
        halves: precomputed skip halves of the decoder, coarsest first.
    """

    square: Tensor
    code: Tensor
    halves: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NetworkState:
    """State of B streams; every tensor has the batch first.

    Attributes:
        audio: state of the audio posterior.
        predictor: state of the frame predictor; without one, :meth:`LSTMState.none`.
        code: ``(B, code)``, the predictor's picture input: the reference's code or the previous output's.
    """

    audio: LSTMState
    predictor: LSTMState
    code: Tensor

    def to(self, device: torch.device | str) -> NetworkState:
        """The same state on another device."""
        return NetworkState(self.audio.to(device), self.predictor.to(device), self.code.to(device))


class Network(nn.Module, ABC):
    """What draws a face from a first frame and sound: encode the one, then a step and a decoding a frame.

    A family says how the sound becomes the code of a frame (:meth:`initial_state`, :meth:`step`); encoders and decoder
    are the same for all.
    """

    audio_encoder: AudioEncoder
    image_encoder: ImageEncoder
    decoder: Decoder

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self._drawing: torch.dtype | None = None  # None: as it comes, which leaves the choice to autocast

    def initialise(self) -> None:
        """Released initialisation, N(0, .02) for convolutions and linear layers of ``paper``; defaults for ``call``."""
        if self.config.emits != "face-update":
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    nn.init.normal_(module.weight, 0.0, 0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
                elif isinstance(module, nn.BatchNorm2d):
                    nn.init.normal_(module.weight, 1.0, 0.02)
                    nn.init.zeros_(module.bias)

    def encode_reference(self, square: Tensor) -> Reference:
        """First frames ``(B, 3, 128, 128)`` in [0, 1] -> :class:`Reference`."""
        code, skips = self.image_encoder(square)
        return Reference(square, code, self.decoder.skip_halves(tuple(map(self._to_draw, skips))))

    @abstractmethod
    def initial_state(self, reference: Reference) -> NetworkState:
        """State of streams that have heard nothing."""

    @abstractmethod
    def step(
        self,
        patch: Tensor,
        eps: Tensor,
        temperature: Tensor | float,
        state: NetworkState,
        drive: Tensor | float = 1.0,
    ) -> tuple[Tensor, Gaussian, NetworkState]:
        """One frame of B streams, recurrent part: what must run even when a late frame is not drawn.

        Args:
            patch: ``(B, rows, dims)`` features of the frame.
            eps: ``(B, z)`` standard-normal noise.
            temperature: scale of the noise, a number or ``(B, 1)``.
            state: of the B streams.
            drive: how far the latent goes from what it is at rest, a number or ``(B, 1)``; 1 as it was learnt. Only
                where there is such a latent.

        Returns:
            The code of the frame ``(B, code)``, what the sound says, q(z|a) of ``(B, z)``, and the next state.
        """

    def decode(self, code: Tensor, reference: Reference) -> FaceUpdate:
        """Codes ``(B, code)`` of frames -> :class:`FaceUpdate`."""
        update: FaceUpdate = self.decoder(self._to_draw(code), reference.halves)
        return update

    def _to_draw(self, x: Tensor) -> Tensor:
        return x if self._drawing is None else x.to(self._drawing)

    def draw_in(self, dtype: torch.dtype) -> None:
        """Prepare the decoder, whose weights are final, to draw in a precision; references follow when next encoded."""
        self._drawing = dtype
        self.decoder.to(dtype)
        self.decoder.cut()

    @property
    def feeds_back(self) -> bool:
        """Whether the next step needs this step's picture (``paper``), so that no frame can be left undrawn."""
        return self.config.predictor_input == "previous-output"

    def feed_back(self, update: FaceUpdate, reference: Reference, state: NetworkState) -> NetworkState:
        """Encode the frame just drawn as the predictor's next input (released test loop)."""
        code, _ = self.image_encoder(update.apply(reference.square))
        return NetworkState(state.audio, state.predictor, code)

    @torch.no_grad()
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.parameters())


class TalkingHeadNetwork(Network):
    """Audio posterior, frame predictor, image encoder and decoder (test-time half of paper Figure 2)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.audio_encoder = audio_encoder(config)
        certain = config.prior == "none"
        cells = config.audio_hidden_size or config.hidden_size
        self.audio_posterior = GaussianLSTM(config.code_size, cells, config.z_size, certain=certain)
        self.image_encoder = ImageEncoder(config)
        self.predictor = FramePredictor(config)
        self.decoder = decoder(config)
        self.rest: Tensor | None = None  # (1, z), the mean of q(z|a) in silence, once somebody has listened to it

    def initialise(self) -> None:
        """See :meth:`Network.initialise`."""
        super().initialise()
        if isinstance(self.decoder, WarpDecoder):
            self.decoder.reset_heads()
            self.audio_posterior.awaken()
            self.predictor.awaken()

    def initial_state(self, reference: Reference) -> NetworkState:
        """See :meth:`Network.initial_state`."""
        batch, device = reference.code.shape[0], reference.code.device
        return NetworkState(
            self.audio_posterior.initial_state(batch, device),
            self.predictor.initial_state(batch, device),
            reference.code,
        )

    def listen(self, patches: Tensor, state: LSTMState) -> tuple[Gaussian, LSTMState]:
        """Feature patches ``(B, T, rows, dims)`` -> q(z|a) over T frames and the audio state after them."""
        codes = self.audio_encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        return self.audio_posterior.step(codes, state)

    def driven(self, mean: Tensor, drive: Tensor | float) -> Tensor:
        """Means of latents ``(..., z)``, so much further from rest; as they are where rest is not known."""
        return mean if self.rest is None else self.rest + drive * (mean - self.rest)

    def latent(self, q: Gaussian, eps: Tensor, temperature: Tensor | float) -> Tensor:
        """The latent of a frame: from q(z|a), or, for the unimodal model of eq. 1, from N(0, I), deaf to the sound."""
        return eps * temperature if self.config.deaf else q.sample(eps, temperature)

    def step(
        self,
        patch: Tensor,
        eps: Tensor,
        temperature: Tensor | float,
        state: NetworkState,
        drive: Tensor | float = 1.0,
    ) -> tuple[Tensor, Gaussian, NetworkState]:
        """See :meth:`Network.step`."""
        q, audio = self.listen(patch.unsqueeze(1), state.audio)
        q = Gaussian(q.mean[:, 0], q.logvar[:, 0])
        z = self.latent(Gaussian(self.driven(q.mean, drive), q.logvar), eps, temperature)
        code, predictor = self.predictor.step(state.code.unsqueeze(1), z.unsqueeze(1), state.predictor)
        return code[:, 0], q, NetworkState(audio, predictor, state.code)
