"""Sound -> mouth landmarks -> picture with an attention mask: the family of ATVGNet."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamhead.model.audio_encoder import audio_encoder
from streamhead.model.config import NetworkConfig
from streamhead.model.decoder import decoder
from streamhead.model.gaussian_lstm import Gaussian, GaussianLSTM, LSTMState
from streamhead.model.image_encoder import ImageEncoder
from streamhead.model.network import Network, NetworkState, Reference

__all__ = ["LIPS", "LandmarkCascadeNetwork", "mouth_shape"]

# fmt: off
LIPS: Final = (
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips, clockwise from the corner on the left
    78, 81, 13, 311, 308, 402, 14, 178,  # inner lips
)
# fmt: on
"""mediapipe's nearest to the twenty mouth points of the 68-point scheme, in its order."""


def mouth_shape(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks ``(T, 478, 2)`` of a clip in canonical pixels -> its lips off their median, ``(T, 40)`` pixels.

    Off the median, because whose lips they are is the first frame's to know, not the sound's.
    """
    lips = landmarks[:, list(LIPS)].reshape(len(landmarks), -1)
    return (lips - np.median(lips, axis=0)).astype(np.float32)


class LandmarkCascadeNetwork(Network):
    """Two nets that share nothing: an LSTM from sound to the principal components of the mouth's shape, and a painter.

    The painter sees the first frame and a mouth's shape, and answers with colour and with the mask that says where it
    goes. It is trained on true shapes, so that its errors and the listener's are not mixed (ATVGNet does so too).
    """

    shape_mean: Tensor
    shape_axes: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.audio_encoder = audio_encoder(config)
        self.listener = GaussianLSTM(
            config.code_size, config.hidden_size, config.z_size, config.predictor_layers, certain=True
        )
        self.image_encoder = ImageEncoder(config)
        self.poser = nn.Sequential(
            nn.Linear(config.code_size + config.z_size, config.hidden_size),
            nn.LeakyReLU(0.2),
            nn.Linear(config.hidden_size, config.code_size),
            nn.Tanh(),
        )
        self.decoder = decoder(config)
        self.register_buffer("shape_mean", torch.zeros(2 * len(LIPS)))
        self.register_buffer("shape_axes", torch.zeros(config.z_size, 2 * len(LIPS)))

    @torch.no_grad()
    def learn_shapes(self, shapes: NDArray[np.float32]) -> None:
        """Take the principal components of mouth shapes ``(N, 40)``; each is as long as its standard deviation."""
        mean = shapes.mean(0, dtype=np.float64)
        _, spread, axes = np.linalg.svd(shapes - mean, full_matrices=False)
        count = self.config.z_size
        lengths = np.maximum(spread[:count] / len(shapes) ** 0.5, 1e-3)
        self.shape_mean.copy_(torch.from_numpy(mean))
        self.shape_axes.copy_(torch.from_numpy(lengths[:, None] * axes[:count]))

    def components(self, shape: Tensor) -> Tensor:
        """Mouth shapes ``(..., 40)`` in pixels -> components ``(..., z)`` of unit variance over the corpus."""
        axes = self.shape_axes / self.shape_axes.square().sum(-1, keepdim=True)
        return (shape - self.shape_mean) @ axes.mT

    def shape(self, components: Tensor) -> Tensor:
        """The mouth shapes ``(..., 40)`` of components ``(..., z)``."""
        return self.shape_mean + components @ self.shape_axes

    def listen(self, patches: Tensor, state: LSTMState) -> tuple[Gaussian, LSTMState]:
        """Feature patches ``(B, T, rows, dims)`` -> components ``(B, T, z)`` and the listener's state after them."""
        codes = self.audio_encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        return self.listener.step(codes, state)

    def pose(self, identity: Tensor, components: Tensor) -> Tensor:
        """Codes of first frames ``(N, code)`` and components ``(N, z)`` -> codes of frames ``(N, code)``."""
        code: Tensor = self.poser(torch.cat((identity, components), dim=-1))
        return code

    def initial_state(self, reference: Reference) -> NetworkState:
        """See :meth:`Network.initial_state`."""
        batch, device = reference.code.shape[0], reference.code.device
        return NetworkState(self.listener.initial_state(batch, device), LSTMState.none(batch, device), reference.code)

    def step(
        self,
        patch: Tensor,
        eps: Tensor,
        temperature: Tensor | float,
        state: NetworkState,
        drive: Tensor | float = 1.0,
    ) -> tuple[Tensor, Gaussian, NetworkState]:
        """See :meth:`Network.step`; noise plays no part."""
        heard, audio = self.listen(patch.unsqueeze(1), state.audio)
        components = heard.mean[:, 0]
        code = self.pose(state.code, components)
        return code, Gaussian.certain(components), NetworkState(audio, state.predictor, state.code)
