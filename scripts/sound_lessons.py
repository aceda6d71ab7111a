"""What z is to be for the sounds of a step: lessons for the sound's networks (``train_sound.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from sound_corpus import FRAMES, LEAD, Corpus
from sound_disturbed import crowds, disturbed, flickering
from torch import Tensor, nn
from torch.nn import functional

from streamhead.errors import StreamheadError
from streamhead.model.network import TalkingHeadNetwork
from streamhead.training import geometry
from streamhead.training.visemes import VISEMES, VisemeModel

__all__ = ["Lesson", "Teacher", "settle"]

RESTING: Final = 3
"""Sounds of a step, besides the clips, in which nobody speaks: the face is to rest."""
CROWDS: Final = 2
"""The same, in which many speak at once."""
SPOKEN: Final = 10
"""Synthetic sentences of a step."""
GUESS: Final = 0.3
"""How sure of what z is to be where it is only guessed, from the sounds of synthetic speech."""
SHUT: Final = 0.05
"""Share of the clips' frames in which inner lips are closer than they are said to be at p, b and m."""
RIDGE: Final = 1e-3
"""Of :func:`settle`, in units of a cell's square."""


def hear(network: TalkingHeadNetwork, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance of q(z|a), each ``(N, FRAMES, z)``."""
    q, _ = network.listen(patches.float(), network.audio_posterior.initial_state(len(patches)))
    return q.mean[:, LEAD:], q.logvar[:, LEAD:]


@dataclass(frozen=True)
class Lesson:
    """A step's sounds and what is wanted; weights are 0 where nothing is known.

    Attributes:
        sound: ``(B, lead + FRAMES, rows, dims)``.
        mean: ``(B, FRAMES, z)`` of q(z|a), as the teacher has it or as it is guessed to have it.
        logvar: the same.
        measures: ``(B, FRAMES, 5)``, standardised.
        visemes: ``(B, FRAMES, VISEMES)``; all zeros where it is not known what is said.
        sure_of_z: ``(B, FRAMES, 1)``.
        sure_of_logvar: the same.
        sure_of_measures: ``(B, FRAMES, 5)``.
    """

    sound: Tensor
    mean: Tensor
    logvar: Tensor
    measures: Tensor
    visemes: Tensor
    sure_of_z: Tensor
    sure_of_logvar: Tensor
    sure_of_measures: Tensor


class Teacher:
    """What z should be: read off the given network once, and for synthetic voices guessed from what they say.

    Args:
        network: learnt from, not trained.
        corpus: the sounds.
        silence: a patch of it.
    """

    @torch.no_grad()
    def __init__(self, network: TalkingHeadNetwork, corpus: Corpus, silence: Tensor) -> None:
        self.corpus = corpus
        self.silence = silence
        parts = [hear(network, part) for part in corpus.patches[0].split(32)]
        self.mean, self.logvar = (torch.cat(values) for values in zip(*parts, strict=True))
        rest = [part[:, -1:] for part in hear(network, silence.expand(1, LEAD + FRAMES, -1, -1))]
        self.rest_mean, self.rest_logvar = rest
        inside = corpus.moments[0].flatten() >= 0
        z, y = self.mean.flatten(0, 1)[inside], corpus.measures[0].flatten(0, 1)[inside]
        middle, self.spread = z.mean(0), z.std(0) + 1e-4
        white = (z - middle) / self.spread
        ridge = white.T @ white + 1e-2 * len(white) * torch.eye(white.shape[1])
        weights = torch.linalg.solve(ridge, white.T @ (y - y.mean(0)))
        basis, _ = torch.linalg.qr(weights)
        self.elsewhere = torch.eye(len(weights)) - basis @ basis.T
        self.readout = nn.Linear(len(weights), y.shape[1]).requires_grad_(False)
        self.readout.weight.copy_((weights / self.spread[:, None]).T)
        self.readout.bias.copy_(y.mean(0) - (middle / self.spread) @ weights)
        self.rest_measures = self.readout(self.rest_mean)
        self.said_mean, self.said_measures = self._guess(y)

    def _guess(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """z and measures for what synthetic voices say."""
        corpus, known = self.corpus, self.corpus.moments[0] >= 0
        if not len(corpus.said):
            return self.mean[:0], corpus.measures[0, :0]
        films = [
            (
                corpus.visemes[0, i, part].double().numpy(),
                torch.cat([self.mean[i], corpus.measures[0, i]], 1)[part].numpy(),
            )
            for i, part in enumerate(known)
            if corpus.visemes[0, i].any()
        ]
        if not films:
            raise StreamheadError(
                "no clip says by which words it is spoken; train without synthetic voices: --voices ''"
            )
        model = VisemeModel.fit(films)
        print("visemes against the clips they come from, correlation", np.round(model.correlation[-y.shape[1] :], 2))
        found = torch.from_numpy(np.stack([model.predict(said.double().numpy()) for said in corpus.said])).float()
        size = self.mean.shape[2]
        # An average moves less than what it is the average of; lips cannot be more shut than shut, though.
        shrinkage = torch.from_numpy(model.shrinkage[size:]).float()
        low, high = torch.quantile(y, 0.01, dim=0), torch.quantile(y, 0.99, dim=0)
        middle = y.mean(0)
        measures = (middle + (found[..., size:] - middle) / shrinkage).clamp(low, high)
        # Nor do lips ever stay apart at p, b and m, as they do on average where words are said to be a frame off.
        inner, outer = geometry.MEASURES.index("inner lips"), geometry.MEASURES.index("outer lips")
        shut = corpus.said[..., VISEMES.index("shut")].clamp(max=1.0)
        closing = shut * (torch.quantile(y[:, inner], SHUT) - measures[..., inner]).clamp(max=0.0)
        together = float(torch.corrcoef(y[:, [inner, outer]].T)[0, 1])  # they are standardised
        measures[..., inner] += closing
        measures[..., outer] += together * closing
        return found[..., :size], measures

    def lesson(self, chosen: Tensor, version: Tensor, lead: int, average: Tensor, rng: np.random.Generator) -> Lesson:
        """These clips in these versions, and some that nobody says, or nobody of flesh and blood."""
        corpus = self.corpus
        other = torch.from_numpy(rng.integers(len(corpus.unspoken), size=RESTING))
        voices = torch.from_numpy(rng.integers(max(len(corpus.spoken), 1), size=SPOKEN if len(corpus.spoken) else 0))
        talking = torch.cat([corpus.patches[version, chosen], corpus.spoken[voices]])[:, LEAD - lead :].float()
        talking = disturbed(talking, corpus, average, rng)
        quiet = flickering(corpus.unspoken[other][:, LEAD - lead :].float(), self.silence, rng)
        quiet = torch.cat([quiet, crowds(CROWDS, corpus, rng)[:, LEAD - lead :]])
        resting = len(quiet)
        moments = corpus.moments[version, chosen].long()
        before = moments.clamp(min=0)[..., None]
        mean, logvar = (
            values[chosen].gather(1, before.expand(-1, -1, values.shape[2])) for values in (self.mean, self.logvar)
        )
        known = (moments >= 0).float()[..., None]
        said = corpus.said[voices]
        heard = said.any(-1, keepdim=True).float()
        always = torch.ones(resting, FRAMES, 1)
        lips = (torch.arange(corpus.measures.shape[-1]) < geometry.MOUTH_MEASURES).float()
        nothing = functional.one_hot(torch.zeros(resting, FRAMES, dtype=torch.long), len(VISEMES)).float()
        return Lesson(
            torch.cat([talking, quiet]),
            torch.cat([mean, self.said_mean[voices], self.rest_mean.expand(resting, FRAMES, -1)]),
            torch.cat([logvar, self.rest_logvar.expand(len(voices) + resting, FRAMES, -1)]),
            torch.cat(
                [
                    corpus.measures[version, chosen],
                    self.said_measures[voices],
                    self.rest_measures.expand(resting, FRAMES, -1),
                ]
            ),
            torch.cat([corpus.visemes[version, chosen], said, nothing]),
            torch.cat([known, GUESS * heard, always]),
            torch.cat([known, 0 * heard, always]),
            torch.cat([known.expand(-1, -1, len(lips)), heard * lips, always.expand(-1, -1, len(lips))]),
        )


@torch.no_grad()
def settle(network: TalkingHeadNetwork, own: Teacher, held: Teacher) -> None:
    """Refit the mean of q(z|a) to what other weights make of the clips, but for what the mouth is read off.

    Legs that teach the mouth let the rest of z drift, eyes above all. It can still be told from the cells: by ridge
    regression on clips as they were recorded, with nothing heard before.

    Args:
        network: changed in place.
        own: of this network.
        held: of the weights whose z is wanted.
    """
    corpus = own.corpus
    inside = corpus.moments[0] >= 0
    cells = []
    for part in corpus.patches[0].split(32):
        codes = network.audio_encoder(part.float().flatten(0, 1)).unflatten(0, (len(part), -1))
        hidden, _ = network.audio_posterior.run(codes, network.audio_posterior.initial_state(len(part)))
        cells.append(hidden[:, LEAD:])
    x = torch.cat(cells)[inside].double()
    off = (held.mean - own.mean)[inside].double() / own.spread
    middle = x.mean(0)
    x = x - middle
    penalty = RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + penalty, x.T @ (off - off.mean(0)))
    mouth = own.readout.weight[: geometry.MOUTH_MEASURES].double() * own.spread
    basis, _ = torch.linalg.qr(mouth.T)
    elsewhere = (torch.eye(len(basis), dtype=torch.float64) - basis @ basis.T) * own.spread
    mean = network.audio_posterior.mean
    assert isinstance(mean, nn.Linear)
    mean.weight += (weights @ elsewhere).T.float()
    mean.bias += ((off.mean(0) - middle @ weights) @ elsewhere).float()
