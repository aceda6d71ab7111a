"""Table 2: what raters think of each system, with intervals, and how far they agree."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamhead.errors import DataError
from streamhead.evaluation.tables import estimate, write_texts
from streamhead.study.plan import Study
from streamhead.study.store import Rating

__all__ = ["SCALES", "agreement", "latex", "markdown", "summarise", "write"]

SCALES: Final = {"realism": "realism", "sync": "lip sync"}
"""What is rated, and how it is called in tables."""

Row = dict[str, Any]


def agreement(ratings: Sequence[Rating], scale: str) -> float | None:
    """Krippendorff's alpha of ratings on an interval scale: 1 is full agreement, 0 is chance.

    Args:
        ratings: any number a video.
        scale: ``realism`` or ``sync``.

    Returns:
        None where fewer than two raters share a video, or all gave one and the same grade.
    """
    from nltk.metrics.agreement import AnnotationTask
    from nltk.metrics.distance import interval_distance

    by_item: dict[str, list[int]] = defaultdict(list)
    for rating in ratings:
        by_item[rating.item].append(getattr(rating, scale))
    if len({grade for grades in by_item.values() if len(grades) > 1 for grade in grades}) < 2:
        return None
    data = [(rating.rater, rating.item, getattr(rating, scale)) for rating in ratings]
    return float(AnnotationTask(data=data, distance=interval_distance).alpha())


def summarise(study: Study, ratings: Sequence[Rating]) -> tuple[list[Row], list[Row]]:
    """The table and the agreement.

    A figure is the mean over a system's videos of each video's mean grade; its interval is a 95 % bootstrap over
    videos. Ratings of videos that are not in the study are left out.

    Returns:
        One row for each data set and system in the study's order, and one for the agreement on each data set.

    Raises:
        DataError: there is no rating yet.
    """
    items = {item.id: item for item in study.items}
    known = [rating for rating in ratings if rating.item in items]
    if not known:
        raise DataError(f"nobody has rated anything in {study.folder} yet; `streamhead study serve {study.folder}`")
    groups: dict[tuple[str, str], list[Rating]] = {(item.data, item.system): [] for item in study.items}
    for rating in known:
        groups[items[rating.item].data, items[rating.item].system].append(rating)
    rows = []
    for (data, system), own in groups.items():
        row: Row = {
            "data": data,
            "system": system,
            "videos": len({rating.item for rating in own}),
            "raters": len({rating.rater for rating in own}),
            "ratings": len(own),
        }
        for scale in SCALES:
            by_video: dict[str, list[int]] = defaultdict(list)
            for rating in own:
                by_video[rating.item].append(getattr(rating, scale))
            result = estimate([float(np.mean(grades)) for _, grades in sorted(by_video.items())], seed=study.seed)
            row[scale], row[f"{scale}_low"], row[f"{scale}_high"] = result.value, result.low, result.high
        rows.append(row)
    names = list(dict.fromkeys(item.data for item in study.items))
    agreed = []
    for name in [*names, *(["all"] if len(names) > 1 else [])]:
        own = [rating for rating in known if name in ("all", items[rating.item].data)]
        agreed.append({"data": name, **{scale: agreement(own, scale) for scale in SCALES}})
    return rows, agreed


def _cell(row: Row, scale: str, low: str = " [", high: str = "]") -> str:
    if row[scale] is None:
        return "-"
    interval = (
        f"{low}{row[f'{scale}_low']:.2f}, {row[f'{scale}_high']:.2f}{high}" if row[f"{scale}_low"] is not None else ""
    )
    return f"{row[scale]:.2f}{interval}"


def _alpha(row: Row, scale: str) -> str:
    return "-" if row[scale] is None else f"{row[scale]:.2f}"


def markdown(rows: Sequence[Row], agreed: Sequence[Row]) -> str:
    """The report as a Markdown document."""
    lines = [
        "# User study",
        "",
        "Grades from 1 to 10, the higher the better; mean over videos of each video's mean grade, 95 % bootstrap "
        "interval over videos.",
        "",
        "| data | system | videos | raters | ratings | " + " | ".join(SCALES.values()) + " |",
        "|---|---|---:|---:|---:|" + "---:|" * len(SCALES),
    ]
    for row in rows:
        facts = [str(row[key]) for key in ("data", "system", "videos", "raters", "ratings")]
        lines.append("| " + " | ".join([*facts, *(_cell(row, scale) for scale in SCALES)]) + " |")
    lines += ["", "Agreement of the raters, Krippendorff's alpha (interval): 1 is full, 0 is chance.", ""]
    lines += ["| data | " + " | ".join(SCALES.values()) + " |", "|---|" + "---:|" * len(SCALES)]
    lines += ["| " + " | ".join([row["data"], *(_alpha(row, scale) for scale in SCALES)]) + " |" for row in agreed]
    return "\n".join([*lines, ""])


def latex(rows: Sequence[Row], agreed: Sequence[Row]) -> str:
    """The table as LaTeX, for the package ``booktabs``."""
    alphas = "; ".join(
        f"{row['data']}: " + ", ".join(f"{title} {_alpha(row, scale)}" for scale, title in SCALES.items())
        for row in agreed
    )
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{Grades from 1 to 10, 95\,\% bootstrap intervals over videos. Krippendorff's $\alpha$: {alphas}.}}",
        r"\begin{tabular}{llrrr}",
        r"\toprule",
        " & ".join(["data", "system", "ratings", *SCALES.values()]) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        cells = [_cell(row, scale, r" {\scriptsize [", "]}") for scale in SCALES]
        names = [str(row[key]).replace("_", r"\_") for key in ("data", "system", "ratings")]
        lines.append(" & ".join([*names, *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def write(out: Path, rows: Sequence[Row], agreed: Sequence[Row]) -> list[Path]:
    """Write ``table2.json``, ``table2.csv``, ``table2.md`` and ``table2.tex``.

    Raises:
        OutputError: the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    texts = {
        "table2.json": json.dumps({"rows": rows, "agreement": agreed}, indent=1) + "\n",
        "table2.csv": text.getvalue(),
        "table2.md": markdown(rows, agreed),
        "table2.tex": latex(rows, agreed),
    }
    return write_texts(out, texts)
