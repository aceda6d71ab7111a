"""Prepared clips of nobody, and small configurations to train on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sounds import speech

from streamhead.face.align import mean_face
from streamhead.training.config import TrainingConfig, read_config

_WORDS = [[0.35, 0.7, "bin"], [0.7, 1.25, "blue"]]
RECIPES = Path(__file__).parent.parent / "scripts" / "recipes"


def make_clips(root: Path, *, smooth: bool = False) -> Path:
    """A prepared folder: two talkers, one with three times the clips of the other; noise, or smooth pictures."""
    rng = np.random.default_rng(0)
    rows = []
    for number, (talker, split) in enumerate([("a", "train")] * 3 + [("b", "train"), ("a", "val"), ("a", "val")]):
        folder = root / talker / f"clip{number}"
        folder.mkdir(parents=True)
        frames = rng.integers(0, 255, (40, 128, 128, 3), dtype=np.uint8)
        if smooth:
            frames[:] = np.linspace(40, 200, 128)[:, None, None]
            frames[:, 80:110, 40:90] = rng.integers(0, 255, (40, 1, 1, 3))
        np.save(folder / "frames.npy", frames)
        np.save(folder / "landmarks.npy", mean_face() + rng.normal(0, 0.5, (40, 478, 2)).astype(np.float32))
        np.save(folder / "audio.npy", speech(1.6, 16000, number))
        np.save(folder / "speech.npy", (np.arange(40) > 8) & (np.arange(40) < 32))
        row = {"talker": talker, "name": f"clip{number}", "split": split, "frames": 40, "words": _WORDS}
        rows.append({**row, "path": f"{talker}/clip{number}"})
    (root / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return root


def small_config(prepared: Path, recipe: str = "paper-thin", **data: object) -> TrainingConfig:
    """A recipe at a size that trains in seconds."""
    config = read_config(RECIPES / f"{recipe}.toml", prepared=prepared)
    network = config.network if recipe == "call" else config.network.model_copy(update={"width": 0.125})
    small = {"clips": 2, "frames": 5, "decoded": 2, "burn_in": 2, "silence": 3, **data}
    return config.model_copy(
        update={
            "network": network,
            "data": config.data.model_copy(update=small),
            "save_every": 100,
            "check_every": 100,
            "precision": "fp32",
        }
    )
