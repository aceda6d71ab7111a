#!/usr/bin/env python3
"""Train the sound's networks of some weights alone, without drawing a picture: minutes instead of hours.

    scripts/train_sound.py PREPARED --init call.safetensors --out heard.safetensors [--minutes 20]

What z means stays: where a measure of mouth or lids can be read off z, z is to follow the true measure; in all other
directions it is to be what the given weights make of the clean sound. So the rest of the network need not be trained
anew, and gains from some training (`streamhead train RECIPE --init heard.safetensors`). Where the given networks are of
other sizes than the preset's, they begin from scratch. Altered versions of every training clip's sound are made once
and kept in `--cache`; other talkers are laid under them, bands are left out and units dropped anew at every step.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from rich.progress import Progress, track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from streamhead.errors import StreamheadError
from streamhead.evaluation.sync import correlation, detrend
from streamhead.model.checkpoint import Header, load_network, save_network
from streamhead.model.config import preset
from streamhead.model.families import build_network
from streamhead.model.network import TalkingHeadNetwork
from streamhead.training import geometry
from streamhead.training.batches import BatchSource, Clip, read_clips
from streamhead.training.config import TrainingConfig, read_config
from streamhead.training.run_folder import Ema
from streamhead.training.trainee import detrended

RECIPE: Final = Path(__file__).resolve().parent / "recipes" / "call.toml"
LEAD: Final = 12
"""Most frames of silence before a clip; one that always heard as many would be lost in a stream's first frames."""
FRAMES: Final = 75
BABBLE: Final = 0.35
"""Share of clips with one to three others under them."""
SNR: Final = (2.0, 22.0)
"""Decibels; of each of the others."""
MASKED: Final = 0.4
"""Share of clips with bands left out, :data:`WIDEST` at most."""
WIDEST: Final = 6
DROPPED: Final = 0.1
"""Share of the codes' and of the cells' values."""
CLIPS: Final = 16
"""A step."""
TEACH: Final = 3.0
"""Weight of staying what z was, against reading the measures, both in units of their variance."""


@dataclass(frozen=True)
class Corpus:
    """Clips' sounds in some versions, and what the faces did.

    Attributes:
        patches: ``(V, N, LEAD + FRAMES, rows, dims)`` half precision; version 0 is the sound as it was recorded.
        measures: ``(N, FRAMES, 5)``, standardised.
        known: ``(N, FRAMES)`` 1 within a clip, 0 after its end.
    """

    patches: Tensor
    measures: Tensor
    known: Tensor


def gather(clips: list[Clip], plain: BatchSource, altered: BatchSource, versions: int) -> Corpus:
    """The corpus of these clips."""
    measures, known = np.zeros((len(clips), FRAMES, 5), np.float32), np.zeros((len(clips), FRAMES), np.float32)
    patches: Any = None
    for i, clip in enumerate(track(clips, "sound")):
        count = min(len(clip.frames), FRAMES)
        found = geometry.measure(np.asarray(clip.landmarks)[:count])
        measures[i, :count], known[i, :count] = (found - altered.geometry_mean) / altered.geometry_std, 1.0
        for version in range(versions):
            source = altered if version else plain
            sound, _ = source.sound(clip, -LEAD, LEAD + count, np.random.default_rng((7, i, version)))
            if patches is None:
                patches = np.zeros((versions, len(clips), LEAD + FRAMES, *sound.shape[1:]), np.float16)
            patches[version, i, : len(sound)] = sound
    return Corpus(torch.from_numpy(patches), torch.from_numpy(measures), torch.from_numpy(known))


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


