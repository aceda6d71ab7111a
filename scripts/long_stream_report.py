"""What minutes of a long stream say: trends, a page and a picture (``measure_long_stream.py``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress, t

from streamhead.evaluation.figures import strip
from streamhead.face.align import SIZE

__all__ = ["PANELS", "Row", "Trend", "draw", "markdown"]

Row = dict[str, float]

COLUMNS: Final = {
    "identity": ("likeness", 4),
    "sharpness": ("lip sharpness", 3),
    "spread": ("opening, spread", 4),
    "rest": ("lips at rest, px", 3),
    "moved": ("mouth at rest, grey levels", 3),
    "x": ("head x, px", 2),
    "y": ("head y, px", 2),
    "roll": ("head roll, degrees", 2),
    "blinks": ("blinks", 0),
    "beyond": ("blinks beyond life's", 0),
}
PANELS: Final = [key for key in COLUMNS if key != "moved"]

TEXT: Final = """\
Weights `{digest}`, seed {seed}, temperature 1, coherence 0.9, the default portrait, CPU, one thread. Each minute has
the same sound: {sound}. Of {square} frames of the bare square one is drawn, of
{view} of the portrait at 640x360 one; the others move the face on undrawn, as late ones do in a call.

![Minute by minute](long-stream.png)

Above: the bare square while it speaks and at rest. Lips are to move as far as when nothing else has been heard: the
opening's spread is {first:.2f} in the first minute, and {later:.2f} on average in the others, of what it is where each
of the sounds is heard in a session of its own ({alone:.4f}). By least squares over the minutes, with 95 % intervals
(no slope: the interval holds zero):

| measure | mean | change over the stream | of the mean | no slope |
|---|---:|---:|---:|---|"""
MEANING: Final = """
- **Likeness**: cosine of dlib's face embeddings, portrait against bare squares (one a second).
- **Lip sharpness**: variance of the Laplacian over the lips, drawn over the portrait's own, at 640x360; median over
  speech.
- **Opening, spread**: standard deviation of the inner lips' distance over the eyes' in speech, bare square.
- **Lips at rest**: their distance after a second of silence, pixels of the square. **Mouth at rest**: mean difference
  of its mean picture then from the first minute's; the gate holds a mouth in silence, so this asks whether it does.
- **Head**: mean shift of the square's middle and mean roll against the portrait, from landmarks. **Blinks**: dips of
  the lids in the portrait, in a minute: those that the living head draws from its seed, which chance may thin out, and
  **beyond** them the model's own."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What a measure changed by over the whole stream, by least squares, and the 95 % interval of that."""

    mean: float
    change: float
    margin: float

    @classmethod
    def of(cls, rows: list[Row], key: str) -> Trend:
        values = np.array([row[key] for row in rows])
        line = linregress(np.arange(len(rows)), values)
        scale = float(len(rows) - 1)
        margin = float(t.ppf(0.975, len(rows) - 2) * line.stderr) * scale
        return cls(float(values.mean()), float(line.slope) * scale, margin)

    def cells(self, digits: int) -> str:
        low, high = self.change - self.margin, self.change + self.margin
        share = f"{100 * self.change / self.mean:+.1f} %" if abs(self.mean) > self.margin else "-"
        flat = "yes" if low <= 0 <= high else "no"
        mean, change, *interval = (f"{v:.{digits + 1}f}" for v in (self.mean, self.change, low, high))
        return f"{mean} | {change} [{', '.join(interval)}] | {share} | {flat}"


def markdown(rows: list[Row], trends: dict[str, Trend], facts: dict[str, Any], command: str) -> str:
    """The report."""
    heads = [title for title, _ in COLUMNS.values()]
    first, *others = (row["spread"] / facts["alone"] for row in rows)
    facts = facts | {"digest": facts["weights"][:12], "first": first, "later": np.mean(others)}
    lines = [
        f"# A stream of {len(rows)} minutes",
        "",
        f"    {command}",
        "",
        *TEXT.format(**facts).splitlines(),
        *(f"| {title} | {trends[key].cells(digits)} |" for key, (title, digits) in COLUMNS.items() if key in trends),
        *MEANING.splitlines(),
        "",
        f"Pictures without a face: {sum(int(row['faceless']) for row in rows)}.",
        "",
        "| minute | " + " | ".join(heads) + " |",
        "|---:|" + "---:|" * len(heads),
    ]
    for row in rows:
        cells = " | ".join(f"{row[key]:.{digits}f}" for key, (_, digits) in COLUMNS.items())
        lines.append(f"| {row['minute']:.0f} | {cells} |")
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], trends: dict[str, Trend], picture: Callable[[int], NDArray[np.uint8]], path: Path) -> None:
    """Squares of minutes over time, and a panel a measure with its line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = np.unique(np.linspace(1, len(rows), 7).round().astype(int)).tolist()
    pictures = np.stack([picture(minute) for minute in shown])
    rest = {"speaking": pictures[:, :SIZE], "at rest": pictures[:, SIZE:]}
    sheet = strip(rest, range(len(shown)), [f"minute {minute}" for minute in shown])
    figure, axes = plt.subplot_mosaic(
        [["sheet"] * 3, *(PANELS[i : i + 3] for i in range(0, len(PANELS), 3))],
        figsize=(12, 11),
        layout="constrained",
        height_ratios=[2, 1, 1, 1],
    )
    axes["sheet"].imshow(np.asarray(sheet))
    axes["sheet"].axis("off")
    minutes = np.arange(1, len(rows) + 1)
    for key in PANELS:
        axis, trend = axes[key], trends[key]
        axis.plot(minutes, [row[key] for row in rows], ".-", linewidth=0.8)
        middle = (minutes - minutes.mean()) / (len(rows) - 1)
        axis.plot(minutes, trend.mean + trend.change * middle, "--", linewidth=1)
        axis.set_title(COLUMNS[key][0], fontsize=9)
        low, high = axis.get_ylim()
        if low > 0 and (high - low) < 0.2 * high:  # a change is to be seen against the measure's own size
            axis.set_ylim(0.8 * high, 1.05 * high)
    figure.savefig(path, dpi=70)
    plt.close(figure)
