"""The two trainers of small nets run as scripts, on clips of nobody, and write what the library reads."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import make_clips
from safetensors.torch import load_file

from streamhead.errors import StreamheadError
from streamhead.model.checkpoint import load_network, read_header, shipped_weights
from streamhead.model.mouth_gauge import MouthGauge
from streamhead.timebase import HOP, SAMPLE_RATE
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
    options += ["--voices", "espeak:en-us", "--sentences", "3"]
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

    # Settled where the first weights had it, off the mouth: one layer is refitted, and z comes nearer.
    settled = tmp_path / "settled.safetensors"
    again = [str(SCRIPTS / "train_sound.py"), str(prepared), "--init", str(weights), "--out", str(settled)]
    _run(*again, "--cache", str(cache), "--minutes", "0", "--hold-to", str(shipped_weights("call")))
    networks = [load_network(path)[0] for path in (shipped_weights("call"), weights, settled)]
    changed = {name for name, value in networks[2].state_dict().items() if not torch.equal(value, after[name])}
    assert changed == {"audio_posterior.mean.weight", "audio_posterior.mean.bias"}
    sound = load_file(cache)["patches"][0].float()
    with torch.inference_mode():
        wanted, drifted, found = (
            network.listen(sound, network.audio_posterior.initial_state(len(sound)))[0].mean for network in networks
        )
    assert (found - wanted).square().mean() < 0.9 * (drifted - wanted).square().mean()


def test_a_synthetic_voice_says_when_it_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    voices = importlib.import_module("synthetic_voices")
    fast, phones = voices.say("espeak", "en-us", "See the happy judge.")
    slow, _ = voices.say("espeak", "en-us", "See the happy judge.", 1.25)
    said = [(start, end, phone) for start, end, phone in phones if phone != "pau"]
    assert [phone for _, _, phone in said] == ["s", "iy", "dh", "ax", "hh", "ae", "p", "iy", "jh", "ah", "jh"]
    assert len(fast) < len(slow)
    assert all(start <= end <= len(fast) / SAMPLE_RATE + 0.01 for start, end, _ in phones)
    power = {p: np.mean(fast[int(a * SAMPLE_RATE) : int(b * SAMPLE_RATE)] ** 2) for a, b, p in said}
    assert power["ae"] > 10 * power["p"]
    with pytest.raises(StreamheadError, match="no voice nobody"):
        voices.say("espeak", "nobody", "Hello")


def test_voices_of_other_languages_say_sounds_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    arpabet = importlib.import_module("synthetic_voices")._festivals
    assert [arpabet(name, "lp_diphone") for name in ("a1", "tS", "J", "#")] == ["aa", "ch", "n", "pau"]
    assert [arpabet(name, "czech_dita") for name in ("c", "ch", "r~", "i:")] == ["s", "k", "zh", "iy"]
    assert [arpabet(name, "msu_ru_nsh_clunits") for name in ("vv", "y", "sh")] == ["v", "iy", "sh"]
    words = importlib.import_module("pseudo_words")
    for language in words.LANGUAGES:
        first, again, other = (words.pseudo_sentence(language, np.random.default_rng(seed)) for seed in (0, 0, 1))
        assert first == again != other
        assert 4 <= len(first.split()) <= 8


def test_a_voice_is_laid_beside_one_that_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    say = importlib.import_module("synthetic_voices").say
    like, phones = say("espeak", "en-us", "papa sees mice")
    other, truth = say("espeak", "en-us+f3", "papa sees mice", 1.2)
    found = importlib.import_module("human_voice").align(like, phones, other)
    assert [phone for *_, phone in found] == [phone for *_, phone in truth]
    off = [abs(a[0] - b[0]) for a, b in zip(found, truth, strict=True) if b[2] != "pau"]
    assert np.median(off) < 0.02
    assert max(off) < 0.08
    untouched = [abs(a[0] - b[0]) for a, b in zip(phones, truth, strict=True) if b[2] != "pau"]
    assert max(untouched) > 0.1


def test_a_hastened_clip_says_and_shows_the_same_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = importlib.import_module("sound_corpus")
    clip = read_clips(make_clips(tmp_path), "train")[0]
    clip.__dict__["audio"] = np.zeros(40 * HOP, np.float32)
    clip.audio[20 * HOP] = 1.0
    soon = script.hasten(clip, 1.25)
    assert len(soon.frames) == len(soon.landmarks) == len(soon.speech) == 32
    assert len(soon.audio) == 32 * HOP
    assert int(np.argmax(soon.audio)) == 16 * HOP
    assert np.allclose(soon.landmarks[::4], clip.landmarks[:40:5], atol=1e-4)
    assert np.array_equal(soon.speech[::4], clip.speech[:40:5])
    assert soon.words[0] == (pytest.approx(0.28), pytest.approx(0.56), "bin")
    assert len(clip.frames) == 40  # the clip itself is as it was
