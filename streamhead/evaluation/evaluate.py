"""Score a model on prepared clips, beside the controls that keep the figures honest."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from streamhead.errors import DataError, OutputError
from streamhead.evaluation.cpbd import cpbd
from streamhead.evaluation.generate import generate, head_of, heard, still
from streamhead.evaluation.landmark_metrics import blinks_per_minute, landmark_distance
from streamhead.evaluation.learned_metrics import Identity, Lpips
from streamhead.evaluation.plan import PUPPET, REENCODED, STILL, Condition, Extra, Model, Pair, Plan
from streamhead.evaluation.protocols import Protocol
from streamhead.evaluation.puppet import Puppet
from streamhead.evaluation.sync import compare, find_landmarks, mouth_opening
from streamhead.evaluation.videos import VideoFolder, reencoded
from streamhead.face.landmarks import LandmarkFinder
from streamhead.stream.engine import Engine
from streamhead.stream.talking_head import TalkingHead
from streamhead.training.batches import Clip

__all__ = ["Scorer", "Scores", "code_digest", "evaluate"]

Scores = dict[str, float | None]
"""One clip's scores under one condition; None where a measure is undefined for it."""

_CODE: Final = ("audio", "baselines", "evaluation", "face", "model", "stream")
_SHARPNESS_EVERY: Final = 8


