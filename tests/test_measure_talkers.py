"""``scripts/measure_talkers.py``: talkers of one clip and of several, each with its interval."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_clips import prepared, weights  # noqa: F401

SCRIPT = Path(__file__).parent.parent / "scripts" / "measure_talkers.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_each_talker_has_an_interval(prepared: Path, weights: Path) -> None:  # noqa: F811
    ended = _run(str(prepared), "--weights", str(weights), "--trained", "nobody")
    assert ended.returncode == 0, ended.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ended.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["a", "3"], ["b", "1"], ["all", "4"]]
    for row in rows:
        for cell in row[2:]:
            mean, low, high = (
                float(part) for part in cell.replace("[", " ").replace("]", " ").replace(",", " ").split()
            )
            assert np.isfinite(mean) and low <= high and low <= mean + 0.3 and high >= mean - 0.3, cell
        assert len({cell.split()[0] for cell in row[5:]}) == 2  # what is drawn is no still picture


def test_nobody_is_left(prepared: Path) -> None:  # noqa: F811
    ended = _run(str(prepared), "--trained", "a,b")
    assert ended.returncode == 1 and "name fewer talkers" in ended.stderr and not ended.stdout
