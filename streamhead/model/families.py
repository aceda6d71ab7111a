"""Which network a configuration is of: the paper's, or one of those it is compared with."""

from __future__ import annotations

from streamhead.baselines.frame_independent import FrameIndependentNetwork
from streamhead.baselines.landmark_cascade import LandmarkCascadeNetwork
from streamhead.model.config import NetworkConfig
from streamhead.model.network import Network, TalkingHeadNetwork

__all__ = ["build_network"]


def build_network(config: NetworkConfig) -> Network:
    """The network of a configuration, untrained."""
    families: dict[str, type[Network]] = {
        "stochastic": TalkingHeadNetwork,
        "frame-independent": FrameIndependentNetwork,
        "landmark-cascade": LandmarkCascadeNetwork,
    }
    return families[config.family](config)
