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
do for their sounds what it does, on average, for the same sounds in the clips, lips are to meet on p, b and m, and the
cells are to tell what sound it is. What was lost of z off the mouth is brought back by `--hold-to`. Losses and held-out
scores go into a CSV file beside the weights.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from rich.progress import Progress
from sound_corpus import FOREIGN, LEAD, VOICES, Corpus, gather
from sound_lessons import Teacher, settle
from torch import nn
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
from streamhead.training.visemes import VISEMES

RECIPE: Final = Path(__file__).resolve().parent / "recipes" / "call.toml"
DROPPED: Final = 0.1
"""Share of the codes' and of the cells' values."""
CLIPS: Final = 16
"""A step."""
CARRIED: Final = 0.75
"""Share of a step's sequences that go on from the state in which another one of the step before has ended.

A call is no clip: whoever spoke, whatever was heard before, and however long, the mouth is to follow what is said now.
"""
TEACH: Final = 3.0
"""Weight of staying what z was, against reading the measures, both in units of their variance."""
SOUNDS: Final = 0.5
"""Weight of naming the visemes, which is what words never heard before are made of."""
LOGGED_EVERY: Final = 50
CHECKED_EVERY: Final = 250
"""Steps."""


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
    hold_to: Annotated[
        Path | None,
        typer.Option(help="Weights whose z is wanted in the end, but for the mouth (`sound_lessons.settle`)."),
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
    if hold_to is not None:
        wanted, _ = load_network(hold_to, "call")
        assert isinstance(wanted, TalkingHeadNetwork)
        settle(network, Teacher(network, corpus, silence), Teacher(wanted, corpus, silence))
        state = network.state_dict()
    # How far the known faces open their mouths has changed with what they are told.
    opening = natural_opening(network.eval(), config)
    save_network(out, state, header.model_copy(update={"natural_opening": opening}))
    print(check(network))


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamheadError as error:
        raise SystemExit(f"error: {error}") from error
