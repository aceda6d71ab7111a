#!/usr/bin/env python3
"""How the mouth behaves in silence, breath, music, babble, a telephone band, too quiet, too loud, and after others.

    scripts/sound_conditions.py PREPARED --out OUT [--clips 8]

Runs the shipped model at temperature 0 over test clips whose sound is altered, and compares the mouth's opening with
that of the clean sound and of the real clip. What is done is kept in OUT; the same command goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track
from scipy.signal import butter, sosfilt

from streamhead.audio.frontend import analyse
from streamhead.evaluation.evaluate import Scorer
from streamhead.evaluation.figures import moments, save, strip
from streamhead.evaluation.generate import head_of, heard
from streamhead.evaluation.plan import Model, Pair, Plan, choose_clips
from streamhead.evaluation.sync import compare, detrend, find_landmarks, mouth_opening
from streamhead.evaluation.tables import estimate, write_texts
from streamhead.model.checkpoint import shipped_weights
from streamhead.timebase import FPS, HOP, SAMPLE_RATE
from streamhead.training.batches import Clip, read_clips

Sound = NDArray[np.float32]
Alter = Callable[[Sound, np.random.Generator], Sound]

TALKERS_OF_BABBLE: Final = 4
BREATH_DB: Final = -40.0  # at its loudest
ALONE_DB: Final = -26.0  # music and babble without a talker: as loud as speech
BEFORE_S: Final = 10
BEFORE, AFTER = 3, 5  # frames around the words that are not yet a pause


def decibels(level: float) -> float:
    return float(10 ** (level / 20))


def band(sound: Sound, low: float, high: float) -> Sound:
    return np.asarray(sosfilt(butter(4, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"), sound), np.float32)


def music(count: int, rng: np.random.Generator) -> Sound:
    """Four chords a bar of plucked tones with eight harmonics, a bass, and a noise hit on every beat; RMS 1."""
    beat = SAMPLE_RATE // 2
    out = np.zeros(count + 2 * beat)
    chords = [(0, 4, 7), (-3, 0, 4), (-7, -3, 0), (-5, -1, 2)]
    time = np.arange(2 * beat) / SAMPLE_RATE
    for number in range(count // beat + 1):
        chord = chords[number % 4]
        place = slice(number * beat, number * beat + 2 * beat)
        for note in (*chord, chord[0] - 12):
            pitch = 261.63 * 2 ** (note / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 9))
            part = out[place]
            part += (tone * np.exp(-3 * time))[: len(part)]
        hit = out[place]
        hit += (rng.normal(0, 1.0, len(time)) * np.exp(-40 * time))[: len(hit)]
    return np.asarray(out[:count] / out[:count].std(), np.float32)


def breath(count: int, rng: np.random.Generator) -> Sound:
    """Two breaths, noise from 400 to 5000 Hz that swells for a second."""
    noise = band(rng.normal(0, 1, count).astype(np.float32), 400, 5000)
    noise /= noise.std()
    time = np.arange(count) / SAMPLE_RATE
    swell = sum(np.where(abs(time - at) < 0.5, np.cos(np.pi * (time - at)) ** 2, 0.0) for at in (0.7, 2.1))
    return np.asarray(noise * swell * decibels(BREATH_DB), np.float32)


def conditions(crowd: Sequence[Clip]) -> tuple[dict[str, Alter], dict[str, Alter], dict[str, Alter]]:
    """Sounds in which somebody speaks, sounds in which nobody does, and sounds that are heard before clean speech."""

    def babble(count: int, rng: np.random.Generator) -> Sound:
        out = np.zeros(count)
        for index in rng.choice(len(crowd), TALKERS_OF_BABBLE, replace=False):
            spoken = crowd[index].audio[np.repeat(crowd[index].speech, HOP)[: len(crowd[index].audio)].nonzero()[0]]
            voice = np.resize(spoken, count)  # without its pauses, over and over
            out += np.roll(voice / voice.std(), rng.integers(count))
        return np.asarray(out / out.std(), np.float32)

    def under(noise: Callable[[int, np.random.Generator], Sound], snr: float) -> Alter:
        def mix(sound: Sound, rng: np.random.Generator) -> Sound:
            level = float(sound[np.repeat(analyse(sound), HOP)].std()) * decibels(-snr)  # of where it speaks
            return np.asarray(np.clip(sound + level * noise(len(sound), rng), -1, 1), np.float32)

        return mix

    def alone(noise: Callable[[int, np.random.Generator], Sound], level: float) -> Alter:
        return lambda sound, rng: np.asarray(noise(len(sound), rng) * decibels(level), np.float32)

    spoken: dict[str, Alter] = {
        "clean": lambda sound, rng: sound,
        "babble, SNR 10 dB": under(babble, 10),
        "babble, SNR 5 dB": under(babble, 5),
        "babble, SNR 0 dB": under(babble, 0),
        "music, SNR 10 dB": under(music, 10),
        "telephone, 300-3400 Hz": lambda sound, rng: band(sound, 300, 3400),
        "20 dB quieter": lambda sound, rng: np.asarray(np.round(sound * 3276.8) / 32768, np.float32),
        "20 dB louder, clipped": lambda sound, rng: np.clip(sound * 10, -1, 1),
    }
    unspoken: dict[str, Alter] = {
        "silence": lambda sound, rng: np.zeros_like(sound),
        "breath": alone(breath, 0.0),
        "music alone": alone(music, ALONE_DB),
        "babble alone": alone(babble, ALONE_DB),
    }
    count = BEFORE_S * SAMPLE_RATE
    before: dict[str, Alter] = {
        "after 10 s of silence": lambda sound, rng: np.zeros(count, np.float32),
        "after 10 s of oneself": lambda sound, rng: np.resize(sound, count),
        "after 10 s of another talker": lambda sound, rng: np.resize(crowd[rng.integers(len(crowd))].audio, count),
        "after 10 s of music": lambda sound, rng: music(count, rng) * np.float32(decibels(ALONE_DB)),
        "after 10 s of babble": lambda sound, rng: babble(count, rng) * np.float32(decibels(ALONE_DB)),
    }
    return spoken, unspoken, before


def pauses(clip: Clip) -> NDArray[np.bool_]:
    """``(T - 1,)`` whether a frame, from the second on, is well outside the words."""
    t = np.arange(1, len(clip.frames))
    return np.asarray((t < clip.words[0][0] * FPS - BEFORE) | (t > clip.words[-1][1] * FPS + AFTER))


def measure(scorer: Scorer, model: Model, pair: Pair, crowd: Sequence[Clip], seed: int, out: Path) -> dict[str, Any]:
    """Of one clip: by condition, its measures."""
    clip = pair.clip
    path = out / "clips" / f"{clip.talker}-{clip.name}-{model.sha256[:8]}-{seed}.json"
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return kept
    head = head_of(scorer.engine(model), clip)
    real = mouth_opening(scorer.real_landmarks(clip))
    quiet = pauses(clip)
    measured: dict[str, Any] = {}
    pictures: dict[str, NDArray[np.uint8]] = {f"real, {clip.talker}, {clip.name}": np.asarray(clip.frames)}
    clean = rest = None
    own = heard(clip, clip)
    spoken, unspoken, before = conditions(crowd)
    for number, (name, alter) in enumerate({**unspoken, **spoken, **before}.items()):
        rng = np.random.default_rng((seed, number, len(clip.name), *clip.name.encode()))
        sound = alter(own, rng)
        gone = 0
        if name in before:
            gone, sound = len(sound) // HOP, np.concatenate([sound, own])
        frames = list(head.render(sound, SAMPLE_RATE, seed=seed, temperature=0.0, view="face"))[gone:]
        drawn = np.stack([frame.image for frame in frames])
        pictures[name] = drawn
        opening = mouth_opening(find_landmarks(drawn[1:], scorer.finder))
        rest = float(opening.mean()) if rest is None else rest
        one = {"gate": float(np.mean([frame.speech for frame in frames])), "moves": float(detrend(opening).std())}
        if name not in unspoken:
            clean = opening if clean is None else clean
            with_real, with_clean = compare(real, opening), compare(clean, opening)
            one |= {
                "real": with_real.correlation,
                "clean": with_clean.correlation,
                "std_ratio": with_real.std_ratio,
                "lag": with_real.lag,
                "pause_opening": float(opening[quiet].mean()) - rest if quiet.any() else None,
                "word_opening": float(opening[~quiet].mean()) - rest,
            }
        else:
            one |= {"pause_opening": float(opening.mean()) - rest}
        measured[name] = one
    save(out / "strips" / f"{clip.talker}-{clip.name}.png", strip(pictures, moments(clip, "grid")))
    write_texts(path.parent, {path.name: json.dumps(measured, indent=1)})
    return measured


COLUMNS: Final = (
    ("clean", "correlation with clean", 2),
    ("real", "correlation with real", 2),
    ("std_ratio", "std ratio to real", 2),
    ("lag", "median lag", 0),
    ("word_opening", "opening in words", 3),
    ("pause_opening", "opening in pauses", 3),
    ("moves", "movement", 4),
    ("gate", "gate open", 2),
)


def markdown(lines: Sequence[dict[str, Any]], pairs: Sequence[Pair], model: Model, seed: int) -> str:
    talkers = ", ".join(sorted({pair.clip.talker for pair in pairs}))
    text = [
        f"split {pairs[0].clip.split}, {len(pairs)} clips ({talkers}), weights {model.preset} {model.sha256[:12]}, "
        f"temperature 0, seed {seed}. Correlations are of detrended mouth openings. Openings are inner lips over eye "
        "distance, less that in silence; movement is the detrended opening's standard deviation. SNR is to where the "
        "talker speaks. Brackets: 95 % bootstrap interval over clips.",
        "",
        "| sound | " + " | ".join(title for _, title, _ in COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name in lines[0]:
        cells = []
        for key, _, digits in COLUMNS:
            values = [line[name][key] for line in lines if line[name].get(key) is not None]
            result = estimate(values, "median" if key == "lag" else "mean", seed)
            cell = "-" if result.value is None else f"{result.value + 0.0:.{digits}f}"
            if result.low is not None and key in ("clean", "real", "std_ratio"):
                cell += f" [{result.low:.{digits}f}, {result.high:.{digits}f}]"
            cells.append(cell)
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*text, ""])


def main(
    prepared: Path,
    out: Annotated[Path, typer.Option()],
    clips: Annotated[int, typer.Option(min=1)] = 8,
    talkers: str = "s1,s4",
    seed: int = 0,
) -> None:
    model = Model.of(shipped_weights("call"))
    pairs = choose_clips(prepared, "test", talkers=talkers.split(","), limit=clips, seed=seed)
    chosen = set(talkers.split(","))
    crowd = [clip for part in ("train", "unseen") for clip in read_clips(prepared, part) if clip.talker not in chosen]
    with Scorer(Plan((model,), seed=seed)) as scorer:
        lines = [measure(scorer, model, pair, crowd, seed, out) for pair in track(pairs, "listening")]
    text = markdown(lines, pairs, model, seed)
    typer.echo(text)
    write_texts(out, {"sound-conditions.md": text, "sound-conditions.json": json.dumps(lines, indent=1)})


if __name__ == "__main__":
    typer.run(main)
