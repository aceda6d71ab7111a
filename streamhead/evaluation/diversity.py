"""How much takes of one voice and one face differ, and where; and what stays the same: the words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamhead.errors import DataError
from streamhead.evaluation.evaluate import Scorer, code_digest
from streamhead.evaluation.figures import save, strip
from streamhead.evaluation.generate import generate
from streamhead.evaluation.landmark_metrics import blinks_per_minute
from streamhead.evaluation.plan import Condition, Model, Pair, Plan
from streamhead.evaluation.protocols import Protocol
from streamhead.evaluation.sync import correlation, detrend, find_landmarks, mouth_opening
from streamhead.evaluation.tables import estimate, write_texts
from streamhead.face.align import EYES, MOUTH, SIZE

__all__ = ["MEASURES", "REGIONS", "diversity", "draw_map", "markdown", "measure_takes", "spread", "summarise", "write"]

REGIONS: Final = {"face": (slice(0, SIZE), slice(0, SIZE)), "eyes": EYES, "mouth": MOUTH}
"""Where spread is measured."""

_BEST: Final = ("ssim", "psnr", "mouth_psnr")

MEASURES: Final = {
    **{
        f"{region}_{key}": f"{region}: {title}"
        for region in REGIONS
        for key, title in {
            "between_takes": "standard deviation between takes, grey levels",
            "over_time": "standard deviation over time within a take",
            "real_over_time": "standard deviation over time, real",
            "share": "between takes, share of real over time",
        }.items()
    },
    "opening_correlation": "mouth opening between takes, detrended correlation",
    "opening_correlation_raw": "the same, not detrended",
    "blinks": "blinks a minute",
    "real_blinks": "blinks a minute, real",
    **{f"{key}_{which}": f"{key}, {which} of the takes" for key in _BEST for which in ("mean", "best")},
}
"""What is measured of each clip, and its title."""


def spread(frames: NDArray[np.uint8], axis: int) -> float:
    """Root of the mean variance of pixels along an axis, grey levels of 255."""
    return float(np.sqrt(np.asarray(frames, np.float32).var(axis=axis).mean(dtype=np.float64)))


def measure_takes(
    takes: NDArray[np.uint8],
    points: Sequence[NDArray[np.float32]],
    real: NDArray[np.uint8],
    real_points: NDArray[np.float32],
    protocol: Protocol,
) -> dict[str, float | None]:
    """The measures of one clip.

    Args:
        takes: ``(N, T, 128, 128, 3)`` RGB, the first frame not among them; N is 2 or more.
        points: landmarks ``(T, 478, 2)`` found in each.
        real: ``(T, 128, 128, 3)``.
        real_points: its landmarks.
        protocol: of the scores of which the best is taken.

    Returns:
        By the keys of :data:`MEASURES`.
    """
    measured: dict[str, float | None] = {}
    for name, region in REGIONS.items():
        apart = spread(takes[:, :, *region], 0)
        moving = spread(real[:, *region], 0)
        measured[f"{name}_between_takes"] = apart
        measured[f"{name}_over_time"] = float(np.mean([spread(take[:, *region], 0) for take in takes]))
        measured[f"{name}_real_over_time"] = moving
        measured[f"{name}_share"] = apart / moving if moving else None
    openings = [mouth_opening(found) for found in points]
    pairs = list(combinations(openings, 2))
    measured["opening_correlation"] = _mean([correlation(detrend(a), detrend(b)) for a, b in pairs])
    measured["opening_correlation_raw"] = _mean([correlation(a, b) for a, b in pairs])
    measured["blinks"] = float(np.mean([blinks_per_minute(found) for found in points]))
    measured["real_blinks"] = blinks_per_minute(real_points)
    scores = [protocol.score(real, take) for take in takes]
    for key in _BEST:
        values = [score[key] for score in scores]
        measured[f"{key}_mean"], measured[f"{key}_best"] = float(np.mean(values)), float(np.max(values))
    return measured


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def diversity(
    pairs: Sequence[Pair],
    plan: Plan,
    takes: int,
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Draw takes of clips and measure them; what is done is kept in ``out``, so that a stopped run goes on from there.

    Args:
        pairs: the clips.
        plan: its models are measured, at the highest of its temperatures; seeds are the plan's and those after it.
        takes: how many of each clip, 2 or more.
        out: folder for finished clips (``clips``) and their maps (``maps``).
        progress: called with the number of clips done and their total.

    Returns:
        One line for each clip and model: ``talker``, ``clip``, ``system`` and the measures.

    Raises:
        DataError: there is no model, or a clip cannot be read.
        OutputError: ``out`` cannot be written.
    """
    models = [system for system in plan.systems if isinstance(system, Model)]
    temperature = max(plan.temperatures)
    if not models or not temperature:
        raise DataError("takes are drawn by a model at a temperature above 0; name one with --system")
    todo = [(pair, model) for pair in pairs for model in models]
    lines = []
    progress(0, len(todo))
    with Scorer(plan) as scorer:
        for done, (pair, model) in enumerate(todo, 1):
            line = _measured(scorer, pair, model, takes, temperature, out)
            lines.append({"talker": pair.clip.talker, "clip": pair.clip.name, "system": model.name, **line})
            progress(done, len(todo))
    return lines


