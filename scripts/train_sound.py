#!/usr/bin/env python3
"""Train the sound's networks of some weights alone, without drawing a picture: minutes instead of hours.

    scripts/train_sound.py PREPARED --init call.safetensors --out heard.safetensors [--minutes 20]

What z means stays: where a measure of mouth or lids can be read off z, z is to follow the true measure; in all other
directions it is to be what the given weights make of the clean sound. So the rest of the network need not be trained
anew, and gains from some training (`streamhead train RECIPE --init heard.safetensors`). Where the given networks are of
other sizes than the preset's, they begin from scratch. Altered versions of every training clip's sound are made once
and kept in `--cache`, half of them faster or slower than it was said, the faces with it; other sounds are laid under
them, bands are left out and units dropped anew at every step. Where nobody speaks, but a crowd, music or a breath is
heard, z is to be what it is in silence.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import Progress, track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from streamhead.audio.features import extract
from streamhead.audio.features import patches as windows
from streamhead.audio.level import TARGET_DB
from streamhead.audio.resample import resample
from streamhead.errors import StreamheadError
from streamhead.evaluation.sync import correlation, detrend
from streamhead.model.checkpoint import Header, load_network, save_network
from streamhead.model.config import preset
from streamhead.model.families import build_network
from streamhead.model.network import TalkingHeadNetwork
from streamhead.timebase import HOP, SAMPLE_RATE
from streamhead.training import geometry
from streamhead.training.batches import BatchSource, Clip, read_clips
from streamhead.training.config import TrainingConfig, read_config
from streamhead.training.loop import natural_opening
from streamhead.training.run_folder import Ema
from streamhead.training.sound import nobody
from streamhead.training.trainee import detrended

RECIPE: Final = Path(__file__).resolve().parent / "recipes" / "call.toml"
LEAD: Final = 12
"""Most frames of silence before a clip; one that always heard as many would be lost in a stream's first frames."""
FRAMES: Final = 75
BABBLE: Final = 0.35
"""Share of clips with one to three others under them."""
ACCOMPANIED: Final = 0.3
"""Share of clips with music, breaths or a crowd under them."""
SNR: Final = (2.0, 22.0)
"""Decibels; of each of what lies under a clip."""
MASKED: Final = 0.4
"""Share of clips with bands left out, :data:`WIDEST` at most."""
WIDEST: Final = 6
DROPPED: Final = 0.1
"""Share of the codes' and of the cells' values."""
CLIPS: Final = 16
"""A step."""
RESTING: Final = 3
"""Clips of a step besides these in which nobody speaks: the face is to rest."""
HASTE: Final = 0.12
"""Logarithm of the most by which a clip is slowed down or hastened."""
TEACH: Final = 3.0
"""Weight of staying what z was, against reading the measures, both in units of their variance."""


@dataclass(frozen=True)
class Corpus:
    """Clips' sounds in some versions, and what the faces did.

    Attributes:
        patches: ``(V, N, LEAD + FRAMES, rows, dims)`` half precision; version 0 is the sound as it was recorded.
        measures: ``(V, N, FRAMES, 5)``, standardised.
        moments: ``(V, N, FRAMES)`` which frame of version 0 a frame corresponds to; -1 after the clip's end.
        unspoken: ``(M, LEAD + FRAMES, rows, dims)`` half precision; nobody speaks.
    """

    patches: Tensor
    measures: Tensor
    moments: Tensor
    unspoken: Tensor


def hasten(clip: Clip, factor: float) -> Clip:
    """The clip spoken ``factor`` times as fast, sound, face and gate alike; the voice goes up with it."""
    count = len(clip.frames)
    moments = np.arange(int(count / factor)) * factor
    below = np.minimum(moments.astype(int), count - 2)
    part = (moments - below)[:, None, None]
    landmarks = np.asarray(clip.landmarks)
    out = replace(clip)
    # What a clip would load when asked: these are found in its place.
    out.__dict__["landmarks"] = (1.0 - part) * landmarks[below] + part * landmarks[below + 1]
    out.__dict__["speech"] = clip.speech[np.minimum(np.rint(moments).astype(int), len(clip.speech) - 1)]
    out.__dict__["frames"] = np.broadcast_to(np.uint8(0), (len(moments), 0, 0, 3))
    out.__dict__["audio"] = resample(clip.audio, round(SAMPLE_RATE * factor), SAMPLE_RATE)
    return out


