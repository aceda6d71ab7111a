"""Batches: a pure function of (seed, step, process), so that a resumed run sees what it would have seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamhead.audio.features import FeatureSpec, extract, feature_spec, patches
from streamhead.audio.level import TARGET_DB
from streamhead.baselines.landmark_cascade import mouth_shape
from streamhead.errors import DataError
from streamhead.timebase import HOP
from streamhead.training import geometry
from streamhead.training.config import TrainingConfig
from streamhead.training.disguise import draw_disguise
from streamhead.training.picture import draw_look, plain_look
from streamhead.training.sound import Voice, draw_voice, record, shift_pitch

__all__ = ["Batch", "BatchSource", "Clip", "read_clips"]


@dataclass(frozen=True)
class Clip:
    """One prepared clip; arrays are memory-mapped when first asked for."""

    folder: Path
    talker: str
    name: str
    split: str | None
    words: tuple[tuple[float, float, str], ...] = ()

    def _load(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return array

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        """``(T, 128, 128, 3)`` canonical crops."""
        return self._load("frames")

    @cached_property
    def landmarks(self) -> NDArray[np.float32]:
        """``(T, 478, 2)`` canonical coordinates."""
        return self._load("landmarks")

    @cached_property
    def audio(self) -> NDArray[np.float32]:
        """``(n,)`` 16 kHz in [-1, 1]."""
        raw = np.asarray(self._load("audio"))
        return raw.astype(np.float32) / 32768.0 if raw.dtype == np.int16 else raw.astype(np.float32)

    @cached_property
    def speech(self) -> NDArray[np.bool_]:
        """``(T,)`` whether the voice detector's gate is open."""
        return np.asarray(self._load("speech")).astype(bool)


def read_clips(prepared: Path, split: str | None = None) -> list[Clip]:
    """The clips of a prepared folder's manifest, in its order.

    Raises:
        DataError: no manifest, or no clip of that split.
    """
    manifest = prepared / "manifest.jsonl"
    if not manifest.is_file():
        raise DataError(f"no manifest.jsonl in {prepared}; make one with `streamhead prepare grid SRC {prepared}`")
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line]
    clips = [
        Clip(
            prepared / row["path"],
            row["talker"],
            row["name"],
            row.get("split"),
            tuple((float(a), float(b), str(word)) for a, b, word in row.get("words") or ()),
        )
        for row in rows
        if split is None or row.get("split") == split
    ]
    if not clips:
        raise DataError(f"{manifest} has no clip of split {split!r}; prepare with --split split.json")
    return sorted(clips, key=lambda clip: (clip.talker, clip.name))


@dataclass(frozen=True, eq=False)
class Batch:
    """B clips of T frames, K of them to be decoded.

    Attributes:
        patches: ``(B, burn_in + T, rows, dims)``.
        reference: ``(B, 3, 128, 128)`` first frames.
        frames: ``(B, T, 3, side, side)``, the frame posterior's input; 64 px for ``call``, 128 px for ``paper``;
            ``(B, 0, ...)`` where training does not look at them.
        targets: ``(B, K, 3, 128, 128)``.
        index: ``(B, K)`` which of the T frames the targets are.
        geometry: ``(B, T, 5)``, standardised.
        points: ``(B, K, 478, 2)`` where the targets' landmarks lie, (x, y) in pixels.
        origins: ``(B, 478, 2)`` where the first frames' do.
        shapes: ``(B, T, 40)``, mouths of :func:`mouth_shape`; right where pictures are not altered.
        eps: ``(2, B, T, z)`` standard-normal noise for q(z|f) and q(z|a).
        heard: ``(B,)`` 1 where the clip is to be decoded from q(z|a).
    """

    patches: Tensor
    reference: Tensor
    frames: Tensor
    targets: Tensor
    index: Tensor
    geometry: Tensor
    points: Tensor
    origins: Tensor
    shapes: Tensor
    eps: Tensor
    heard: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


