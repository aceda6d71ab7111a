#!/usr/bin/env python3
"""Train the mouth gauge on prepared clips, and write its weights and what they reach.

    scripts/train_gauge.py PREPARED [--minutes 5] [--talkers s1,s4] [--out streamhead/weights/mouth-gauge.safetensors]

It learns the landmarks' distances from the picture, in the looks that the networks' own training draws; training clips
only. The table it prints is of the clips it has not seen: correlation over a clip, mean over clips.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor, nn

from streamhead.evaluation.sync import correlation, detrend
from streamhead.face.align import EYE_DISTANCE
from streamhead.model.mouth_gauge import GAUGED, MouthGauge
from streamhead.training.batches import Clip, read_clips
from streamhead.training.disguise import draw_disguise
from streamhead.training.geometry import distances
from streamhead.training.picture import draw_look

WEIGHTS: Final = Path(__file__).resolve().parent.parent / "streamhead" / "weights" / "mouth-gauge.safetensors"
FRAMES: Final = 6
"""Of a clip, in one look: what counts most is how they differ."""


def draw(clips: list[Clip], weights: NDArray[np.float64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Frames of some clip in some look ``(FRAMES, 3, 128, 128)``, and their measures."""
    clip = clips[int(rng.choice(len(clips), p=weights))]
    numbers = rng.integers(len(clip.frames), size=FRAMES)
    look = draw_look(rng)
    taken, points = np.asarray(clip.frames)[np.sort(numbers)], np.asarray(clip.landmarks)[np.sort(numbers)]
    if rng.random() < 0.5:
        taken = draw_disguise(rng).wear(taken, points)
    frames, points = look.apply(taken), look.carry(points)
    measures = distances(points)[:, : len(GAUGED)] / EYE_DISTANCE
    return torch.from_numpy(frames).movedim(-1, 1), torch.from_numpy(measures.astype(np.float32))


def report(gauge: MouthGauge, clips: list[Clip]) -> str:
    """Lines of a table, a talker each."""
    rows: dict[str, list[list[float]]] = {}
    for clip in clips:
        frames = torch.from_numpy(np.asarray(clip.frames)).movedim(-1, 1).float() / 255
        with torch.inference_mode():
            read = gauge(frames).numpy()
        real = distances(np.asarray(clip.landmarks)) / EYE_DISTANCE
        found = [correlation(detrend(real[:, k]), detrend(read[:, k])) for k in range(len(GAUGED))]
        spread = float(np.std(detrend(read[:, 0])) / np.std(detrend(real[:, 0])))
        rows.setdefault(clip.talker, []).append([*(np.nan if v is None else v for v in found), spread])
    head = f"| talker | clips | {' | '.join(GAUGED)} | inner lips, std ratio |\n|---|--:|--:|--:|--:|--:|"
    lines = (
        f"| {talker} | {len(values)} | " + " | ".join(f"{v:.2f}" for v in np.nanmean(values, 0)) + " |"
        for talker, values in sorted(rows.items())
    )
    return "\n".join((head, *lines))


def main(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `streamhead prepare`.")],
    out: Annotated[Path, typer.Option(help="Where the weights go.")] = WEIGHTS,
    minutes: Annotated[float, typer.Option(help="Of training.")] = 5.0,
    talkers: Annotated[str, typer.Option(help="Only these, separated by commas; empty: all.")] = "",
    seed: Annotated[int, typer.Option(help="Of the weights and of what is drawn.")] = 0,
) -> None:
    """Train the mouth gauge."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    chosen = frozenset(talkers.split(",")) if talkers else None
    clips = [clip for clip in read_clips(prepared, "train") if chosen is None or clip.talker in chosen]
    if not clips:
        raise SystemExit(f"error: {prepared} has no training clips of {talkers}; name talkers it has")
    count = {talker: sum(clip.talker == talker for clip in clips) for talker in {clip.talker for clip in clips}}
    weights = np.array([count[clip.talker] ** -0.5 for clip in clips])
    weights /= weights.sum()
    gauge = MouthGauge().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(gauge.parameters(), 1e-3)
    began = time.perf_counter()
    with Progress() as bar:
        task = bar.add_task("training", total=60 * minutes)
        while (spent := time.perf_counter() - began) < 60 * minutes:
            frames, measures = zip(*(draw(clips, weights, rng) for _ in range(16)), strict=True)
            error = (gauge(torch.cat(frames)) - torch.cat(measures)).unflatten(0, (-1, FRAMES))
            moved = error - error.mean(1, keepdim=True)
            loss = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.02)
            loss = loss + 3 * F.smooth_l1_loss(moved, torch.zeros_like(moved), beta=0.02)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(gauge.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent / (60 * minutes))))
            optimiser.step()
            bar.update(task, completed=spent, description=f"loss {float(loss.detach()):.5f}")
    gauge.eval()
    half = {name: value.detach().half().contiguous() for name, value in gauge.state_dict().items()}
    save_file(half, out, {"data": "GRID audio-visual sentence corpus, CC BY 4.0, Zenodo record 3625687"})
    print(report(gauge, [clip for clip in read_clips(prepared) if clip.split in ("val", "unseen")]))


if __name__ == "__main__":
    typer.run(main)
