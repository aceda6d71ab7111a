#!/usr/bin/env python3
"""Do lips follow voices and words that the model never heard, as real lips follow theirs?

    scripts/other_voices.py PREPARED --out OUT [--sentences 8] [--clips 20]

Speaks test sentences of GRID, and everyday ones (`sentences_unheard.txt`), with synthetic voices of both sexes, whose
own timing says when lips have to be where, and single words with a human's (`human_voice.py`); drives the shipped
model with them; and takes the same measures of real clips by their word timing, and of the model hearing these clips:
whether lips shut on p, b, m and open on open vowels, and how well their opening follows what the lips of training
clips do, on average, for such sounds. What is done is kept in OUT; the same command goes on. The voices have to be
installed: apt-get install flite espeak-ng asterisk-core-sounds-en-g722.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from human_voice import GRIDS_WORDS, WORDS, say_words
from numpy.typing import NDArray
from rich.progress import track
from synthetic_voices import Said, say

from streamhead.errors import StreamheadError
from streamhead.evaluation.evaluate import Scorer
from streamhead.evaluation.figures import save, strip
from streamhead.evaluation.generate import generate, head_of
from streamhead.evaluation.plan import Model, Plan, choose_clips
from streamhead.evaluation.sync import correlation, detrend, find_landmarks, mouth_opening
from streamhead.evaluation.tables import write_texts
from streamhead.face.portrait import Portrait
from streamhead.model.checkpoint import shipped_weights
from streamhead.stream.talking_head import TalkingHead
from streamhead.timebase import FPS, SAMPLE_RATE
from streamhead.training import geometry
from streamhead.training.batches import Clip, read_clips
from streamhead.training.visemes import VisemeModel, occupancy, phones_of_words

VOICES: Final = {
    "flite slt (female)": ("flite", "slt"),
    "flite rms (male)": ("flite", "rms"),
    "espeak-ng en-us+f3 (female)": ("espeak", "en-us+f3"),
    "espeak-ng en-us (male)": ("espeak", "en-us"),
}
HUMAN: Final = "a human (female)"
WORDS_AT_ONCE: Final = 4
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
OPEN_PHONES: Final = {"ae", "ay", "aw", "ey", "eh", "aa"}
EVERYDAY: Final = Path(__file__).with_name("sentences_unheard.txt")

Span = tuple[float, float]


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


def judged(
    opening: NDArray[np.float64],
    shut: Sequence[Span],
    wide: Sequence[Span],
    usual: NDArray[np.float64],
    other: NDArray[np.float64],
) -> dict[str, list[float]]:
    """Where lips were at these sounds, and how they followed what is usual for them, and by chance for others."""
    # By chance, at the times of the other sounds: how often lips would be there anyway.
    return {
        "shut": reached(opening, shut, shut=True),
        "open": reached(opening, wide, shut=False),
        "shut_elsewhere": reached(opening, [(start, start + CONSONANT_S) for start, _ in _middles(wide)], shut=True),
        "open_elsewhere": reached(opening, shut, shut=False),
        "follows": _follows(opening, usual),
        "follows_others": _follows(opening, other),
    }


def _follows(opening: NDArray[np.float64], usual: NDArray[np.float64]) -> list[float]:
    count = min(len(opening), len(usual))
    found = correlation(detrend(opening[:count]), detrend(usual[:count]))
    return [] if found is None else [found]


def _middles(spans: Sequence[Span]) -> list[Span]:
    return [((start + end) / 2 - CONSONANT_S / 2, end) for start, end in spans]


def usual_lips(prepared: Path, talkers: str) -> VisemeModel:
    """How far open lips are, on average, at the sounds of these talkers' training clips."""
    wanted = talkers.split(",")
    films = [
        (
            occupancy(phones_of_words(clip.words), len(clip.landmarks)),
            geometry.measure(np.asarray(clip.landmarks))[:, :1],
        )
        for clip in read_clips(prepared, "train")
        if clip.words and clip.talker in wanted
    ]
    if not films:
        raise StreamheadError(f"{prepared} has no training clips of {talkers} with words; give others by --talkers")
    return VisemeModel.fit(films)


def said_by(voice: str, text: str) -> Said:
    return say_words(text) if voice == HUMAN else say(*VOICES[voice], text)