def gather(clips: list[Clip], plain: BatchSource, altered: BatchSource, versions: int, unspoken: int = 0) -> Corpus:
    """The corpus of these clips, and so many sounds without a talker."""
    spec = plain.spec
    shape = (versions, len(clips), FRAMES)
    measures, moments = np.zeros((*shape, 5), np.float32), np.full(shape, -1, np.int16)
    patches = np.zeros((versions, len(clips), LEAD + FRAMES, spec.rows, spec.dims), np.float16)
    for i, original in enumerate(track(clips, "sound")):
        for version in range(versions):
            rng = np.random.default_rng((7, i, version))
            # In a round number of samples a second, so that resampling is exact; half of the versions keep their pace.
            factor = round(160 * np.exp(rng.uniform(-HASTE, HASTE))) / 160 if version % 2 else 1.0
            clip = hasten(original, factor) if factor != 1.0 else original
            count = min(len(clip.frames), FRAMES)
            found = geometry.measure(np.asarray(clip.landmarks)[:count])
            measures[version, i, :count] = (found - altered.geometry_mean) / altered.geometry_std
            moments[version, i, :count] = np.minimum(np.rint(np.arange(count) * factor), len(original.frames) - 1)
            sound, _ = (altered if version else plain).sound(clip, -LEAD, LEAD + count, rng)
            patches[version, i, : len(sound)] = sound
    without = np.zeros((unspoken, LEAD + FRAMES, spec.rows, spec.dims), np.float16)
    for i in track(range(unspoken), "nobody speaks"):
        rng = np.random.default_rng((8, i))
        crowd = [clips[index] for index in rng.integers(len(clips), size=int(rng.integers(3, 7)))]
        voices = [clip.audio[np.repeat(clip.speech, HOP)[: len(clip.audio)].nonzero()[0]] for clip in crowd]
        sound = nobody((LEAD + FRAMES + 8) * HOP, rng, [voice for voice in voices if len(voice)])
        loud = np.float32(10 ** ((TARGET_DB + rng.normal(0.0, 5.0)) / 20))
        without[i] = windows(extract(sound * loud, spec), spec, 4, 4 + LEAD + FRAMES)
    return Corpus(*(torch.from_numpy(array) for array in (patches, measures, moments, without)))


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
    """Clips' patches ``(B, T, rows, dims)`` with other sounds under many and some bands gone from others."""
    out = patches.clone()

    def lay_under(chosen: NDArray[np.int64], sound: Tensor) -> None:
        # Rows are logarithms of power, and powers add up.
        below = torch.from_numpy(rng.uniform(*SNR, len(chosen)) * np.log(10.0) / 10.0).float()
        out[chosen] = torch.logaddexp(out[chosen], sound[:, : out.shape[1]] - below[:, None, None, None])

    chosen = np.flatnonzero(rng.random(len(out)) < BABBLE)
    if len(chosen):
        versions, clips = corpus.patches.shape[:2]
        crowd = torch.stack(
            [
                corpus.patches[rng.integers(versions, size=len(chosen)), rng.integers(clips, size=len(chosen))].roll(
                    int(rng.integers(LEAD + FRAMES)), 1
                )
                for _ in range(rng.integers(1, 4))
            ]
        )
        lay_under(chosen, crowd.float().logsumexp(0))
    chosen = np.flatnonzero(rng.random(len(out)) < ACCOMPANIED)
    if len(chosen):
        lay_under(chosen, corpus.unspoken[rng.integers(len(corpus.unspoken), size=len(chosen))].float())
    bands = out.shape[-1] - 1  # the last value is the energy
    for index in np.flatnonzero(rng.random(len(out)) < MASKED):
        width = int(rng.integers(1, WIDEST + 1))
        first = int(rng.integers(bands - width))
        out[index, :, :, first : first + width] = average[first : first + width]
    return out


