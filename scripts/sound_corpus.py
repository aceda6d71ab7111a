"""What the sound's networks are trained on: clips in some versions, sounds without a talker, synthetic speech."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pseudo_words import pseudo_sentence
from rich.progress import track
from safetensors.torch import load_file, save_file
from synthetic_voices import say
from torch import Tensor

from streamhead.audio.features import extract
from streamhead.audio.features import patches as windows
from streamhead.audio.frontend import analyse
from streamhead.audio.level import TARGET_DB
from streamhead.audio.resample import resample
from streamhead.timebase import HOP, SAMPLE_RATE
from streamhead.training import geometry
from streamhead.training.batches import BatchSource, Clip
from streamhead.training.sound import nobody
from streamhead.training.visemes import VISEMES, occupancy, phones_of_words

LEAD: Final = 12
"""Most frames of silence before a clip; one that always heard as many would be lost in a stream's first frames."""
FRAMES: Final = 75
HASTE: Final = 0.12
"""Logarithm of the most by which a clip is slowed down or hastened."""
SLOWNESS: Final = (0.8, 1.3)
"""Of synthetic speech against its usual time."""
PITCH: Final = (80.0, 250.0)
"""Of synthetic speech, hertz."""
PAUSE: Final = 12
"""Most frames of silence before a synthetic sentence, and after it."""
VOICES: Final = (
    "flite:awb",
    "flite:awb",
    "flite:kal16",
    "festival:ked_diphone",
    "festival:ked_diphone",
    "espeak:gmw/en",
    "espeak:gmw/en+f2",
    "espeak:gmw/en-GB-scotland+m3",
    "espeak:gmw/en-GB-x-rp+f4",
    "espeak:gmw/en-GB-x-gbclan+m5",
    "espeak:gmw/en-029+f1",
    "espeak:gmw/en-GB-x-gbcwmd+klatt",
    "espeak:gmw/en-GB-x-rp+m7",
)
"""ENGINE:VOICE; none of those that ``other_voices.py`` asks, nor that of the library's own speech.

Two that are made of real voices stand here twice, and so say twice as much.
"""
FOREIGN: Final = {
    "festival:lp_diphone": "italian",
    "festival:pc_diphone": "italian",
    "festival:suo_fi_lj_diphone": "finnish",
    "festival:hy_fi_mv_diphone": "finnish",
    "festival:czech_dita": "czech",
    "festival:czech_krb": "czech",
    "festival:czech_machac": "czech",
    "festival:czech_ph": "czech",
    "festival:upc_ca_ona_hts": "catalan",
    "festival:msu_ru_nsh_clunits": "russian",
}
"""The same, of other languages: more voices made of real ones, women's and a child's among them."""
SENTENCES: Final = Path(__file__).with_name("sentences.txt")


@dataclass(frozen=True)
class Corpus:
    """Sounds as feature patches, half precision, and what belongs to them.

    Attributes:
        patches: ``(V, N, LEAD + FRAMES, rows, dims)`` of N clips; version 0 is the sound as it was recorded.
        measures: ``(V, N, FRAMES, 5)`` what their faces did, standardised.
        moments: ``(V, N, FRAMES)`` which frame of version 0 a frame corresponds to; -1 after the clip's end.
        visemes: ``(V, N, FRAMES, VISEMES)`` what is said, by the clips' words; zeros where they are not known.
        unspoken: ``(M, LEAD + FRAMES, rows, dims)``; nobody speaks.
        spoken: ``(S, LEAD + FRAMES, rows, dims)``; synthetic voices.
        said: ``(S, FRAMES, VISEMES)`` what they say; nothing at all after the sound's end.
    """

    patches: Tensor
    measures: Tensor
    moments: Tensor
    visemes: Tensor
    unspoken: Tensor
    spoken: Tensor
    said: Tensor

    @classmethod
    def read(cls, path: Path) -> Corpus:
        """One that was kept."""
        return cls(**load_file(path))

    def write(self, path: Path) -> None:
        """Keep it."""
        save_file({field.name: getattr(self, field.name) for field in fields(self)}, path)


def _as_clip(clip: Clip, **arrays: Any) -> Clip:
    """The clip with other arrays in the place of those that it would load."""
    out = replace(clip)
    out.__dict__.update(arrays)
    return out


def hasten(clip: Clip, factor: float) -> Clip:
    """The clip spoken ``factor`` times as fast, sound, face and gate alike; the voice goes up with it."""
    count = len(clip.frames)
    moments = np.arange(int(count / factor)) * factor
    below = np.minimum(moments.astype(int), count - 2)
    part = (moments - below)[:, None, None]
    landmarks = np.asarray(clip.landmarks)
    words = tuple((start / factor, end / factor, word) for start, end, word in clip.words)
    return _as_clip(
        replace(clip, words=words),
        landmarks=(1.0 - part) * landmarks[below] + part * landmarks[below + 1],
        speech=clip.speech[np.minimum(np.rint(moments).astype(int), len(clip.speech) - 1)],
        frames=np.broadcast_to(np.uint8(0), (len(moments), 0, 0, 3)),
        audio=resample(clip.audio, round(SAMPLE_RATE * factor), SAMPLE_RATE),
    )


