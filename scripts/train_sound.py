#!/usr/bin/env python3
"""Train the sound's networks of some weights alone, without drawing a picture: minutes instead of hours.

    scripts/train_sound.py PREPARED --init call.safetensors --out heard.safetensors [--minutes 20]

What z means stays: where a measure of mouth or lids can be read off z, z is to follow the true measure; in all other
directions it is to be what the given weights make of the clean sound. So the rest of the network need not be trained
anew, and gains from some training (`streamhead train RECIPE --init heard.safetensors`). Where the given networks are
of other sizes than the preset's, they begin from scratch. Altered versions of every training clip's sound are made
once and kept in `--cache`, half of them faster or slower than it was said, the faces with it; other sounds are laid
under them, bands are left out and units dropped anew at every step. Where nobody speaks, but a crowd, music or a
breath is heard, z is to be what it is in silence. Most sequences go on where another has ended, for nobody's call
begins with every sentence. The clips hold 51 words; so that others are understood, too,
synthetic voices say everyday sentences and meaningless ones in other languages (`sound_corpus.py`), the mouth is to
do for their sounds what it does, on average, for the same sounds in the clips, and the cells are to tell what sound
it is.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from rich.progress import Progress
from sound_corpus import FOREIGN, FRAMES, LEAD, VOICES, Corpus, gather
from sound_disturbed import crowds, disturbed, flickering
from torch import Tensor, nn
from torch.nn import functional

from streamhead.errors import StreamheadError
from streamhead.evaluation.sync import correlation, detrend
from streamhead.model.checkpoint import Header, load_network, save_network
from streamhead.model.config import preset
from streamhead.model.families import build_network
from streamhead.model.gaussian_lstm import LSTMState
from streamhead.model.network import TalkingHeadNetwork
from streamhead.training import geometry
from streamhead.training.batches import BatchSource, Clip, read_clips
from streamhead.training.config import TrainingConfig, read_config
from streamhead.training.log import Log
from streamhead.training.loop import natural_opening
from streamhead.training.run_folder import Ema
from streamhead.training.trainee import detrended
from streamhead.training.visemes import VISEMES, VisemeModel

RECIPE: Final = Path(__file__).resolve().parent / "recipes" / "call.toml"
DROPPED: Final = 0.1
"""Share of the codes' and of the cells' values."""
CLIPS: Final = 16
"""A step."""
RESTING: Final = 3
"""Sounds of a step besides these in which nobody speaks: the face is to rest."""
CROWDS: Final = 2
"""The same, in which many speak at once."""
SPOKEN: Final = 10
"""Synthetic sentences of a step besides these."""
CARRIED: Final = 0.75
"""Share of a step's sequences that go on from the state in which another one of the step before has ended.

A call is no clip: whoever spoke, whatever was heard before, and however long, the mouth is to follow what is said now.
"""
TEACH: Final = 3.0
"""Weight of staying what z was, against reading the measures, both in units of their variance."""
GUESS: Final = 0.3
"""Of that where what z was is only guessed, from the sounds of synthetic speech."""
SHUT: Final = 0.05
"""Share of the clips' frames in which inner lips are closer than they are said to be at p, b and m."""
SOUNDS: Final = 0.5
"""Weight of naming the visemes, which is what words never heard before are made of."""


LOGGED_EVERY: Final = 50
CHECKED_EVERY: Final = 250
"""Steps."""


