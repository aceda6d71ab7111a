"""``scripts/profile_training.py`` on made-up clips."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from made_up import RECIPES, make_clips

SCRIPT = RECIPES.parent / "profile_training.py"


@pytest.mark.slow
def test_every_part_of_a_step_is_timed(tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    small = "[data]\nclips = 1\nframes = 4\ndecoded = 1\nburn_in = 1\n"
    recipe.write_text((RECIPES / "call.toml").read_text().replace("[data]\n", small))
    command = [sys.executable, str(SCRIPT), str(make_clips(tmp_path / "prepared")), "--recipe", str(recipe)]
    subprocess.run([*command, "--steps", "1", "--threads", "1", "--out", str(tmp_path)], check=True)
    rows = [line for line in (tmp_path / "speed.md").read_text().splitlines() if line.startswith(("| fp32", "| bf16"))]
    assert len(rows) == 4
    for row in rows:
        _, _, threads, compiled, speed, seconds, *shares = (cell.strip() for cell in row.strip("| ").split("|"))
        assert (threads, compiled) == ("1", "no") and float(speed) > 0 and float(seconds) >= 0
        parts = [int(share.removesuffix(" %")) for share in shares]
        assert len(parts) == 7 and 95 <= sum(parts) <= 105 and min(parts[1], parts[3], parts[5]) > 0
