"""``scripts/make_table1`` on systems that nobody trained."""

# ruff: noqa: F811 - fixtures are asked for by the names they are imported under
from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import heads
import pytest
from drawn_clips import prepared  # noqa: F401

SCRIPT = Path(__file__).parent.parent / "scripts" / "make_table1"
SYSTEMS = ("frame-independent", "landmark-cascade", "deterministic", "unimodal-vae", "paper-thin")


@pytest.mark.slow
def test_every_system_under_every_protocol(prepared: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(prepared), "--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    early = subprocess.run(command, capture_output=True, text=True)
    assert early.returncode == 2 and "frame-independent.safetensors" in early.stderr
    for name in SYSTEMS:
        shutil.copy(heads.weights(name), tmp_path / f"{name}.safetensors")
    subprocess.run([*command, "--clips", "1"], check=True)
    rows = json.loads((tmp_path / "out" / "table1.json").read_text())["rows"]
    for protocol in ("standard", "svg", "atvgnet"):
        own = {(row["system"], row["temperature"]) for row in rows if row["protocol"] == protocol}
        assert {(name, 0.0) for name in (*SYSTEMS, "call")} | {("still", None), ("real", None)} <= own
        assert {("call", 1.0), ("paper-thin", 1.0), ("unimodal-vae", 1.0)} <= own
        assert ("deterministic", 1.0) not in own
    assert all(0 < row["ssim"] <= 1 and row["clips"] == 1 and row["split"] == "test" for row in rows)
    kept = tmp_path / "out" / "table1.json"
    table = json.loads(kept.read_text())
    (tmp_path / "paper-thin.safetensors").unlink()
    old = ["--clips", "1", "--known", str(kept)]
    subprocess.run([*command, *old, "--out", str(tmp_path / "again")], check=True)
    assert json.loads((tmp_path / "again" / "table1.json").read_text()) == table
    assert "kept from the table of then: `paper-thin`" in (tmp_path / "again" / "table1.md").read_text()
    other = subprocess.run([*command, *old, "--seed", "1"], capture_output=True, text=True)
    assert other.returncode == 2 and "--known" in other.stderr
    none = subprocess.run([*command, "--known", str(tmp_path / "none.json")], capture_output=True, text=True)
    assert none.returncode == 2 and "no table1.json" in none.stderr
    assert "T 0 alone" in (tmp_path / "out" / "table1.md").read_text()
    assert (tmp_path / "out" / "table1.tex").read_text().count(r"\begin{tabular}") == 3
