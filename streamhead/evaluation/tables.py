"""Tables: each talker apart, an interval beside each figure, and in every file what it was measured on."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy.stats import bootstrap

from streamhead.errors import OutputError
from streamhead.evaluation.evaluate import Scores
from streamhead.evaluation.plan import Condition, Model, Pair, Plan
from streamhead.evaluation.protocols import Protocol
from streamhead.stream.talking_head import COHERENCE

__all__ = [
    "EVERYBODY",
    "MEASURES",
    "Estimate",
    "Measure",
    "caption",
    "estimate",
    "latex",
    "markdown",
    "sections",
    "show",
    "summarise",
    "write",
    "write_texts",
]

Row = dict[str, Any]
"""One line of a table: what it is about, and for each measure its value and interval (``_low``, ``_high``)."""

_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Measure:
    """A column.

    Attributes:
        key: in a clip's scores.
        title: in tables.
        digits: after the point.
        statistic: over clips.
    """

    key: str
    title: str
    digits: int
    statistic: Literal["mean", "median"] = "mean"


_GROUPS: Final = {
    "picture": (
        Measure("ssim", "SSIM", 3),
        Measure("psnr", "PSNR", 2),
        Measure("eye_psnr", "eye PSNR", 2),
        Measure("cpbd", "CPBD", 3),
        Measure("lpips", "LPIPS", 3),
        Measure("identity", "identity distance", 2),
    ),
    "mouth": (
        Measure("mouth_ssim", "mouth SSIM", 3),
        Measure("mouth_psnr", "mouth PSNR", 2),
        Measure("mouth_sharpness", "mouth sharpness", 2),
        Measure("lmd", "LMD", 2),
    ),
    "lips": (
        Measure("correlation", "lip correlation", 2),
        Measure("raw_correlation", "not detrended", 2),
        Measure("std_ratio", "std ratio", 2),
        Measure("lag", "median lag", 0, "median"),
    ),
    "eyes": (
        Measure("blinks", "blinks/min", 1),
        Measure("real_blinks", "real", 1),
    ),
}
MEASURES: Final = tuple(measure for group in _GROUPS.values() for measure in group)
"""All columns."""

_EXPLAINED: Final = (
    "Lip correlation: opening of the mouth (inner lips over eye distance, landmarks found in the real and in the "
    "generated squares) less its 15-frame moving average; std ratio: generated over real; lag: frames by which the "
    "generated mouth comes late; mouth sharpness: variance of the Laplacian, generated over real; CPBD: share of edges "
    "whose blur is not noticed; LMD: distance of 20 mouth points after centring, pixels of the 128 px square; identity "
    "distance: of dlib's face embeddings, over 0.6 for somebody else. Brackets: 95 % bootstrap interval over clips."
)

EVERYBODY: Final = "all"
"""The talker in rows over all clips."""

_MOST_TALKERS: Final = 10  # in printed tables; LRW has a "talker" a word


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic over clips and its 95 % interval; None where no clip defines it, or too few do."""

    value: float | None
    low: float | None = None
    high: float | None = None