def hear(network: TalkingHeadNetwork, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance of q(z|a), each ``(N, FRAMES, z)``."""
    q, _ = network.listen(patches.float(), network.audio_posterior.initial_state(len(patches)))
    return q.mean[:, LEAD:], q.logvar[:, LEAD:]


def prepared_network(init: Path) -> tuple[TalkingHeadNetwork, TalkingHeadNetwork, Header]:
    """The network to train, the one it learns from, and the header of the weights they come from."""
    teacher, header = load_network(init, "call")
    wanted = preset("call")
    sizes = {"audio_channels": wanted.audio_channels, "audio_hidden_size": wanted.audio_hidden_size}
    config = header.network.model_copy(update=sizes)
    network = build_network(config)
    assert isinstance(network, TalkingHeadNetwork) and isinstance(teacher, TalkingHeadNetwork)
    network.initialise()
    kept = {
        name: value
        for name, value in teacher.state_dict().items()
        if config == header.network or not name.startswith("audio_")
    }
    network.load_state_dict(kept, strict=False)
    return network, teacher, header.model_copy(update={"network": config})


def carried(ended: LSTMState | None, start: LSTMState, rng: np.random.Generator) -> LSTMState:
    """States to begin with: some are as they were, the others are those in which something else has ended."""
    if ended is None:
        return start
    goes_on = torch.from_numpy(rng.random(len(start.hidden)) < CARRIED)[:, None, None]
    order = torch.from_numpy(rng.permutation(len(ended.hidden)))
    return LSTMState(
        torch.where(goes_on, ended.hidden[order].detach(), start.hidden),
        torch.where(goes_on, ended.cell[order].detach(), start.cell),
    )


def report(network: TalkingHeadNetwork, readout: nn.Linear, corpus: Corpus, clips: list[Clip]) -> dict[str, float]:
    """Correlation of the inner lips' opening with what is read off z, mean over each talker's clips."""
    with torch.inference_mode():
        sound = corpus.patches[0, :, LEAD:].float()
        read = readout(network.listen(sound, network.audio_posterior.initial_state(len(sound)))[0].mean)[..., 0].numpy()
    rows: dict[str, list[float]] = {}
    for i, clip in enumerate(clips):
        count = int((corpus.moments[0, i] >= 0).sum())
        found = correlation(detrend(corpus.measures[0, i, :count, 0].numpy()), detrend(read[i, :count]))
        rows.setdefault(clip.talker, []).append(found or 0.0)
    return {talker: round(float(np.mean(values)), 3) for talker, values in rows.items()}


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


def train(
    network: TalkingHeadNetwork,
    teacher: Teacher,
    clips: list[Clip],
    minutes: float,
    rate: float,
    plain_share: float,
    seed: int,
    log: Log,
    check: Callable[[TalkingHeadNetwork], dict[str, float]],
) -> None:
    """Train in place, to the average over the steps; how that does at ``check`` is logged on the way."""
    corpus = teacher.corpus
    free = nn.Linear(network.audio_posterior.hidden, corpus.measures.shape[-1])
    sounds = nn.Linear(network.audio_posterior.hidden, len(VISEMES))
    parts = (network.audio_encoder, network.audio_posterior, free, sounds)
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimiser = torch.optim.Adam(parameters, rate, betas=(0.9, 0.99))
    ema = Ema(network, 0.998)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    count = {talker: sum(clip.talker == talker for clip in clips) for talker in {clip.talker for clip in clips}}
    share = np.array([count[clip.talker] ** -0.5 for clip in clips])
    share /= share.sum()
    began, step = time.perf_counter(), 0
    average = copy.deepcopy(network)
    ended: LSTMState | None = None
    with Progress() as bar:
        task = bar.add_task("training", total=60 * minutes)
        while (spent := time.perf_counter() - began) < 60 * minutes:
            chosen = torch.from_numpy(rng.choice(len(clips), CLIPS, p=share))
            version = rng.integers(len(corpus.patches), size=CLIPS)
            version = torch.from_numpy(np.where(rng.random(CLIPS) < plain_share, 0, version))
            lead = int(rng.integers(LEAD + 1)) if rng.random() < 0.6 else 0
            lesson = teacher.lesson(chosen, version, lead, network.audio_encoder.mean, rng)
            size = len(lesson.sound)
            with torch.autocast("cpu", torch.bfloat16):
                codes = network.audio_encoder(lesson.sound.flatten(0, 1))
            codes = functional.dropout(codes.float().unflatten(0, (size, -1)), DROPPED)
            start = carried(ended, network.audio_posterior.initial_state(size), rng)
            hidden, ended = network.audio_posterior.run(codes, start)
            hidden = functional.dropout(hidden[:, lead:], DROPPED)
            mean, logvar = network.audio_posterior.mean(hidden), network.audio_posterior.logvar(hidden)  # type: ignore[misc]
            off = (mean - lesson.mean) / teacher.spread @ teacher.elsewhere
            losses = {
                "visemes": -SOUNDS * (lesson.visemes * sounds(hidden).log_softmax(-1)).sum(-1).mean(),
                "z": TEACH * (lesson.sure_of_z * off.square()).mean(),
                "log variance": 0.2 * TEACH * (lesson.sure_of_logvar * (logvar - lesson.logvar).square()).mean(),
            }
            for name, read in {"measures off z": teacher.readout(mean), "measures off cells": free(hidden)}.items():
                error = (read - lesson.measures) * lesson.sure_of_measures
                syllables = detrended(error[..., : geometry.MOUTH_MEASURES])
                losses[name] = error.square().mean() + 2 * syllables.square().mean()
            loss = torch.stack(list(losses.values())).sum()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for group in optimiser.param_groups:
                fall = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * spent / (60 * minutes)))
                group["lr"] = rate * fall * min(1.0, (step + 1) / 100)
            optimiser.step()
            ema.update(network, step)
            step += 1
            for name, value in losses.items():
                log.add(name, float(value.detach()))
            if step % LOGGED_EVERY == 0:
                if step % CHECKED_EVERY == 0:
                    average.load_state_dict(ema.values)
                    for name, value in check(average.eval()).items():
                        log.add(f"val {name}", value)
                log.write(step)
            bar.update(task, completed=spent, description=f"step {step}, loss {float(loss.detach()):.3f}")
    network.load_state_dict(ema.values)


def _sources(config: TrainingConfig) -> tuple[BatchSource, BatchSource]:
    quiet = config.data.model_copy(update={"augment_sound": False})
    return BatchSource(config.model_copy(update={"data": quiet})), BatchSource(config)


def main(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `streamhead prepare`.")],
    init: Annotated[Path, typer.Option(help="Weights to begin with, and to learn from.")],
    out: Annotated[Path, typer.Option(help="Where the weights go.")],
    cache: Annotated[Path | None, typer.Option(help="Keeps the altered sound between runs.")] = None,
    versions: Annotated[int, typer.Option(help="Of each clip's sound.", min=1)] = 12,
    unspoken: Annotated[int, typer.Option(help="Sounds in which nobody speaks.", min=1)] = 1500,
    voices: Annotated[str, typer.Option(help="Synthetic ones, ENGINE:VOICE,...; none if empty.")] = ",".join(
        [*VOICES, *FOREIGN]
    ),
    sentences: Annotated[int, typer.Option(help="That each of them says.", min=0)] = 150,
    minutes: Annotated[float, typer.Option(help="Of training.")] = 20.0,
    rate: Annotated[float, typer.Option(help="Of learning, at its highest.")] = 1e-3,
    plain_share: Annotated[float, typer.Option(help="Of clips heard as recorded, besides those drawn.")] = 0.0,
    mean_with: Annotated[
        list[Path] | None, typer.Option(help="Other weights; the mean of their networks and what was trained is kept.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and of what is drawn.")] = 0,
) -> None:
    """Train the sound's networks alone."""
    torch.manual_seed(seed)
    network, learnt_from, header = prepared_network(init)
    config = read_config(RECIPE, prepared=prepared).model_copy(update={"network": preset("call")})
    plain, altered = _sources(config)
    if cache is not None and cache.is_file():
        corpus = Corpus.read(cache)
    else:
        spoken = tuple(voice for voice in voices.split(",") if voice)
        corpus = gather(altered.clips, plain, altered, versions, unspoken, spoken, sentences)
        if cache is not None:
            corpus.write(cache)
    if header.network != learnt_from.config:
        network.audio_encoder.mean, network.audio_encoder.scale = altered.feature_statistics()
    silence = torch.from_numpy(plain.spec.silence_patch())
    teacher = Teacher(learnt_from, corpus, silence)
    held_out = read_clips(prepared, "val")
    held_out_sound = gather(held_out, plain, plain, 1)

    def check(trained: TalkingHeadNetwork) -> dict[str, float]:
        return report(trained, teacher.readout, held_out_sound, held_out)

    (log := out.with_suffix(".csv")).unlink(missing_ok=True)
    train(network, teacher, altered.clips, minutes, rate, plain_share, seed, Log(log), check)
    state = network.state_dict()
    others = [load_network(path, "call")[0].state_dict() for path in mean_with or ()]
    for name in [name for name in state if name.startswith("audio_")]:
        state[name] = torch.stack([part[name].float() for part in (state, *others)]).mean(0)
    network.load_state_dict(state)
    # How far the known faces open their mouths has changed with what they are told.
    opening = natural_opening(network.eval(), config)
    save_network(out, state, header.model_copy(update={"natural_opening": opening}))
    print(check(network))


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamheadError as error:
        raise SystemExit(f"error: {error}") from error
