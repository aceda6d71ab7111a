#!/usr/bin/env python3
"""Do lips shut on p, b, m and open on open vowels, for voices the model never heard, as real lips do?

    scripts/other_voices.py PREPARED --out OUT [--sentences 8] [--clips 20]

Speaks test sentences of GRID with synthetic voices of both sexes (flite and espeak-ng, which must be installed: apt-get
install flite espeak-ng), whose own phoneme timing says when lips have to be where; drives the shipped model with them;
and takes the same measure of real clips by their word timing, and of the model hearing these clips. What is done is
kept in OUT; the same command goes on.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from streamhead.audio.files import load_audio
from streamhead.audio.resample import as_float_mono, resample
from streamhead.errors import StreamheadError
from streamhead.evaluation.evaluate import Scorer
from streamhead.evaluation.figures import save, strip
from streamhead.evaluation.generate import generate, head_of
from streamhead.evaluation.plan import Model, Plan, choose_clips
from streamhead.evaluation.sync import find_landmarks, mouth_opening
from streamhead.evaluation.tables import write_texts
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import shipped_weights
from streamhead.stream.talking_head import TalkingHead
from streamhead.timebase import FPS, SAMPLE_RATE
from streamhead.training.batches import Clip

VOICES: Final = {
    "flite slt (female)": ("flite", "slt"),
    "flite rms (male)": ("flite", "rms"),
    "espeak-ng en-us+f3 (female)": ("espeak", "en-us+f3"),
    "espeak-ng en-us (male)": ("espeak", "en-us"),
}
LEAD: Final = 0.6  # s of silence around a synthetic sentence

SHUT: Final = 0.25
"""Lips count as shut under this share of the way from the clip's 5th to its 95th percentile of opening."""
OPEN: Final = 0.5
"""As open, above this share."""
AROUND: Final = 1.0
"""Frames by which a sound's window is longer at both ends: lips come before the sound."""
CONSONANT_S: Final = 0.08
"""How long a consonant at a word's start lasts where only the word's start is known."""

# Words of GRID that begin with lips shut, and words around an open vowel.
SHUT_WORDS: Final = {"bin", "place", "blue", "by", "please", "b", "p"}
OPEN_WORDS: Final = {
    "lay",
    "set",
    "red",
    "white",
    "at",
    "by",
    "a",
    "i",
    "y",
    "h",
    "j",
    "k",
    "nine",
    "five",
    "now",
    "eight",
}
SHUT_PHONES: Final = {"p", "b", "m"}
# The same vowels, as flite and as espeak-ng write them.
OPEN_PHONES: Final = {"ae", "ay", "aw", "ey", "eh", "aa"} | {"a", "aI", "aU", "eI", "E", "A:", "a:", "aa"}

Span = tuple[float, float]


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


