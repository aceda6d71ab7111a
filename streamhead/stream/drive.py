"""How strongly a portrait has to be driven to open its mouth as people do.

To some faces, above all those unlike the training talkers, a network answers too little: lips under a moustache move by
half. What it draws of a portrait for a known speech is measured once, and the latent's way from rest is lengthened for
those who fall short. That costs next to no correlation: the words stay, the mouth follows them further.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from streamhead.audio.features import feature_spec
from streamhead.model.mouth_gauge import MouthGauge, shipped_gauge
from streamhead.model.network import Reference, TalkingHeadNetwork
from streamhead.stream.model_speech import model_speech

__all__ = ["DriveMeter"]

MOST: Final = 2.0
"""Further than this from what it was trained on, a network is not driven."""
ENOUGH: Final = 0.95
"""Of the natural opening; whoever reaches it is left alone."""
STEP: Final = 0.05
"""Drives are whole numbers of these, so that they are the same on every machine."""
_SILENCE: Final = 50
_FRAMES: Final = 16


class DriveMeter:
    """Measures how far faces open their mouths for the library's speech, and what drive each needs.

    Args:
        network: whose latents are to be driven; is told what they are at rest.
        natural: standard deviation of the inner lips' opening that is aimed at, eye distances.
    """

    def __init__(self, network: TalkingHeadNetwork, natural: float = 0.0) -> None:
        self._network = network
        self._natural = natural
        self._gauge: MouthGauge = shipped_gauge().to(next(network.parameters()).device)
        with torch.inference_mode():
            spec = feature_spec(network.config.features, network.config.look_ahead)
            silence = self._listen(np.stack([spec.silence_patch()] * _SILENCE))
            network.rest = silence[:, -1]
            self._speech = self._listen(np.stack(model_speech(network.config)))
        self._moments = torch.linspace(0, self._speech.shape[1] - 1, 3 * _FRAMES).round().long()[1::3]

    def _listen(self, patches: np.ndarray) -> Tensor:
        device = next(self._network.parameters()).device
        start = self._network.audio_posterior.initial_state(1, device)
        return self._network.listen(torch.from_numpy(patches)[None].to(device), start)[0].mean

    @torch.inference_mode()
    def opening(self, reference: Reference, drive: float = 1.0) -> float:
        """Standard deviation of a face's inner lips' opening over the speech, eye distances."""
        network = self._network
        z = network.driven(self._speech, drive)
        start = network.predictor.initial_state(1, z.device)
        codes, _ = network.predictor.step(reference.code[:, None].expand(-1, z.shape[1], -1), z, start)
        # A few at a time: the maps of all of them would not fit into the processor's cache.
        openings = []
        for code in torch.split(codes[0, self._moments], 4):
            many = Reference(
                reference.square.expand(len(code), -1, -1, -1),
                reference.code.expand(len(code), -1),
                tuple(half.expand(len(code), -1, -1, -1) for half in reference.halves),
            )
            openings.append(self._gauge(network.decode(code, many).apply(many.square).float())[:, 0])
        return float(torch.cat(openings).std())

    def drive(self, reference: Reference) -> float:
        """From 1, for a face that opens its mouth as it should, to :data:`MOST`."""
        plain = self.opening(reference)
        if plain >= ENOUGH * self._natural:
            return 1.0
        most = self.opening(reference, MOST)
        share = (self._natural - plain) / max(most - plain, 1e-6)
        steps = (1.0 + (MOST - 1.0) * min(max(share, 0.0), 1.0)) / STEP
        return round(round(steps) * STEP, 2)
