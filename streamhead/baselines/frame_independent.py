"""An encoder-decoder that draws each frame on its own: the family of Speech2Vid and DAVS, without recurrence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamhead.model.audio_encoder import audio_encoder
from streamhead.model.config import NetworkConfig
from streamhead.model.decoder import decoder
from streamhead.model.gaussian_lstm import Gaussian, LSTMState
from streamhead.model.image_encoder import ImageEncoder
from streamhead.model.network import Network, NetworkState, Reference

__all__ = ["FrameIndependentNetwork"]


class FrameIndependentNetwork(Network):
    """The codes of a sound patch and of the first frame, mixed, are the code of the frame; no frame knows another."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.audio_encoder = audio_encoder(config)
        self.image_encoder = ImageEncoder(config)
        self.mixer = nn.Sequential(
            nn.Linear(2 * config.code_size, config.hidden_size),
            nn.LeakyReLU(0.2),
            nn.Linear(config.hidden_size, config.code_size),
            nn.Tanh(),
        )
        self.decoder = decoder(config)

    def mix(self, patch: Tensor, identity: Tensor) -> Tensor:
        """Sound patches ``(N, rows, dims)`` and codes of first frames ``(N, code)`` -> those of frames."""
        code: Tensor = self.mixer(torch.cat((self.audio_encoder(patch), identity), dim=-1))
        return code

    def initial_state(self, reference: Reference) -> NetworkState:
        """See :meth:`Network.initial_state`: there is none but the first frame's code."""
        none = LSTMState.none(len(reference.code), reference.code.device)
        return NetworkState(none, none, reference.code)

    def step(
        self,
        patch: Tensor,
        eps: Tensor,
        temperature: Tensor | float,
        state: NetworkState,
        drive: Tensor | float = 1.0,
    ) -> tuple[Tensor, Gaussian, NetworkState]:
        """See :meth:`Network.step`; noise plays no part, and the state never changes."""
        code = self.mix(patch, state.code)
        return code, Gaussian.certain(code), state