def _reflect(length: int, start: int, count: int, lead: int, tail: int) -> NDArray[np.int64]:
    """Frame numbers for ``count`` steps from ``start``; outside the clip they swing within its silent ends."""
    out = np.arange(start, start + count)
    before, after = out < 0, out >= length
    phase = (-out[before] - 1) % (2 * lead)
    out[before] = np.minimum(phase, 2 * lead - 1 - phase)
    phase = (out[after] - length) % (2 * tail)
    out[after] = length - 1 - np.minimum(phase, 2 * tail - 1 - phase)
    return out


class BatchSource:
    """Draws batches from prepared clips."""

    def __init__(self, config: TrainingConfig, *, rank: int = 0, world: int = 1) -> None:
        if config.data.clips % world:
            raise DataError(f"data.clips = {config.data.clips} does not divide among {world} processes; change one")
        self.config = config
        self.rank, self.world = rank, world
        wanted = set(config.data.talkers)
        self.clips = [c for c in read_clips(config.data.prepared, "train") if not wanted or c.talker in wanted]
        if not self.clips:
            raise DataError(f"no training clip of talkers {sorted(wanted)}; mend data.talkers")
        self.spec: FeatureSpec = feature_spec(config.network.features, config.network.look_ahead)
        self.talkers = sorted({clip.talker for clip in self.clips})
        self.by_talker = {name: [c for c in self.clips if c.talker == name] for name in self.talkers}
        sizes = np.array([len(self.by_talker[name]) for name in self.talkers], np.float64)
        self.weights = sizes**config.data.talker_power / (sizes**config.data.talker_power).sum()
        self.geometry_mean, self.geometry_std = self._geometry_statistics()

    def sample_clips(self, count: int) -> list[Clip]:
        """About so many training clips, evenly over all."""
        step = max(1, len(self.clips) // count)
        return self.clips[::step]

    def _geometry_statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        values = np.concatenate([geometry.measure(clip.landmarks) for clip in self.sample_clips(100)])
        return values.mean(0), values.std(0) + 1e-6

    def feature_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal standard deviation of each feature coefficient, over augmented training sound."""
        rng = np.random.default_rng((self.config.seed, 1))
        rows = []
        for clip in self.sample_clips(60):
            part, _ = self.sound(clip, 0, len(clip.frames), rng)
            rows.append(part.reshape(-1, part.shape[-1]))
        values = np.concatenate(rows)
        return torch.from_numpy(values.mean(0)), torch.from_numpy(1.0 / (values.std(0) + 1e-3))

    def sound(
        self, clip: Clip, start: int, count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Patches of frames ``start .. start+count`` (which may lie outside the clip), and their gate."""
        data = self.config.data
        voice = Voice()
        audio = clip.audio
        speech = clip.speech
        pad = max(0, -start, start + count - len(clip.frames)) + 4
        length = len(clip.frames) + 2 * pad
        gate = np.zeros(length, bool)
        gate[pad : pad + len(speech)] = speech
        sound = np.zeros(length * HOP, np.float32)
        body = audio[: len(clip.frames) * HOP]
        sound[pad * HOP : pad * HOP + len(body)] = body
        loud = np.repeat(gate, HOP)
        if data.augment_sound:
            voice = draw_voice(rng)
            crowd = rng.integers(len(self.clips), size=int(rng.integers(1, 5)))
            sound = record(sound, rng, [self.clips[index].audio for index in crowd])
        offset = 0.0
        if self.spec.kind == "log-mel":
            # What the streaming level normalisation settles to, and how far from it the first words may be.
            rms = float(np.sqrt(np.mean(sound[loud] ** 2))) if loud.any() else 0.0
            gain_db = TARGET_DB - 20 * np.log10(max(rms, 1e-5))
            gain_db += float(rng.normal(0.0, 4.0)) if data.augment_sound else 0.0
            offset = gain_db * np.log(10.0) / 10.0
        rows = extract(shift_pitch(sound, voice.tempo), self.spec, vtln=voice.vtln, tempo=voice.tempo)
        if offset:
            rows = self.spec.amplify(rows, offset)
        out = patches(rows, self.spec, pad + start, pad + start + count)
        gate = gate[pad + start : pad + start + count]
        if rng.random() < 0.7:
            # The live gate's timing is not this clip's: let it open early or close late by up to two frames.
            spread = np.convolve(gate, np.ones(2 * int(rng.integers(0, 3)) + 1), "same") > 0
            out = np.where(spread[:, None, None], out, self.spec.silence_row())
        return out.astype(np.float32), gate

    def _clip(self, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        data, network = self.config.data, self.config.network
        clips = self.by_talker[str(rng.choice(self.talkers, p=self.weights))]
        clip = clips[int(rng.integers(len(clips)))]
        total, span = len(clip.frames), data.frames
        stretch = int(rng.integers(0, data.silence + 1)) if data.silence and rng.random() < 0.5 else 0
        start = int(rng.integers(-stretch, total - span + stretch + 1))
        spoken = np.flatnonzero(clip.speech)
        lead = int(np.clip(spoken[0] if len(spoken) else total, 1, 12))
        tail = int(np.clip(total - 1 - spoken[-1] if len(spoken) else total, 1, 12))
        numbers = _reflect(total, start, span, lead, tail)
        # Without a share nothing is drawn, so that batches of such recipes stay what they were.
        altered = data.augment_picture and (not data.plain_share or rng.random() >= data.plain_share)
        look = draw_look(rng) if altered else plain_look()
        first = int(rng.integers(total))
        edges = np.linspace(0, span, data.decoded + 1).astype(int)
        index = np.array([int(rng.integers(a, b)) for a, b in pairwise(edges)])
        if network.predictor_input == "previous-output":
            # Frame 0 of the window is given, never predicted (paper section 3); it is the first frame as well.
            index = np.maximum(index, 1)
            first = int(numbers[0])
        frames = clip.frames[numbers if network.sees_frames else numbers[:0]]
        side = 64 if network.backbone == "warp" else 128
        shown = np.concatenate([[first], numbers[index]])
        fine = clip.frames[shown]
        landmarks = np.asarray(clip.landmarks)
        if altered and data.disguise_share and rng.random() < data.disguise_share:
            disguise = draw_disguise(rng)
            frames = disguise.wear(frames, landmarks[numbers[: len(frames)]])
            fine = disguise.wear(fine, landmarks[shown])
        sharp = look.apply(fine)
        sound, _ = self.sound(clip, start - data.burn_in, data.burn_in + span, rng)
        carried = look.carry(landmarks[shown])
        measures = geometry.measure(landmarks, flipped=look.flipped)[numbers]
        rho = float(rng.choice([0.0, rng.uniform(0.5, 0.97)]))
        eps = rng.standard_normal((2, span, network.z_size)).astype(np.float32)
        for t in range(1, span):
            eps[:, t] = rho * eps[:, t - 1] + np.sqrt(1.0 - rho**2) * eps[:, t]
        return {
            "patches": sound,
            "reference": sharp[0],
            "frames": look.apply(frames, side),
            "targets": sharp[1:],
            "index": index,
            "geometry": (measures - self.geometry_mean) / self.geometry_std,
            "points": carried[1:],
            "origins": carried[0],
            "shapes": mouth_shape(landmarks)[numbers],
            "eps": eps,
            "heard": np.float32(rng.random() < self.config.loss.audio_share),
        }

    def batch(self, step: int) -> Batch:
        """This process's share of the batch of a step; the whole is the same for any number of processes."""
        numbers = range(self.rank, self.config.data.clips, self.world)
        parts = [self._clip(np.random.default_rng((self.config.seed, step, number))) for number in numbers]
        stacked = {
            key: torch.from_numpy(np.stack([part[key] for part in parts], axis=1 if key == "eps" else 0))
            for key in parts[0]
        }
        for key in ("reference", "frames", "targets"):
            stacked[key] = stacked[key].movedim(-1, -3)  # a view: channels-last in memory, as the networks want it
        return Batch(**stacked)

    def stream(self, first: int, last: int) -> Iterator[tuple[int, Batch]]:
        """Batches of steps ``first .. last - 1``, one prepared ahead in a thread."""
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.batch, first)
            for step in range(first, last):
                batch = ahead.result()
                if step + 1 < last:
                    ahead = pool.submit(self.batch, step + 1)
                yield step, batch
