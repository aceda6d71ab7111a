"""A small lip reader of GRID's closed vocabulary: can the words still be read off drawn lips?

It learns from real clips alone, at half the resolution of the canonical square, which real and drawn lips both have,
and from pictures blurred at random, so that it cannot reject a drawn mouth for its softness.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from streamhead.errors import CheckpointError, DataError, OutputError
from streamhead.face.align import MOUTH
from streamhead.timebase import FPS
from streamhead.training.batches import Clip
from streamhead.training.run_folder import Ema, RunFolder

__all__ = [
    "CHANCE",
    "SLOTS",
    "LipReader",
    "Sentence",
    "epochs_learnt",
    "learn",
    "load_reader",
    "mouths",
    "read_words",
    "sentence_of",
]

SLOTS: Final[tuple[tuple[str, ...], ...]] = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
"""The six places of a sentence, and the words that may stand there: 51 in all."""

CHANCE: Final = float(np.mean([1 / len(words) for words in SLOTS]))
"""Share of words that guessing gets right."""

_SIDES: Final = (24, 34)
_AIR: Final = 4
_BATCH: Final = 16
_RATE: Final = 2e-3
_EMA: Final = 0.99


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """What is read.

    Attributes:
        mouths: ``(T, 24, 34)`` uint8 grey.
        spans: ``(6, 2)`` first frame and end of each word, fractions of frames.
        words: ``(6,)`` the word's number within its slot.
    """

    mouths: NDArray[np.uint8]
    spans: NDArray[np.float64]
    words: NDArray[np.int64]


def mouths(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mouth region of canonical squares ``(T, 128, 128, 3)``, grey and at half the size, ``(T, 24, 34)``."""
    size = _SIDES[1], _SIDES[0]
    return np.stack(
        [
            cv2.resize(
                cv2.cvtColor(np.ascontiguousarray(frame[MOUTH]), cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA
            )
            for frame in frames
        ]
    ).astype(np.uint8)


def sentence_of(clip: Clip, lips: NDArray[np.uint8] | None = None) -> Sentence | None:
    """A clip's words and its lips, or other lips that are to say the same; None where the clip is no GRID sentence.

    Args:
        clip: whose words and timing.
        lips: of :func:`mouths`.
    """
    if len(clip.words) != len(SLOTS) or any(w not in s for (_, _, w), s in zip(clip.words, SLOTS, strict=True)):
        return None
    return Sentence(
        mouths(np.asarray(clip.frames)) if lips is None else lips,
        np.array([(start * FPS, end * FPS) for start, end, _ in clip.words]),
        np.array([slot.index(word) for (_, _, word), slot in zip(clip.words, SLOTS, strict=True)]),
    )


class LipReader(nn.Module):
    """Pictures by themselves, then their neighbours, then a word's beginning and end, then the slot's own words."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(2, 16, 5, 2, 2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * 6 * 9, 96),
        )
        self.follow = nn.Sequential(
            nn.BatchNorm1d(96),
            nn.ReLU(),
            nn.Conv1d(96, 128, 5, 1, 2),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Conv1d(128, 128, 3, 1, 1),
            nn.BatchNorm1d(128),
            nn.ReLU(),
        )
        self.slots = nn.ModuleList(nn.Linear(256, len(words)) for words in SLOTS)

    def forward(self, pictures: Tensor, weights: Tensor) -> list[Tensor]:
        """Logits of each slot, ``(B, words)``.

        Args:
            pictures: ``(B, T, 2, 24, 34)``, grey and its change.
            weights: ``(B, 12, T)``, for each word how much a frame counts for its beginning and for its end.
        """
        codes = self.look(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        followed = self.follow(codes.mT).mT
        words = (weights @ followed).unflatten(1, (len(SLOTS), 2)).flatten(2)
        return [slot(words[:, index]) for index, slot in enumerate(self.slots)]


def _weights(spans: NDArray[np.float64], first: int, count: int) -> NDArray[np.float32]:
    """``(12, count)``: rows of a word's beginning and end, each of sum 1; a frame on either side counts as well."""
    middles = np.arange(first, first + count) + 0.5
    rows = []
    for start, end in spans:
        place = (middles - start + 1.0) / (end - start + 2.0)
        inside = (place > 0) & (place < 1)
        for ramp in (1.0 - place, place):
            row = np.where(inside, ramp, 0.0)
            rows.append(row / max(row.sum(), 1e-6))
    return np.stack(rows).astype(np.float32)


def _pictures(lips: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(T, 24, 34)`` -> ``(T, 2, 24, 34)``: grey off the mean picture, in units of its contrast; its change."""
    grey = (lips - lips.mean(0)) / (lips.mean(0).std() + 4.0)
    return np.stack([grey, np.diff(grey, axis=0, prepend=grey[:1])], 1).astype(np.float32)


def _altered(lips: NDArray[np.uint8], rng: np.random.Generator, blur: bool) -> NDArray[np.float32]:
    """Moved by up to 1.5 px, turned over, brighter or of less contrast, blurred: all frames alike."""
    sigma = rng.uniform(0.3, 1.0) if blur and rng.random() < 0.5 else 0.0
    shift = np.array([[1, 0, rng.uniform(-1.5, 1.5)], [0, 1, rng.uniform(-1.5, 1.5)]])
    stack = np.moveaxis(lips[:, :, :: -1 if rng.random() < 0.5 else 1], 0, -1).astype(np.float32)
    parts = []
    for start in range(0, stack.shape[-1], 4):  # OpenCV warps four channels at most
        part = np.ascontiguousarray(stack[..., start : start + 4])
        moved = cv2.warpAffine(part, shift, _SIDES[::-1], borderMode=cv2.BORDER_REPLICATE)
        soft = cv2.GaussianBlur(moved, (0, 0), sigma) if sigma else moved
        parts.append(soft.reshape(*_SIDES, -1))
    lips = np.moveaxis(np.concatenate(parts, -1), -1, 0)
    return np.asarray(lips * rng.uniform(0.8, 1.25) + rng.uniform(-20, 20), np.float32)


def _batch(
    sentences: Sequence[Sentence], rng: np.random.Generator | None = None, blur: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, weights and words of sentences; altered if there is a generator."""
    pictures, weights = [], []
    for one in sentences:
        spans = one.spans if rng is None else one.spans + rng.uniform(-1.0, 1.0, (len(SLOTS), 1))
        first = max(0, int(one.spans[0, 0]) - _AIR)
        last = min(len(one.mouths), int(one.spans[-1, 1]) + 1 + _AIR)
        seen = one.mouths[first:last]
        pictures.append(_pictures(seen.astype(np.float32) if rng is None else _altered(seen, rng, blur)))
        weights.append(_weights(spans, first, last - first))
    span = max(len(part) for part in pictures)
    padded = [np.pad(part, ((0, span - len(part)), (0, 0), (0, 0), (0, 0))) for part in pictures]
    spread = [np.pad(part, ((0, 0), (0, span - part.shape[1]))) for part in weights]
    words = np.stack([one.words for one in sentences])
    return torch.from_numpy(np.stack(padded)), torch.from_numpy(np.stack(spread)), torch.from_numpy(words)


@torch.inference_mode()
def read_words(reader: LipReader, sentences: Sequence[Sentence]) -> NDArray[np.bool_]:
    """Which words are read right, ``(N, 6)``; each sentence by itself."""
    reader.eval()
    right = []
    for one in sentences:
        pictures, weights, words = _batch([one])
        guessed = [int(logits.argmax()) for logits in reader(pictures, weights)]
        right.append(np.array(guessed) == words[0].numpy())
    return np.stack(right)


def load_reader(path: Path) -> tuple[LipReader, dict[str, str]]:
    """A reader that :func:`learn` wrote, and what it says about itself.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    reader = LipReader()
    try:
        with safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            reader.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path} is no lip reader ({error}); remove it to learn one anew") from error
    return reader.eval(), facts


def epochs_learnt(folder: Path) -> int:
    """Epochs that :func:`learn` has behind it in a folder.

    Raises:
        CheckpointError: its state is damaged.
    """
    state = RunFolder(folder).state
    if not state.is_file():
        return 0
    try:
        with safe_open(state, "pt") as file:
            return int(file.metadata()["step"])
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{state} is damaged ({error}); remove {folder} to learn anew") from error


def learn(
    folder: Path,
    train: Sequence[Sentence],
    val: Sequence[Sentence],
    *,
    epochs: int = 10,
    blur: bool = True,
    seed: int = 0,
    progress: Callable[[int, int, float], None] = lambda done, total, accuracy: None,
) -> Path:
    """Learn to read; a run that was stopped goes on from its last epoch.

    Args:
        folder: for the state of the run and for ``reader.safetensors``, the average of the weights at the epoch that
            read most of ``val`` right.
        train: real sentences.
        val: those that decide which epoch is kept.
        epochs: passes over ``train``.
        blur: blur half of the sentences.
        seed: of weights, order and alterations.
        progress: called with epochs done, their total, and the share of ``val`` read right.

    Raises:
        DataError: too few sentences.
        OutputError: the folder cannot be written.
        CheckpointError: what is in the folder cannot be gone on from.
    """
    best = folder / "reader.safetensors"
    if best.is_file() and epochs_learnt(folder) >= epochs:
        return best
    if len(train) < _BATCH or not val:
        raise DataError(
            f"a lip reader needs {_BATCH} training sentences and a validation sentence of GRID; "
            f"there are {len(train)} and {len(val)}"
        )
    torch.manual_seed(seed)
    reader = LipReader()
    average = Ema(reader, _EMA)
    optimiser = torch.optim.AdamW(reader.parameters(), _RATE, weight_decay=0.02)
    run = RunFolder(folder)
    start = run.load(reader, average, optimiser) if epochs_learnt(folder) else 0
    kept = float(load_reader(best)[1]["accuracy"]) if start and best.is_file() else -1.0
    steps = len(train) // _BATCH
    judge = LipReader()
    for epoch in range(start, epochs):
        rng = np.random.default_rng((seed, epoch))
        torch.manual_seed(seed + 1000 * (epoch + 1))  # dropout
        order = rng.permutation(len(train))
        reader.train()
        for step in range(steps):
            done = (epoch * steps + step) / (epochs * steps)
            for group in optimiser.param_groups:
                group["lr"] = _RATE * min(1.0, 20 * done + 0.05) * 0.5 * (1 + np.cos(np.pi * done))
            chosen = [train[i] for i in order[step * _BATCH : (step + 1) * _BATCH]]
            pictures, weights, words = _batch(chosen, rng, blur)
            logits = reader(pictures, weights)
            loss = torch.stack(
                [F.cross_entropy(one, words[:, slot], label_smoothing=0.1) for slot, one in enumerate(logits)]
            ).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            average.update(reader, epoch * steps + step)
        judge.load_state_dict(average.values)
        accuracy = float(read_words(judge, val).mean())
        try:
            run.save(reader, average, optimiser, epoch + 1)
            if accuracy > kept:
                kept = accuracy
                facts = {
                    "accuracy": str(accuracy),
                    "epoch": str(epoch + 1),
                    "blur": json.dumps(blur),
                    "seed": str(seed),
                }
                save_file(judge.state_dict(), best.with_suffix(".new"), facts)
                os.replace(best.with_suffix(".new"), best)
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error.strerror}; make room or choose another") from error
        progress(epoch + 1, epochs, accuracy)
    return best