def disturbed(patches: Tensor, corpus: Corpus, average: Tensor, rng: np.random.Generator) -> Tensor:
    """Clips' patches ``(B, T, rows, dims)`` with other talkers under every third and some bands gone from others."""
    out = patches.float().clone()
    chosen = np.flatnonzero(rng.random(len(out)) < BABBLE)
    if len(chosen):
        versions, clips = corpus.patches.shape[:2]
        crowd = torch.stack(
            [
                corpus.patches[rng.integers(versions, size=len(chosen)), rng.integers(clips, size=len(chosen))].roll(
                    int(rng.integers(LEAD + FRAMES)), 1
                )[:, : out.shape[1]]
                for _ in range(rng.integers(1, 4))
            ]
        )
        # Rows are logarithms of power, and powers add up.
        below = torch.from_numpy(rng.uniform(*SNR, len(chosen)) * np.log(10.0) / 10.0).float()
        crowd = crowd.float().logsumexp(0) - below[:, None, None, None]
        out[chosen] = torch.logaddexp(out[chosen], crowd)
    bands = out.shape[-1] - 1  # the last value is the energy
    for index in np.flatnonzero(rng.random(len(out)) < MASKED):
        width = int(rng.integers(1, WIDEST + 1))
        first = int(rng.integers(bands - width))
        out[index, :, :, first : first + width] = average[first : first + width]
    return out


def report(network: TalkingHeadNetwork, readout: nn.Linear, corpus: Corpus, clips: list[Clip]) -> dict[str, float]:
    """Correlation of the inner lips' opening with what is read off z, mean over each talker's clips."""
    with torch.inference_mode():
        sound = corpus.patches[0, :, LEAD:].float()
        read = readout(network.listen(sound, network.audio_posterior.initial_state(len(sound)))[0].mean)[..., 0].numpy()
    rows: dict[str, list[float]] = {}
    for i, clip in enumerate(clips):
        count = int(corpus.known[i].sum())
        found = correlation(detrend(corpus.measures[i, :count, 0].numpy()), detrend(read[i, :count]))
        rows.setdefault(clip.talker, []).append(found or 0.0)
    return {talker: round(float(np.mean(values)), 3) for talker, values in rows.items()}


def train(
    network: TalkingHeadNetwork,
    teacher: TalkingHeadNetwork,
    clips: list[Clip],
    corpus: Corpus,
    minutes: float,
    rate: float,
    plain_share: float,
    seed: int,
) -> nn.Linear:
    """Train in place, to the average over the steps; returns what reads the measures off z."""
    with torch.no_grad():
        parts = [hear(teacher, part) for part in corpus.patches[0].split(32)]
        aim, certainty = (torch.cat(values) for values in zip(*parts, strict=True))
        inside = corpus.known.flatten() > 0
        z, y = aim.flatten(0, 1)[inside], corpus.measures.flatten(0, 1)[inside]
        middle, spread = z.mean(0), z.std(0) + 1e-4
        white = (z - middle) / spread
        ridge = white.T @ white + 1e-2 * len(white) * torch.eye(white.shape[1])
        weights = torch.linalg.solve(ridge, white.T @ (y - y.mean(0)))
        basis, _ = torch.linalg.qr(weights)
        elsewhere = torch.eye(len(weights)) - basis @ basis.T
        readout = nn.Linear(len(weights), y.shape[1]).requires_grad_(False)
        readout.weight.copy_((weights / spread[:, None]).T)
        readout.bias.copy_(y.mean(0) - (middle / spread) @ weights)
    free = nn.Linear(network.audio_posterior.hidden, y.shape[1])
    parameters = [*network.audio_encoder.parameters(), *network.audio_posterior.parameters(), *free.parameters()]
    optimiser = torch.optim.Adam(parameters, rate, betas=(0.9, 0.99))
    ema = Ema(network, 0.998)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    count = {talker: sum(clip.talker == talker for clip in clips) for talker in {clip.talker for clip in clips}}
    share = np.array([count[clip.talker] ** -0.5 for clip in clips])
    share /= share.sum()
    began, step = time.perf_counter(), 0
    with Progress() as bar:
        task = bar.add_task("training", total=60 * minutes)
        while (spent := time.perf_counter() - began) < 60 * minutes:
            chosen = torch.from_numpy(rng.choice(len(clips), CLIPS, p=share))
            version = rng.integers(len(corpus.patches), size=CLIPS)
            version = torch.from_numpy(np.where(rng.random(CLIPS) < plain_share, 0, version))
            start = network.audio_posterior.initial_state(CLIPS)
            lead = int(rng.integers(LEAD + 1)) if rng.random() < 0.6 else 0
            sound = corpus.patches[version, chosen][:, LEAD - lead :]
            sound = disturbed(sound, corpus, network.audio_encoder.mean, rng)
            with torch.autocast("cpu", torch.bfloat16):
                codes = network.audio_encoder(sound.flatten(0, 1))
            codes = functional.dropout(codes.float().unflatten(0, (CLIPS, -1)), DROPPED)
            hidden, _ = network.audio_posterior.run(codes, start)
            hidden = functional.dropout(hidden, DROPPED)
            mean, logvar = network.audio_posterior.mean(hidden), network.audio_posterior.logvar(hidden)  # type: ignore[misc]
            mean, logvar, hidden = mean[:, lead:], logvar[:, lead:], hidden[:, lead:]
            known, measures = corpus.known[chosen][..., None], corpus.measures[chosen]
            loss = torch.zeros(())
            for read in (readout(mean), free(hidden)):
                error = (read - measures) * known
                syllables = detrended(error[..., : geometry.MOUTH_MEASURES])
                loss = loss + error.square().mean() + 2 * syllables.square().mean()
            off = (mean - aim[chosen]) / spread * known
            loss = loss + TEACH * (off @ elsewhere).square().mean()
            loss = loss + 0.2 * TEACH * ((logvar - certainty[chosen]) * known).square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for group in optimiser.param_groups:
                fall = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * spent / (60 * minutes)))
                group["lr"] = rate * fall * min(1.0, (step + 1) / 100)
            optimiser.step()
            ema.update(network, step)
            step += 1
            bar.update(task, completed=spent, description=f"step {step}, loss {float(loss.detach()):.3f}")
    network.load_state_dict(ema.values)
    return readout


