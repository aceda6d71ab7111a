#!/usr/bin/env python3
"""Draw a run's curves: .venv/bin/python scripts/plot_training.py RUN/log.csv OUT.png (needs matplotlib)."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main() -> None:
    """One panel a quantity, training and validation."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            curves[row["name"]].append((int(row["step"]), float(row["value"])))
    names = [n for n in curves if not n.startswith("val")]
    held_out, what = [n for n in curves if n.startswith("val mouth psnr")], "mouth PSNR, dB, temperature 0"
    if not held_out:  # of the sound's networks alone (scripts/train_sound.py)
        held_out, what = [n for n in curves if n.startswith("val ")], "lip correlation read off z"
    columns = 4
    rows = -(-(len(names) + 1) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(4 * columns, 2.6 * rows), layout="constrained")
    for axis, name in zip(axes.flat, names, strict=False):
        axis.plot(*zip(*curves[name], strict=True))
        axis.set_title(name, fontsize=9)
    last = axes.flat[len(names)]
    for name in held_out:
        last.plot(
            *zip(*curves[name], strict=True), label=name.removeprefix("val").removeprefix(" mouth psnr") or "own audio"
        )
    last.set_title(f"held-out {what}", fontsize=9)
    last.legend(fontsize=7)
    for axis in axes.flat[len(names) + 1 :]:
        axis.axis("off")
    plt.savefig(sys.argv[2], dpi=80)


if __name__ == "__main__":
    main()
