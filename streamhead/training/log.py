"""The log of a run: CSV, and TensorBoard's events."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

__all__ = ["Log"]


class Log:
    """Means over the steps between two lines.

    Args:
        path: the CSV, appended to; its folder is made if missing.
        events: TensorBoard's folder, or None.
    """

    def __init__(self, path: Path, events: Path | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.board = None if events is None else SummaryWriter(str(events))
        self.sums: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, value: float) -> None:
        """Take a value of this step."""
        self.sums[name].append(value)

    def mean(self, name: str) -> float:
        """Of the values since the last line; NaN if there are none."""
        return float(np.mean(self.sums[name])) if self.sums[name] else float("nan")

    def write(self, step: int) -> None:
        """A line for each name, and begin anew."""
        fresh = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", "name", "value"])
            for name, values in sorted(self.sums.items()):
                writer.writerow([step, name, f"{np.mean(values):.6g}"])
                if self.board is not None:
                    self.board.add_scalar(name, float(np.mean(values)), step)
        self.sums.clear()
