"""How the baselines are trained, and the choice of trainee for a configuration: one loop trains them all."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamhead.baselines.frame_independent import FrameIndependentNetwork
from streamhead.baselines.landmark_cascade import LandmarkCascadeNetwork, mouth_shape
from streamhead.errors import DataError
from streamhead.face.align import EYE_DISTANCE
from streamhead.model.config import NetworkConfig
from streamhead.model.network import Network, Reference
from streamhead.training.batches import Batch, BatchSource
from streamhead.training.config import LossConfig
from streamhead.training.trainee import Imagined, StochasticTrainee, Trainee

__all__ = ["FrameIndependentTrainee", "LandmarkCascadeTrainee", "build_trainee"]


def _of_targets(values: Tensor, index: Tensor) -> Tensor:
    """``(B, T, ...)`` and the numbers ``(B, K)`` of the frames to be drawn -> ``(B, K, ...)``."""
    return values[torch.arange(len(index), device=index.device)[:, None], index]


class FrameIndependentTrainee(Trainee[FrameIndependentNetwork]):
    """The picture's error is all there is."""

    def __init__(self, config: NetworkConfig, loss: LossConfig) -> None:
        super().__init__(FrameIndependentNetwork(config), loss)
        self.network.initialise()

    def imagine(self, batch: Batch, reference: Reference) -> Imagined:
        """See :meth:`Trainee.imagine`."""
        lead = batch.patches.shape[1] - batch.eps.shape[2]
        patches = _of_targets(batch.patches, batch.index + lead)
        identity = reference.code[:, None].expand(-1, patches.shape[1], -1)
        codes = self.network.mix(patches.flatten(0, 1), identity.flatten(0, 1))
        return Imagined(torch.unflatten(codes, 0, patches.shape[:2]))


class LandmarkCascadeTrainee(Trainee[LandmarkCascadeNetwork]):
    """The listener learns from landmarks, the painter from true ones; neither sees the other's errors."""

    def __init__(self, config: NetworkConfig, loss: LossConfig) -> None:
        super().__init__(LandmarkCascadeNetwork(config), loss)
        self.network.initialise()

    def adopt(self, source: BatchSource) -> None:
        """See :meth:`Trainee.adopt`; the principal components too."""
        if source.config.data.augment_picture:
            raise DataError("landmark-cascade learns from landmarks as found; set data.augment_picture = false")
        super().adopt(source)
        clips = source.sample_clips(100)
        self.network.learn_shapes(np.concatenate([mouth_shape(np.asarray(clip.landmarks)) for clip in clips]))

    def imagine(self, batch: Batch, reference: Reference) -> Imagined:
        """See :meth:`Trainee.imagine`."""
        network = self.network
        span = batch.shapes.shape[1]
        true = network.components(batch.shapes)
        chosen = _of_targets(true, batch.index)
        identity = reference.code[:, None].expand(-1, chosen.shape[1], -1)
        code = network.pose(identity, chosen)
        start = network.listener.initial_state(len(batch.patches), batch.patches.device)
        heard = network.listen(batch.patches, start)[0].mean[:, -span:]
        error = F.mse_loss(network.shape(heard), network.shape(true)) / EYE_DISTANCE**2
        return Imagined(code, {"landmarks": error}, {"landmarks": self.loss.landmarks})


def build_trainee(config: NetworkConfig, loss: LossConfig) -> Trainee[Network]:
    """What trains the network of a configuration, itself untrained."""
    families: dict[str, type] = {
        "stochastic": StochasticTrainee,
        "frame-independent": FrameIndependentTrainee,
        "landmark-cascade": LandmarkCascadeTrainee,
    }
    trainee: Trainee[Network] = families[config.family](config, loss)
    return trainee