def _sources(config: TrainingConfig) -> tuple[BatchSource, BatchSource]:
    quiet = config.data.model_copy(update={"augment_sound": False})
    return BatchSource(config.model_copy(update={"data": quiet})), BatchSource(config)


def main(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `streamhead prepare`.")],
    init: Annotated[Path, typer.Option(help="Weights to begin with, and to learn from.")],
    out: Annotated[Path, typer.Option(help="Where the weights go.")],
    cache: Annotated[Path | None, typer.Option(help="Keeps the altered sound between runs.")] = None,
    versions: Annotated[int, typer.Option(help="Of each clip's sound.", min=1)] = 12,
    minutes: Annotated[float, typer.Option(help="Of training.")] = 20.0,
    rate: Annotated[float, typer.Option(help="Of learning, at its highest.")] = 1e-3,
    plain_share: Annotated[float, typer.Option(help="Of clips heard as recorded, besides those drawn.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the weights and of what is drawn.")] = 0,
) -> None:
    """Train the sound's networks alone."""
    torch.manual_seed(seed)
    network, teacher, header = prepared_network(init)
    config = read_config(RECIPE, prepared=prepared).model_copy(update={"network": preset("call")})
    plain, altered = _sources(config)
    if cache is not None and cache.is_file():
        corpus = Corpus(**load_file(cache))
    else:
        corpus = gather(altered.clips, plain, altered, versions)
        if cache is not None:
            save_file({name: getattr(corpus, name) for name in ("patches", "measures", "known")}, cache)
    if header.network != teacher.config:
        network.audio_encoder.mean, network.audio_encoder.scale = altered.feature_statistics()
    readout = train(network, teacher, altered.clips, corpus, minutes, rate, plain_share, seed)
    save_network(out, network.state_dict(), header)
    held_out = read_clips(prepared, "val")
    print(report(network.eval(), readout, gather(held_out, plain, plain, 1), held_out))


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamheadError as error:
        raise SystemExit(f"error: {error}") from error