def _measured(
    scorer: Scorer, pair: Pair, model: Model, count: int, temperature: float, out: Path
) -> dict[str, float | None]:
    clip, plan = pair.clip, scorer.plan
    name = f"{clip.talker}-{clip.name}-{model.name}"
    facts = [
        plan.protocols[0].name,
        plan.seed,
        model.sha256,
        count,
        temperature,
        str(clip.folder.resolve()),
        code_digest(),
    ]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    path = out / "clips" / f"{name}-{key}.json"
    if path.is_file():
        kept: dict[str, float | None] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    head = scorer.head(model, clip)
    takes = np.stack(
        [generate(head, clip, clip, seed=plan.seed + number, temperature=temperature)[1:] for number in range(count)]
    )
    points = [find_landmarks(take, scorer.finder) for take in takes]
    real = np.asarray(clip.frames)[1:]
    measured = measure_takes(takes, points, real, scorer.real_landmarks(clip), plan.protocols[0])
    save(out / "maps" / f"{name}.png", draw_map(takes, real))
    write_texts(path.parent, {path.name: json.dumps(measured, indent=1)})
    return measured


def draw_map(takes: NDArray[np.uint8], real: NDArray[np.uint8]) -> Image.Image:
    """Where takes differ: standard deviations as brightness, all on one scale.

    Args:
        takes: ``(N, T, 128, 128, 3)``.
        real: ``(T, 128, 128, 3)``.
    """
    maps = {
        "between takes": np.asarray(takes, np.float32).std(axis=0).mean(axis=(0, -1)),
        "over time": np.mean([np.asarray(take, np.float32).std(axis=0).mean(axis=-1) for take in takes], axis=0),
        "real, over time": np.asarray(real, np.float32).std(axis=0).mean(axis=-1),
    }
    white = max(float(values.max()) for values in maps.values())
    rows = {"real, face": real[:1]}
    for label, values in maps.items():
        grey = np.clip(values / max(white, 1e-6) * 255, 0, 255).astype(np.uint8)
        rows[f"{label}, white = {white:.0f}"] = np.repeat(grey[None, ..., None], 3, axis=-1)
    return strip(rows, [0], titles=[""])


def summarise(lines: Sequence[Mapping[str, Any]], plan: Plan, takes: int) -> list[dict[str, Any]]:
    """One row a system: each measure's mean over clips and its interval."""
    rows = []
    for system in plan.systems:
        own = [line for line in lines if line["system"] == system.name]
        if not own:
            continue
        row: dict[str, Any] = {
            "system": system.name,
            "takes": takes,
            "clips": len(own),
            "talkers": sorted({line["talker"] for line in own}),
            "temperature": max(plan.temperatures),
            **plan.facts(plan.protocols[0], Condition(system.name)),
        }
        for key in MEASURES:
            result = estimate([line[key] for line in own if line[key] is not None], seed=plan.seed)
            row[key], row[f"{key}_low"], row[f"{key}_high"] = result.value, result.low, result.high
        rows.append(row)
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The report as a Markdown document."""
    first = rows[0]
    lines = [
        "# Diversity",
        "",
        f"{first['takes']} takes of each of {first['clips']} clips ({', '.join(first['talkers'])}), temperature "
        f"{first['temperature']:g}, protocol {first['protocol']}, seeds {first['seed']} to "
        f"{first['seed'] + first['takes'] - 1}; best is the best of {first['takes']} takes, clip by clip. Brackets: "
        "95 % bootstrap interval over clips.",
        "",
        "| measure | " + " | ".join(f"{row['system']} ({(row['weights'] or '')[:12]})" for row in rows) + " |",
        "|---|" + "---:|" * len(rows),
    ]
    for key, title in MEASURES.items():
        cells = [_cell(row, key) for row in rows]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _cell(row: Mapping[str, Any], key: str) -> str:
    value, low, high = row[key], row[f"{key}_low"], row[f"{key}_high"]
    if value is None:
        return "-"
    digits = 3 if key.startswith("ssim") else 2
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"


def write(out: Path, rows: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write ``diversity.json`` and ``diversity.md``.

    Raises:
        OutputError: the folder cannot be written.
    """
    texts = {
        "diversity.json": json.dumps({"rows": rows, "clips": lines}, indent=1) + "\n",
        "diversity.md": markdown(rows),
    }
    return write_texts(out, texts)
