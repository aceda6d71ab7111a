"""Align the same clips by mediapipe and by dlib, and write how far the squares and the still row are apart.

python scripts/compare_aligners.py GRID --split split.json --clips 20 --work WORK --out docs/results/alignment.md

Needs streamhead[dlib,metrics]. Prepared clips are kept in WORK, so a run that was stopped goes on.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from streamhead.evaluation.generate import still
from streamhead.evaluation.protocols import STANDARD
from streamhead.evaluation.tables import estimate, write_texts
from streamhead.face.align import eye_centres
from streamhead.face.landmarks import LandmarkFinder
from streamhead.training.batches import Clip, read_clips
from streamhead.training.datasets.grid import find_clips, read_split
from streamhead.training.prepare import Aligner, prepare

ALIGNERS: tuple[Aligner, ...] = ("mediapipe", "dlib")


def main(
    source: Annotated[Path, typer.Argument(metavar="GRID", help="The corpus.")],
    split: Annotated[Path, typer.Option(help="JSON file of the splits.")],
    work: Annotated[Path, typer.Option(help="Folder for the clips, prepared twice.")],
    clips: Annotated[int, typer.Option(min=1, help="How many test clips, drawn with the seed.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw and the intervals.")] = 0,
    out: Annotated[Path, typer.Option(help="The report.")] = Path("docs/results/alignment.md"),
) -> None:
    """Compare the two aligners on the same test clips."""
    listed = [clip for clip in find_clips(source, read_split(split)) if clip.split == "test"]
    drawn = np.random.default_rng(seed).choice(len(listed), min(clips, len(listed)), replace=False)
    chosen = [listed[i] for i in sorted(drawn)]
    by_aligner: dict[str, dict[tuple[str, str], Clip]] = {}
    for aligner in ALIGNERS:
        report = prepare(chosen, work / aligner, aligner=aligner, progress=lambda done, of: print(f"{done}/{of}"))
        for name, reason in report.skipped:
            print(f"{aligner} skips {name}: {reason}")
        by_aligner[aligner] = {(clip.talker, clip.name): clip for clip in read_clips(work / aligner, "test")}
    both = sorted(set(by_aligner["mediapipe"]) & set(by_aligner["dlib"]))
    columns: dict[str, list[float]] = {}
    with LandmarkFinder(max_faces=1) as finder:
        for key in both:
            for name, value in _measure(*(by_aligner[aligner][key] for aligner in ALIGNERS), finder).items():
                columns.setdefault(name, []).append(value)
    write_texts(out.parent, {out.name: _report(columns, chosen, len(both), seed)})


def _measure(one: Clip, other: Clip, finder: LandmarkFinder) -> dict[str, float]:
    """One clip under both aligners; eyes are found afresh in both squares by the same finder."""
    frames = [np.asarray(clip.frames) for clip in (one, other)]
    apart = []
    for a, b in list(zip(*frames, strict=True))[::5]:
        found = [finder.find(np.ascontiguousarray(square)) for square in (a, b)]
        if all(found):
            apart.append(np.linalg.norm(eye_centres(found[0][0]) - eye_centres(found[1][0]), axis=1).mean())
    squares = STANDARD.score(frames[0], frames[1])
    scores = [STANDARD.score(real[1:], still(clip)[1:]) for clip, real in zip((one, other), frames, strict=True)]
    rows = {
        "eye centres apart, px": float(np.mean(apart)) if apart else float("nan"),
        "squares against each other, mean difference, grey levels": float(
            np.abs(frames[0].astype(np.float32) - frames[1]).mean()
        ),
        "squares against each other, SSIM": squares["ssim"],
    }
    for key in ("ssim", "psnr", "mouth_psnr"):
        for aligner, score in zip(ALIGNERS, scores, strict=True):
            rows[f"still row, {key}, {aligner}"] = score[key]
        rows[f"still row, {key}, dlib less mediapipe"] = scores[1][key] - scores[0][key]
    return rows


def _report(columns: dict[str, list[float]], chosen: list, count: int, seed: int) -> str:
    talkers = sorted({clip.talker for clip in chosen})
    lines = [
        "# mediapipe and dlib align the same clips",
        "",
        "    python scripts/compare_aligners.py GRID --split split.json --work WORK",
        "",
        f"Protocol standard, split test, {count} of {len(chosen)} clips of GRID ({', '.join(talkers)}) that both could "
        f"prepare, seed {seed}. Brackets: 95 % bootstrap interval over clips.",
        "",
        "| measure | mean | least | most |",
        "|---|---:|---:|---:|",
    ]
    for name, values in columns.items():
        known = [value for value in values if np.isfinite(value)]
        mean = estimate(known, seed=seed)
        interval = "" if mean.low is None else f" [{mean.low:.3f}, {mean.high:.3f}]"
        lines.append(f"| {name} | {mean.value:.3f}{interval} | {min(known):.3f} | {max(known):.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