def say_espeak(text: str, voice: str) -> tuple[NDArray[np.float32], list[tuple[float, float, str]]]:
    """Samples at 16 kHz, and phones with their start and end in seconds, by espeak-ng's own events."""
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise StreamheadError("espeak-ng is not installed; apt-get install espeak-ng") from error
    rate = library.espeak_Initialize(2, 0, None, 1)  # synchronous, with phoneme events
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise StreamheadError(f"espeak-ng has no voice {voice}")
    parts: list[NDArray[np.int16]] = []
    starts: list[tuple[float, str]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
    def take(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            if events[index].type == 7:
                starts.append((events[index].audio_position / 1000, events[index].name.decode(errors="replace")))
            index += 1
        return 0

    library.espeak_SetSynthCallback(take)
    data = text.encode() + b"\0"
    library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    sound = np.concatenate(parts).astype(np.float32) / 32768
    ends = [start for start, _ in starts[1:]] + [len(sound) / rate]
    phones = [(start, end, re.sub(r"[^A-Za-z@:]", "", name)) for (start, name), end in zip(starts, ends, strict=True)]
    return resample(sound, rate), phones


def say_flite(text: str, voice: str) -> tuple[NDArray[np.float32], list[tuple[float, float, str]]]:
    """The same by flite."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        try:
            told = subprocess.run(
                ["flite", "-voice", voice, "-t", text, "-psdur", "-o", str(path)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise StreamheadError("flite cannot be run; apt-get install flite") from error
        sound, rate = load_audio(path)
    pairs = [part.split(":") for part in told.split()]
    ends = [float(end) for _, end in pairs]
    phones = [(start, end, name) for start, end, (name, _) in zip([0.0, *ends], ends, pairs, strict=False)]
    return resample(as_float_mono(sound), rate), phones


def reached(opening: NDArray[np.float64], spans: Sequence[Span], *, shut: bool) -> list[bool]:
    """Of each span in seconds: do the lips shut, or open, at least once within it?

    Args:
        opening: ``(T,)``, from frame 0 on.
        spans: start and end.
        shut: what is asked.
    """
    low, high = np.quantile(opening, [0.05, 0.95])
    share = (opening - low) / max(high - low, 1e-6)
    results = []
    for start, end in spans:
        first = max(0, int(np.floor(start * FPS - AROUND)))
        part = share[first : int(np.ceil(end * FPS + AROUND))]
        if len(part):
            results.append(bool(part.min() < SHUT if shut else part.max() > OPEN))
    return results


def spans_of_words(clip: Clip) -> tuple[list[Span], list[Span]]:
    shut = [(start, start + CONSONANT_S) for start, _, word in clip.words if word in SHUT_WORDS]
    return shut, [(start, end) for start, end, word in clip.words if word in OPEN_WORDS]


def opening_of(scorer: Scorer, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    return mouth_opening(find_landmarks(frames, scorer.finder))


def judged(opening: NDArray[np.float64], shut: Sequence[Span], wide: Sequence[Span]) -> dict[str, list[bool]]:
    # By chance, at the times of the other sounds: how often lips would be there anyway.
    return {
        "shut": reached(opening, shut, shut=True),
        "open": reached(opening, wide, shut=False),
        "shut_elsewhere": reached(opening, [(start, start + CONSONANT_S) for start, _ in _middles(wide)], shut=True),
        "open_elsewhere": reached(opening, shut, shut=False),
    }


def _middles(spans: Sequence[Span]) -> list[Span]:
    return [((start + end) / 2 - CONSONANT_S / 2, end) for start, end in spans]


def spoken(
    scorer: Scorer, head: TalkingHead, text: str, voice: tuple[str, str], picture: Path
) -> dict[str, list[bool]]:
    say = say_flite if voice[0] == "flite" else say_espeak
    sound, phones = say(text, voice[1])
    pad = np.zeros(int(LEAD * SAMPLE_RATE), np.float32)
    sound = np.concatenate([pad, sound, pad])
    drawn = np.stack([frame.image for frame in head.render(sound, SAMPLE_RATE, temperature=0.0, view="face")])
    names = ("shut", "open")
    spans = {
        name: [(LEAD + start, LEAD + end) for start, end, phone in phones if phone in wanted]
        for name, wanted in zip(names, (SHUT_PHONES, OPEN_PHONES), strict=True)
    }
    if not picture.exists():
        index = np.arange(int(LEAD * FPS) - 2, len(drawn) - int(LEAD * FPS) + 2, 2)
        at = [" ".join(p for s, e, p in phones if s + LEAD < (t + 1) / FPS and e + LEAD > t / FPS) for t in index]
        save(picture, strip({", ".join(voice): drawn}, index, at))
    return judged(opening_of(scorer, drawn), spans["shut"], spans["open"])


def markdown(kept: dict[str, dict[str, list[bool]]], facts: str) -> str:
    rows: dict[str, dict[str, list[bool]]] = {}
    for key, one in kept.items():
        row = rows.setdefault(key.rsplit(" | ", 1)[0], {})
        for name, results in one.items():
            row.setdefault(name, []).extend(results)
    real = rows["real clips"]
    lines = [
        facts,
        "",
        "| voice | shut on p, b, m | of real | open on vowels | of real | shut in mid-vowel | open on p, b, m |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        cells = []
        for key in ("shut", "open"):
            share = float(np.mean(row[key]))
            cells += [f"{share:.2f} ({sum(row[key])}/{len(row[key])})", f"{share / np.mean(real[key]):.2f}"]
        cells += [f"{np.mean(row[key]):.2f}" for key in ("shut_elsewhere", "open_elsewhere")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main(
    prepared: Path,
    out: Annotated[Path, typer.Option()],
    sentences: Annotated[int, typer.Option(min=1)] = 8,
    clips: Annotated[int, typer.Option(min=1)] = 20,
    talkers: str = "s1",
    seed: int = 0,
) -> None:
    model = Model.of(shipped_weights("call"))
    pairs = choose_clips(prepared, "test", talkers=talkers.split(","), limit=clips, seed=seed)
    path = out / "other-voices.json"
    kept: dict[str, dict[str, list[bool]]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    with Scorer(Plan((model,), seed=seed)) as scorer:
        engine = scorer.engine(model)
        head = TalkingHead(engine, Portrait.default())
        texts = [" ".join(word for _, _, word in pair.clip.words) for pair in pairs[:sentences]]
        todo: list[tuple[str, Any]] = [(f"{name} | {text}", (text, name)) for name in VOICES for text in texts]
        todo += [(f"real clips | {pair.clip.name}", pair.clip) for pair in pairs]
        todo += [(f"the model, these clips' sound | {pair.clip.name}", pair.clip) for pair in pairs]
        for key, what in track([one for one in todo if one[0] not in kept], "listening"):
            if isinstance(what, tuple):
                text, name = what
                picture = out / "strips" / f"{re.sub(r'[^a-z0-9]+', '-', name)}.png"
                kept[key] = spoken(scorer, head, text, VOICES[name], picture)
            else:
                frames = np.asarray(what.frames)
                if not key.startswith("real"):
                    frames = generate(head_of(engine, what), what, what, seed=seed, temperature=0.0)
                kept[key] = judged(opening_of(scorer, frames), *spans_of_words(what))
            write_texts(out, {path.name: json.dumps(kept)})
    wanted = dict(sorted(((key, kept[key]) for key, _ in todo), key=lambda item: "real" not in item[0][:4]))
    facts = (
        f"{sentences} sentences a voice, {len(pairs)} real clips ({talkers}), split test, weights {model.preset} "
        f"{model.sha256[:12]}, temperature 0, seed {seed}; shut: under {SHUT:g} of the clip's range of opening (5th to "
        f"95th percentile) at least once in the sound's time and a frame on either side; open: above {OPEN:g}."
    )
    text = markdown(wanted, facts)
    typer.echo(text)
    write_texts(out, {"other-voices.md": text})


if __name__ == "__main__":
    typer.run(main)