def estimate(values: Sequence[float], statistic: Literal["mean", "median"] = "mean", seed: int = 0) -> Estimate:
    """Statistic of one measure over clips with its percentile bootstrap interval; the same for the same seed."""
    if not values:
        return Estimate(None)
    function = np.mean if statistic == "mean" else np.median
    value = float(function(values))
    if len(values) == 1:
        return Estimate(value)
    interval = bootstrap(
        (np.asarray(values, np.float64),),
        function,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def summarise(pairs: Sequence[Pair], plan: Plan, scores: Sequence[Sequence[Scores | None]]) -> list[Row]:
    """Lines of the tables: for each talker and protocol, each condition.

    Args:
        pairs: the clips.
        plan: how they were scored.
        scores: what :func:`streamhead.evaluation.evaluate.evaluate` gave for them.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, pair in enumerate(pairs):
        groups[pair.clip.talker].append(index)
    if len(groups) > 1:
        groups[EVERYBODY] = list(range(len(pairs)))
    return [
        _row(talker, protocol, condition, [pairs[index] for index in indices], plan, known)
        for talker, indices in groups.items()
        for place, (protocol, condition) in enumerate(plan.rows)
        if (known := [one for index in indices if (one := scores[index][place]) is not None])
    ]


def _row(
    talker: str,
    protocol: Protocol,
    condition: Condition,
    pairs: Sequence[Pair],
    plan: Plan,
    known: Sequence[Scores],
) -> Row:
    row: Row = {
        "talker": talker,
        "row": condition.label,
        "system": condition.system,
        "temperature": condition.temperature,
        "audio": None if condition.temperature is None else "other" if condition.other_audio else "own",
        "split": pairs[0].clip.split,
        "clips": len(known),
        **plan.facts(protocol, condition),
    }
    for measure in MEASURES:
        values = [value for one in known if (value := one.get(measure.key)) is not None]
        result = estimate(values, measure.statistic, plan.seed)
        row[measure.key] = result.value
        row[f"{measure.key}_low"], row[f"{measure.key}_high"] = result.low, result.high
    row["faceless_frames"] = sum(int(one["faceless_frames"] or 0) for one in known)
    return row


def caption(rows: Sequence[Row], plan: Plan) -> str:
    """One line that says what a table was measured on."""
    parts = [f"split {rows[0]['split']}", f"protocol {', '.join(protocol.name for protocol in plan.protocols)}"]
    for system in plan.systems:
        if isinstance(system, Model):
            named = "weights" if system.name == system.preset else f"{system.name} = weights"
            parts.append(f"{named} {system.preset} {system.sha256[:12]}")
        else:
            parts.append(f"{system.name} = videos of {system.folder.name}")
    if any(isinstance(system, Model) for system in plan.systems):
        temperatures = ", ".join(f"{temperature:g}" for temperature in plan.temperatures)
        parts.append(f"temperature (T) {temperatures}, coherence {COHERENCE:g}")
    most = max(row["clips"] for row in rows if row["talker"] in (EVERYBODY, rows[0]["talker"]))
    parts.append(f"{most} clips (the paper: 256), seed {plan.seed}")
    return ", ".join(parts)


def _number(value: float | None, measure: Measure) -> str:
    # Adding 0 turns a rounded -0 into 0.
    return "-" if value is None else f"{round(value, measure.digits) + 0.0:.{measure.digits}f}"


def _interval(row: Row, measure: Measure) -> str:
    low, high = row[f"{measure.key}_low"], row[f"{measure.key}_high"]
    return "" if low is None or high is None else f"[{_number(low, measure)}, {_number(high, measure)}]"


def _tables(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each talker and protocol, or only those over all where there are many talkers; by their heading."""
    several = len({row["protocol"] for row in rows}) > 1
    alone = len({row["talker"] for row in rows}) > _MOST_TALKERS
    tables: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not alone or row["talker"] == EVERYBODY:
            tables[f"{row['talker']}, {row['protocol']}" if several else row["talker"]].append(row)
    return tables


def _wanted(keys: Sequence[str]) -> list[Measure]:
    return [measure for measure in MEASURES if not keys or measure.key in keys]


def _taken(rows: Sequence[Row], measures: Sequence[Measure] = MEASURES) -> list[Measure]:
    """The measures that any row has."""
    return [measure for measure in measures if any(row[measure.key] is not None for row in rows)]


def show(console: Console, rows: Sequence[Row], plan: Plan) -> None:
    """Print the tables."""
    for talker, own in _tables(rows).items():
        for name, group in _GROUPS.items():
            measures = _taken(rows, group)
            table = Table(box=SIMPLE_HEAD, pad_edge=False)
            table.add_column(f"{talker}: {name}")
            table.add_column("clips", justify="right")
            for measure in measures:
                table.add_column(measure.title, justify="right")
            for row in own:
                cells = [
                    Text.assemble(_number(row[measure.key], measure), "\n", (_interval(row, measure), "dim"))
                    for measure in measures
                ]
                # Cells have two lines anyway.
                table.add_row(row["row"].replace(", another", "\nanother"), str(row["clips"]), *cells)
            console.print(table)
    console.print(caption(rows, plan), style="dim", highlight=False)


def markdown(rows: Sequence[Row], plan: Plan) -> str:
    """The tables as a Markdown document."""
    return f"# Evaluation\n\n{caption(rows, plan)}.\n\n{sections(rows, plan)}"


def sections(rows: Sequence[Row], plan: Plan, keys: Sequence[str] = ()) -> str:
    """The tables in Markdown, each under its heading, and what protocols and columns mean.

    Args:
        rows: of :func:`summarise`.
        plan: how they were scored.
        keys: the measures wanted, none for all.
    """
    lines: list[str] = []
    measures = _taken(rows, _wanted(keys))
    for talker, own in _tables(rows).items():
        lines += [
            f"## {talker}",
            "",
            "| row | clips | " + " | ".join(measure.title for measure in measures) + " |",
            "|---|---:|" + "---:|" * len(measures),
        ]
        for row in own:
            cells = [f"{_number(row[m.key], m)} {_interval(row, m)}".rstrip() for m in measures]
            lines.append(f"| {row['row']} | {row['clips']} | " + " | ".join(cells) + " |")
        lines.append("")
    # The same frames stand in the rows of other protocols, and in those over all talkers.
    once = [row for row in rows if row["protocol"] == plan.protocols[0].name and row["talker"] == rows[-1]["talker"]]
    lost = sum(row["faceless_frames"] for row in once)
    for protocol in plan.protocols:
        lines += [f"Protocol {protocol.name}: {protocol.description}.", ""]
    lines += [_EXPLAINED, ""]
    lines += [f"Generated frames in which no face was found (bridged): {lost}.", ""]
    return "\n".join(lines)


_SPECIAL: Final = {"%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "$": r"\$"}


def _tex(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def latex(rows: Sequence[Row], plan: Plan, keys: Sequence[str] = ()) -> str:
    """The tables as LaTeX, one a talker and protocol, for the package ``booktabs``; ``keys`` as in :func:`sections`."""
    measures = _taken(rows, _wanted(keys))
    lines = ["% needs \\usepackage{booktabs}"]
    for talker, own in _tables(rows).items():
        lines += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(f'{talker}: {caption(rows, plan)}.')}}}",
            r"\begin{tabular}{lr" + "r" * len(measures) + "}",
            r"\toprule",
            " & ".join(["row", "clips", *(_tex(measure.title) for measure in measures)]) + r" \\",
            r"\midrule",
        ]
        for row in own:
            cells = [f"{_number(row[m.key], m)} {{\\scriptsize {_interval(row, m)}}}" for m in measures]
            lines.append(" & ".join([_tex(row["row"]), str(row["clips"]), *cells]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(out: Path, rows: Sequence[Row], plan: Plan) -> list[Path]:
    """Write ``table.json``, ``table.csv``, ``table.md`` and ``table.tex`` into a folder, made if missing.

    Raises:
        OutputError: the folder cannot be written.
    """
    texts = {
        "table.json": json.dumps({"caption": caption(rows, plan), "rows": list(rows)}, indent=1) + "\n",
        "table.csv": _csv(rows),
        "table.md": markdown(rows, plan),
        "table.tex": latex(rows, plan),
    }
    return write_texts(out, texts)


def write_texts(out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files into a folder, made if missing; each appears as a whole.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            fresh = out / f".{name}.new"
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, out / name)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    return [out / name for name in texts]
