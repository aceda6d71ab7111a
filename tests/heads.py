"""Small untrained heads for tests of the engine: what they say does not matter, that it is always the same does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch

from streamhead.baselines.landmark_cascade import LandmarkCascadeNetwork
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import Header, save_network
from streamhead.model.config import PRESETS, preset
from streamhead.model.families import build_network
from streamhead.model.network import TalkingHeadNetwork
from streamhead.stream.engine import Engine
from streamhead.stream.talking_head import TalkingHead

SIZES = {name: {} if name == "call" else {"width": 0.125} for name in PRESETS}


@cache
def weights(name: str) -> Path:
    """A checkpoint of a preset with random weights whose outputs vary visibly with sound and noise."""
    torch.manual_seed(11)
    network = build_network(preset(name, **SIZES[name]))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2.0)
        if isinstance(network, TalkingHeadNetwork):
            if network.audio_posterior.logvar is not None:
                network.audio_posterior.logvar.bias.fill_(-1.0)
            network.audio_posterior.mean.weight.mul_(8.0)
            network.predictor.embed.weight.mul_(3.0)
            network.predictor.head.weight.mul_(6.0)
        if isinstance(network, LandmarkCascadeNetwork):
            network.listener.mean.weight.mul_(30.0)
            network.poser[0].weight.mul_(3.0)
            network.decoder.skip_blocks[-1].conv.bias[3].fill_(3.0)  # a mask that is open
        for module in network.decoder.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                module.weight.mul_(1.5)
    path = Path(mkdtemp(prefix="streamhead-test-")) / f"{name}.safetensors"
    save_network(path, network.state_dict(), Header(network=network.config))
    return path


@cache
def head(name: str = "call") -> TalkingHead:
    """A head on the CPU, one torch thread, with the portrait of :func:`square`."""
    torch.set_num_threads(1)
    return TalkingHead(Engine(weights(name), name, "cpu"), Portrait.from_square(square(0)))


def square(seed: int) -> np.ndarray:
    """A smooth random canonical square."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 9, 9)))
    fine = torch.nn.functional.interpolate(coarse, (128, 128), mode="bicubic", align_corners=True)
    return fine[0].permute(1, 2, 0).clamp(0, 255).byte().numpy()
