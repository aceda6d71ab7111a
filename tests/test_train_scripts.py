"""The two trainers of small nets run as scripts, on clips of nobody, and write what the library reads."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import make_clips
from safetensors.torch import load_file

from streamhead.model.checkpoint import load_network, read_header, shipped_weights
from streamhead.model.mouth_gauge import MouthGauge
from streamhead.timebase import HOP
from streamhead.training.batches import read_clips

SCRIPTS = Path(__file__).parent.parent / "scripts"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _run(*command: str) -> str:
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_gauge_is_trained(tmp_path: Path) -> None:
    prepared, weights = make_clips(tmp_path / "prepared", smooth=True), tmp_path / "gauge.safetensors"
    # Nobody of the made-up talkers is in the unseen split: a table of the validation clips alone.
    said = _run(str(SCRIPTS / "train_gauge.py"), str(prepared), "--out", str(weights), "--minutes", "0.05")
    assert "| a | 2 |" in said
    MouthGauge().load_state_dict({name: value.float() for name, value in load_file(weights).items()})


def test_the_sounds_networks_are_trained_alone(tmp_path: Path) -> None:
    prepared, weights = make_clips(tmp_path / "prepared", smooth=True), tmp_path / "heard.safetensors"
    script = [str(SCRIPTS / "train_sound.py"), str(prepared), "--init", str(shipped_weights("call"))]
    cache = tmp_path / "sound.safetensors"
    options = ["--cache", str(cache), "--out", str(weights), "--versions", "2", "--unspoken", "4", "--minutes", "0.05"]
    assert "'a':" in _run(*script, *options)
    assert cache.is_file()
    mean = ("--mean-with", str(shipped_weights("call")))
    assert "'a':" in _run(*script, *options, *mean)  # from what was kept
    assert read_header(weights).natural_opening > 0.0
    before, after = (load_network(path)[0].state_dict() for path in (shipped_weights("call"), weights))
    for name, value in before.items():
        if not name.startswith("audio_"):
            assert torch.equal(value, after[name]), name
    assert not torch.equal(before["audio_posterior.mean.weight"], after["audio_posterior.mean.weight"])


def test_a_hastened_clip_says_and_shows_the_same_sooner(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("train_sound", SCRIPTS / "train_sound.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # its dataclasses look themselves up
    spec.loader.exec_module(script)
    clip = read_clips(make_clips(tmp_path), "train")[0]
    clip.__dict__["audio"] = np.zeros(40 * HOP, np.float32)
    clip.audio[20 * HOP] = 1.0
    soon = script.hasten(clip, 1.25)
    assert len(soon.frames) == len(soon.landmarks) == len(soon.speech) == 32
    assert len(soon.audio) == 32 * HOP
    assert int(np.argmax(soon.audio)) == 16 * HOP
    assert np.allclose(soon.landmarks[::4], clip.landmarks[:40:5], atol=1e-4)
    assert np.array_equal(soon.speech[::4], clip.speech[:40:5])
    assert len(clip.frames) == 40  # the clip itself is as it was