@cache
def code_digest() -> str:
    """Hash of the source that decides a score, so that no cached score outlives the code that made it."""
    root = Path(str(resources.files("streamhead")))
    digest = hashlib.sha256()
    for path in sorted(path for folder in _CODE for path in (root / folder).glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _not_writable(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write to {folder}: {error.strerror}; make room or choose another --out")


@dataclass(frozen=True, slots=True)
class _Seen:
    """Real and drawn frames from the second on, ``(T - 1, 128, 128, 3)``, and the scores no protocol changes."""

    real: NDArray[np.uint8]
    drawn: NDArray[np.uint8]
    scores: Scores


class Scorer:
    """Draws clips and scores them; one a process. A context manager.

    Args:
        plan: how.
        cache: folder of finished scores, made if missing; or None.

    Raises:
        OutputError: the cache cannot be made.
    """

    def __init__(self, plan: Plan, cache: Path | None = None) -> None:
        self.plan = plan
        self._cache = cache
        if cache is not None:
            try:
                cache.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _not_writable(cache, error) from error
        self._finder: LandmarkFinder | None = None
        self._engines: dict[str, Engine] = {}
        self._puppet: Puppet | None = None
        self._head: tuple[Clip, str, TalkingHead] | None = None  # of the clip in hand
        self._real: tuple[Clip, NDArray[np.float32]] | None = None
        self._seen: tuple[Pair, Condition, _Seen | None] | None = None  # what was drawn last

    @property
    def finder(self) -> LandmarkFinder:
        """Finds landmarks, opened when first asked for."""
        if self._finder is None:
            self._finder = LandmarkFinder(max_faces=1)
        return self._finder

    def engine(self, model: Model) -> Engine:
        """A system's network, loaded when first asked for."""
        if model.name not in self._engines:
            self._engines[model.name] = Engine(model.weights, model.preset, self.plan.device)
        return self._engines[model.name]

    def head(self, model: Model, clip: Clip) -> TalkingHead:
        """A system with a clip's first frame as its portrait; the last one is kept."""
        if self._head is None or self._head[0] is not clip or self._head[1] != model.name:
            self._head = clip, model.name, head_of(self.engine(model), clip)
        return self._head[2]

    def draw(self, pair: Pair, condition: Condition) -> NDArray[np.uint8] | None:
        """Frames ``(T, 128, 128, 3)`` under a condition; None where it needs a clip or a video that is not there."""
        if condition == STILL:
            return still(pair.clip)
        if condition == REENCODED:
            return reencoded(pair.clip)
        if condition == PUPPET:
            model = self.plan.first_model
            assert model is not None
            if self._puppet is None:
                self._puppet = Puppet(self.engine(model), self.finder)
            return self._puppet.draw(np.array(pair.clip.frames[0]), heard(pair.clip, pair.clip))
        system = self.plan.system(condition)
        if isinstance(system, VideoFolder):
            return system.read(pair.clip, self.finder)
        sound = pair.other if condition.other_audio else pair.clip
        if sound is None:
            return None
        assert system is not None and condition.temperature is not None
        head = self.head(system, pair.clip)
        return generate(head, pair.clip, sound, seed=self.plan.seed, temperature=condition.temperature)

    def score(self, pair: Pair) -> list[Scores | None]:
        """The clip's scores, one for each of the plan's rows; from the cache where it has them.

        Raises:
            DataError: the clip or its video cannot be read.
            OutputError: the cache cannot be written.
        """
        try:
            content = hashlib.sha256()
            for array in (pair.clip.frames, pair.clip.audio, pair.other.audio if pair.other else np.zeros(0)):
                content.update(np.ascontiguousarray(array).tobytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{pair.clip.folder} cannot be read ({error}); prepare it again") from error
        known = {
            (protocol.name, condition): self._cached(pair, protocol, condition, content.hexdigest())
            for condition in self.plan.conditions  # what is drawn for one protocol serves the next
            for protocol in self.plan.protocols
        }
        self._seen = None
        return [known[protocol.name, condition] for protocol, condition in self.plan.rows]

    def _cached(self, pair: Pair, protocol: Protocol, condition: Condition, content: str) -> Scores | None:
        if self._cache is None:
            return self._score(pair, protocol, condition)
        system = self.plan.system(condition)
        video = system.digest(pair.clip) if isinstance(system, VideoFolder) else ""
        facts = {**self.plan.facts(protocol, condition), **asdict(condition), "extras": self.plan.extras}
        key = hashlib.sha256(json.dumps([facts, content, video, code_digest()]).encode()).hexdigest()
        path = self._cache / f"{pair.clip.talker}-{pair.clip.name}-{key[:16]}.json"
        if path.is_file():
            kept: Scores | None = json.loads(path.read_text(encoding="utf-8"))["scores"]
            return kept
        scores = self._score(pair, protocol, condition)
        try:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps({"row": condition.label, **facts, "scores": scores}, indent=1), "utf-8")
            os.replace(fresh, path)
        except OSError as error:
            raise _not_writable(path.parent, error) from error
        return scores

    def real_landmarks(self, clip: Clip) -> NDArray[np.float32]:
        """Landmarks ``(T - 1, 478, 2)`` found in a clip's frames 2..T; those of the last clip are kept."""
        if self._real is None or self._real[0] is not clip:
            self._real = clip, find_landmarks(np.asarray(clip.frames)[1:], self.finder)
        return self._real[1]

    def _score(self, pair: Pair, protocol: Protocol, condition: Condition) -> Scores | None:
        if self._seen is None or self._seen[0] is not pair or self._seen[1] != condition:
            self._seen = pair, condition, self._look(pair, condition)
        seen = self._seen[2]
        return None if seen is None else {**protocol.score(seen.real, seen.drawn), **seen.scores}

    def _look(self, pair: Pair, condition: Condition) -> _Seen | None:
        """Draw a clip, and measure what is the same under every protocol."""
        if len(pair.clip.frames) < 2:
            raise DataError(
                f"{pair.clip.folder} has {len(pair.clip.frames)} frame, at least 2 are needed; leave it out"
            )
        drawn = self.draw(pair, condition)
        if drawn is None:
            return None
        count = len(drawn) - 1  # a video may lack the last frames
        real = np.asarray(pair.clip.frames)[1 : count + 1]
        real_points = self.real_landmarks(pair.clip)[:count]
        if condition == STILL:
            points = np.repeat(find_landmarks(drawn[:1], self.finder), count, axis=0)
        else:
            points = find_landmarks(drawn[1:], self.finder)
        scores: Scores = {
            "cpbd": float(np.mean([cpbd(frame) for frame in drawn[1::_SHARPNESS_EVERY]])),
            **asdict(compare(mouth_opening(real_points), mouth_opening(points))),
            "lmd": landmark_distance(real_points, points),
            "blinks": blinks_per_minute(points),
            "real_blinks": blinks_per_minute(real_points),
            "faceless_frames": int(np.isnan(points).any(axis=(1, 2)).sum()),
        }
        for extra in self.plan.extras:
            scores[extra] = self._extra(extra).score(real, drawn[1:])
        return _Seen(real, drawn[1:], scores)

    @staticmethod
    @cache
    def _extra(name: Extra) -> Identity | Lpips:
        return Lpips() if name == "lpips" else Identity()

    def close(self) -> None:
        """Give the models back."""
        if self._finder is not None:
            self._finder.close()
            self._finder = None
        while self._engines:
            self._engines.popitem()[1].close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *details: object) -> None:
        """Closes."""
        self.close()


_worker: Scorer


def _start_worker(plan: Plan, cache: Path | None) -> None:
    global _worker
    # Ctrl-C goes to the whole process group; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _use_one_thread()
    _worker = Scorer(plan, cache)


def _work(pair: Pair) -> list[Scores | None]:
    return _worker.score(pair)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _in_turn(pairs: Sequence[Pair], plan: Plan, cache: Path | None) -> Iterator[tuple[int, list[Scores | None]]]:
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    _use_one_thread()  # as a worker does: sums over threads round differently, and the figures must not
    try:
        with Scorer(plan, cache) as scorer:
            for index, pair in enumerate(pairs):
                yield index, scorer.score(pair)
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


def _at_once(
    pairs: Sequence[Pair], plan: Plan, cache: Path | None, jobs: int
) -> Iterator[tuple[int, list[Scores | None]]]:
    Scorer(plan, cache).close()  # what cannot work is found here, with its own message
    pool = ProcessPoolExecutor(
        max_workers=min(jobs, len(pairs)),
        mp_context=get_context("spawn"),  # neither mediapipe's threads nor torch's survive a fork
        initializer=_start_worker,
        initargs=(plan, cache),
    )
    try:
        futures = {pool.submit(_work, pair): index for index, pair in enumerate(pairs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise DataError("a worker process died, for want of memory perhaps; run again with fewer --jobs") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def evaluate(
    pairs: Sequence[Pair],
    plan: Plan,
    *,
    cache: Path | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[Scores | None]]:
    """Score clips under each of the plan's conditions and protocols.

    Args:
        pairs: from :func:`streamhead.evaluation.plan.choose_clips`.
        plan: how.
        cache: folder where each clip's scores are kept as soon as they are known, so that a run that was stopped goes
            on where it was; None to keep nothing.
        jobs: processes, one thread each.
        progress: called with the number of clips done and their total.

    Returns:
        For each pair, the scores in the order of ``plan.rows``; None where a condition does not apply.

    Raises:
        DataError: a clip cannot be read, or a worker died.
        CheckpointError: the weights or the landmark model cannot be used.
        OutputError: the cache cannot be written.
    """
    results: list[list[Scores | None]] = [[] for _ in pairs]
    progress(0, len(pairs))
    done = _in_turn(pairs, plan, cache) if jobs == 1 else _at_once(pairs, plan, cache, jobs)
    for number, (index, scores) in enumerate(done, 1):
        results[index] = scores
        progress(number, len(pairs))
    return results
