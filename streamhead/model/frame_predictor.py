"""[frame code, z_t] -> code of the frame to draw (the frame predictor LSTM of paper Figure 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamhead.model.config import NetworkConfig
from streamhead.model.gaussian_lstm import LSTMState, RecurrentNet

__all__ = ["FramePredictor"]


class FramePredictor(RecurrentNet):
    """Two-layer LSTM over ``[h, z_t]``; its head has a tanh, as released."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config.code_size + config.z_size, config.hidden_size, config.predictor_layers)
        self.head = nn.Linear(config.hidden_size, config.code_size)

    def awaken(self) -> None:
        """See :meth:`RecurrentNet.awaken`; z is to be heard beside the five times longer code, which is constant."""
        super().awaken()
        z_size = self.embed.in_features - self.head.out_features
        nn.init.normal_(self.embed.weight.detach()[:, :-z_size], 0.0, 0.3 * self.head.out_features**-0.5)
        nn.init.normal_(self.embed.weight.detach()[:, -z_size:], 0.0, 2.0 * z_size**-0.5)
        nn.init.normal_(self.head.weight, 0.0, 2.0 * self.hidden**-0.5)

    def step(self, code: Tensor, z: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Codes ``(B, T, code)`` and latents ``(B, T, z)`` -> ``(B, T, code)`` and the state after them."""
        out, state = self.run(torch.cat((code, z), dim=-1), state)
        return torch.tanh(self.head(out)), state