def gather(
    clips: list[Clip],
    plain: BatchSource,
    altered: BatchSource,
    versions: int,
    unspoken: int = 0,
    voices: tuple[str, ...] = (),
    sentences: int = 0,
) -> Corpus:
    """The corpus of these clips, and so many sounds without a talker, and so many sentences by each of the voices."""
    spec = plain.spec
    shape = (versions, len(clips), FRAMES)
    measures, moments = np.zeros((*shape, 5), np.float32), np.full(shape, -1, np.int16)
    visemes = np.zeros((*shape, len(VISEMES)), np.float32)
    patches = np.zeros((versions, len(clips), LEAD + FRAMES, spec.rows, spec.dims), np.float16)
    for i, original in enumerate(track(clips, "sound")):
        for version in range(versions):
            rng = np.random.default_rng((7, i, version))
            # In a round number of samples a second, so that resampling is exact; half of the versions keep their pace.
            factor = round(160 * np.exp(rng.uniform(-HASTE, HASTE))) / 160 if version % 2 else 1.0
            clip = hasten(original, factor) if factor != 1.0 else original
            count = min(len(clip.frames), FRAMES)
            found = geometry.measure(np.asarray(clip.landmarks)[:count])
            measures[version, i, :count] = (found - altered.geometry_mean) / altered.geometry_std
            moments[version, i, :count] = np.minimum(np.rint(np.arange(count) * factor), len(original.frames) - 1)
            if clip.words:
                visemes[version, i, :count] = occupancy(phones_of_words(clip.words), count)
            sound, _ = (altered if version else plain).sound(clip, -LEAD, LEAD + count, rng)
            patches[version, i, : len(sound)] = sound
    without = np.zeros((unspoken, LEAD + FRAMES, spec.rows, spec.dims), np.float16)
    for i in track(range(unspoken), "nobody speaks"):
        rng = np.random.default_rng((8, i))
        crowd = [clips[index] for index in rng.integers(len(clips), size=int(rng.integers(3, 7)))]
        talkers = [clip.audio[np.repeat(clip.speech, HOP)[: len(clip.audio)].nonzero()[0]] for clip in crowd]
        sound = nobody((LEAD + FRAMES + 8) * HOP, rng, [talker for talker in talkers if len(talker)])
        loud = np.float32(10 ** ((TARGET_DB + rng.normal(0.0, 5.0)) / 20))
        without[i] = windows(extract(sound * loud, spec), spec, 4, 4 + LEAD + FRAMES)
    spoken, said = _synthetic(clips[0], altered, voices, sentences)
    arrays = (patches, measures, moments, visemes, without, spoken, said)
    return Corpus(*(torch.from_numpy(array) for array in arrays))


def _texts() -> list[str]:
    """What people say in calls, and, for more words, sentences without code of Python's own documentation."""
    plain = re.sub(r"\s+", " ", re.sub("[*`]", "", " ".join(topics.values())))
    sentence = re.compile(r"[A-Z][a-z]*( [a-z]+(-[a-z]+)?,?){5,13}[.!?]")
    found = {part for part in re.split(r"(?<=[.!?]) ", plain) if sentence.fullmatch(part)}
    return [*SENTENCES.read_text("utf-8").splitlines(), *sorted(found)]


def _synthetic(
    like: Clip, altered: BatchSource, voices: tuple[str, ...], sentences: int
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """So many sentences by each voice, one window of each, at a pace and in a room of its own."""
    spec, texts, draw = altered.spec, _texts(), np.random.default_rng(6)
    todo = [
        (voice, pseudo_sentence(FOREIGN[voice], draw) if voice in FOREIGN else texts[index])
        for voice in voices
        for index in draw.permutation(len(texts))[:sentences]
    ]
    patches = np.zeros((len(todo), LEAD + FRAMES, spec.rows, spec.dims), np.float16)
    said = np.zeros((len(todo), FRAMES, len(VISEMES)), np.float32)
    for i, (voice, text) in enumerate(track(todo, "synthetic voices")):
        rng = np.random.default_rng((9, i))
        before, after = (int(frames) for frames in rng.integers(PAUSE + 1, size=2))
        pitch = round(float(np.exp(rng.uniform(*np.log(PITCH)))))
        sound, phones = say(*voice.split(":"), text, round(float(rng.uniform(*SLOWNESS)), 2), pitch)
        frames = before + -(-len(sound) // HOP) + after
        audio = np.zeros(frames * HOP, np.float32)
        audio[before * HOP :][: len(sound)] = 0.5 * sound / max(float(np.abs(sound).max()), 1e-6)
        clip = _as_clip(
            like, audio=audio, speech=analyse(audio), frames=np.broadcast_to(np.uint8(0), (frames, 0, 0, 3))
        )
        occupied = occupancy(
            [(a + before * HOP / SAMPLE_RATE, b + before * HOP / SAMPLE_RATE, p) for a, b, p in phones], frames
        )
        first = int(rng.integers(max(frames - FRAMES, 0) + 1))
        count = min(frames - first, FRAMES)
        heard, _ = altered.sound(clip, first - LEAD, LEAD + count, rng)
        patches[i, : len(heard)] = heard
        said[i, :count] = occupied[first : first + count]
    return patches, said