def flickering(patches: Tensor, silence: Tensor, rng: np.random.Generator) -> Tensor:
    """Every other clip as a gate leaves it that opens and shuts at whim."""
    out = patches.clone()
    for index in np.flatnonzero(rng.random(len(out)) < 0.5):
        flips = rng.random(out.shape[1]) < rng.uniform(0.05, 0.3)
        out[index, torch.from_numpy(np.logical_xor.accumulate(flips))] = silence
    return out


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
    teacher: TalkingHeadNetwork,
    clips: list[Clip],
    corpus: Corpus,
    silence: Tensor,
    minutes: float,
    rate: float,
    plain_share: float,
    seed: int,
) -> nn.Linear:
    """Train in place, to the average over the steps; returns what reads the measures off z."""
    with torch.no_grad():
        parts = [hear(teacher, part) for part in corpus.patches[0].split(32)]
        aim, certainty = (torch.cat(values) for values in zip(*parts, strict=True))
        quiet = [part[:, -1:] for part in hear(teacher, silence.expand(1, LEAD + FRAMES, -1, -1))]
        inside = corpus.moments[0].flatten() >= 0
        z, y = aim.flatten(0, 1)[inside], corpus.measures[0].flatten(0, 1)[inside]
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
            start = network.audio_posterior.initial_state(CLIPS + RESTING)
            lead = int(rng.integers(LEAD + 1)) if rng.random() < 0.6 else 0
            sound = corpus.patches[version, chosen][:, LEAD - lead :].float()
            sound = disturbed(sound, corpus, network.audio_encoder.mean, rng)
            other = corpus.unspoken[rng.integers(len(corpus.unspoken), size=RESTING)][:, LEAD - lead :].float()
            sound = torch.cat([sound, flickering(other, silence, rng)])
            with torch.autocast("cpu", torch.bfloat16):
                codes = network.audio_encoder(sound.flatten(0, 1))
            codes = functional.dropout(codes.float().unflatten(0, (CLIPS + RESTING, -1)), DROPPED)
            hidden, _ = network.audio_posterior.run(codes, start)
            hidden = functional.dropout(hidden, DROPPED)
            mean, logvar = network.audio_posterior.mean(hidden), network.audio_posterior.logvar(hidden)  # type: ignore[misc]
            mean, logvar, hidden = mean[:, lead:], logvar[:, lead:], hidden[:, lead:]
            moments = corpus.moments[version, chosen].long()
            known = (moments >= 0).float()[..., None]
            before = moments.clamp(min=0)[..., None]
            wanted, sure = (
                torch.cat(
                    [values[chosen].gather(1, before.expand(-1, -1, values.shape[2])), rest.expand(RESTING, FRAMES, -1)]
                )
                for values, rest in zip((aim, certainty), quiet, strict=True)
            )
            measures = torch.cat([corpus.measures[version, chosen], readout(quiet[0]).expand(RESTING, FRAMES, -1)])
            known = torch.cat([known, known.new_ones(RESTING, FRAMES, 1)])
            loss = torch.zeros(())
            for read in (readout(mean), free(hidden)):
                error = (read - measures) * known
                syllables = detrended(error[..., : geometry.MOUTH_MEASURES])
                loss = loss + error.square().mean() + 2 * syllables.square().mean()
            off = (mean - wanted) / spread * known
            loss = loss + TEACH * (off @ elsewhere).square().mean()
            loss = loss + 0.2 * TEACH * ((logvar - sure) * known).square().mean()
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
    unspoken: Annotated[int, typer.Option(help="Sounds in which nobody speaks.", min=1)] = 1500,
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
    network, teacher, header = prepared_network(init)
    config = read_config(RECIPE, prepared=prepared).model_copy(update={"network": preset("call")})
    plain, altered = _sources(config)
    if cache is not None and cache.is_file():
        corpus = Corpus(**load_file(cache))
    else:
        corpus = gather(altered.clips, plain, altered, versions, unspoken)
        if cache is not None:
            fields = ("patches", "measures", "moments", "unspoken")
            save_file({name: getattr(corpus, name) for name in fields}, cache)
    if header.network != teacher.config:
        network.audio_encoder.mean, network.audio_encoder.scale = altered.feature_statistics()
    silence = torch.from_numpy(plain.spec.silence_patch())
    readout = train(network, teacher, altered.clips, corpus, silence, minutes, rate, plain_share, seed)
    state = network.state_dict()
    others = [load_network(path, "call")[0].state_dict() for path in mean_with or ()]
    for name in [name for name in state if name.startswith("audio_")]:
        state[name] = torch.stack([part[name].float() for part in (state, *others)]).mean(0)
    network.load_state_dict(state)
    # How far the known faces open their mouths has changed with what they are told.
    opening = natural_opening(network.eval(), config)
    save_network(out, state, header.model_copy(update={"natural_opening": opening}))
    held_out = read_clips(prepared, "val")
    print(report(network.eval(), readout, gather(held_out, plain, plain, 1), held_out))


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamheadError as error:
        raise SystemExit(f"error: {error}") from error