def spoken(
    scorer: Scorer, head: TalkingHead, voice: str, texts: tuple[str, str], lips: VisemeModel, picture: Path
) -> dict[str, list[float]]:
    """The first of the texts is said, the second is another."""
    sound, phones = said_by(voice, texts[0])
    pad = np.zeros(int(LEAD * SAMPLE_RATE), np.float32)
    sound = np.concatenate([pad, sound, pad])
    drawn = np.stack([frame.image for frame in head.render(sound, SAMPLE_RATE, temperature=0.0, view="face")])
    phones, others = (
        [(LEAD + start, LEAD + end, phone) for start, end, phone in said]
        for said in (phones, said_by(voice, texts[1])[1])
    )
    if not picture.exists():
        index = np.arange(int(LEAD * FPS) - 2, len(drawn) - int(LEAD * FPS) + 2, 2)
        at = [" ".join(p for s, e, p in phones if s < (t + 1) / FPS and e > t / FPS) for t in index]
        save(picture, strip({voice: drawn}, index, at))
    shut, wide = ([(s, e) for s, e, phone in phones if phone in wanted] for wanted in (SHUT_PHONES, OPEN_PHONES))
    usual, other = (lips.predict(occupancy(said, len(drawn)))[:, 0] for said in (phones, others))
    return judged(opening_of(scorer, drawn), shut, wide, usual, other)


def markdown(kept: dict[str, dict[str, list[float]]], facts: str) -> str:
    rows: dict[str, dict[str, list[float]]] = {}
    for key, one in kept.items():
        row = rows.setdefault(key.rsplit(" | ", 1)[0], {})
        for name, results in one.items():
            row.setdefault(name, []).extend(results)
    real = rows["real clips"]
    lines = [
        facts,
        "",
        "| voice | shut on p, b, m | of real | open on vowels | of real | shut in mid-vowel | open on p, b, m "
        "| follows its sounds | another sentence's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        cells = []
        for key in ("shut", "open"):
            share = float(np.mean(row[key]))
            cells += [f"{share:.2f} ({sum(row[key]):.0f}/{len(row[key])})", f"{share / np.mean(real[key]):.2f}"]
        cells += [
            f"{np.mean(row[key]):.2f}" for key in ("shut_elsewhere", "open_elsewhere", "follows", "follows_others")
        ]
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
    kept: dict[str, dict[str, list[float]]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    with Scorer(Plan((model,), seed=seed)) as scorer:
        engine = scorer.engine(model)
        head = TalkingHead(engine, Portrait.default())
        lips = usual_lips(prepared, talkers)
        texts = {
            "": [" ".join(word for _, _, word in pair.clip.words) for pair in pairs[:sentences]],
            ", everyday words": EVERYDAY.read_text("utf-8").splitlines()[:sentences],
        }
        draw = np.random.default_rng(seed)
        groups = [
            [" ".join(group) for group in np.array_split(draw.permutation(words), len(words) // WORDS_AT_ONCE)]
            for words in (GRIDS_WORDS, WORDS)
        ]
        todo: list[tuple[str, Any]] = [
            (f"{name}{kind} | {text}", (name, (text, other)))
            for name, kind, many in [
                *((name, kind, many) for kind, many in texts.items() for name in VOICES),
                (HUMAN, ", letters and digits", groups[0]),
                (HUMAN, ", other words", groups[1]),
            ]
            for text, other in zip(many, [*many[1:], many[0]], strict=True)
        ]
        clips_and_others = [(pair.clip, other.clip) for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True)]
        todo += [(f"real clips | {clip.name}", (clip, other)) for clip, other in clips_and_others]
        todo += [(f"the model, these clips' sound | {clip.name}", (clip, other)) for clip, other in clips_and_others]
        for key, what in track([one for one in todo if one[0] not in kept], "listening"):
            if isinstance(what[0], str):
                picture = out / "strips" / f"{re.sub(r'[^a-z0-9]+', '-', key.split(' | ')[0])}.png"
                kept[key] = spoken(scorer, head, *what, lips, picture)
            else:
                clip = what[0]
                frames = np.asarray(clip.frames)
                if not key.startswith("real"):
                    frames = generate(head_of(engine, clip), clip, clip, seed=seed, temperature=0.0)
                usual = [lips.predict(occupancy(phones_of_words(one.words), len(frames)))[:, 0] for one in what]
                kept[key] = judged(opening_of(scorer, frames), *spans_of_words(clip), *usual)
            write_texts(out, {path.name: json.dumps(kept)})
    wanted = dict(sorted(((key, kept[key]) for key, _ in todo), key=lambda item: "real" not in item[0][:4]))
    facts = (
        f"{sentences} sentences a voice, {len(pairs)} real clips ({talkers}), split test, weights {model.preset} "
        f"{model.sha256[:12]}, temperature 0, seed {seed}; shut: under {SHUT:g} of the clip's range of opening (5th to "
        f"95th percentile) at least once in the sound's time and a frame on either side; open: above {OPEN:g}; "
        "follows: mean over sentences of the opening's correlation with what lips of training clips do at such sounds "
        "on average, detrended."
    )
    text = markdown(wanted, facts)
    typer.echo(text)
    write_texts(out, {"other-voices.md": text})


if __name__ == "__main__":
    typer.run(main)
