"""Score a model on prepared clips, beside the controls that keep the figures honest."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import cache, cached_property
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from streamhead.errors import DataError, OutputError
from streamhead.evaluation.generate import generate, head_of, still
from streamhead.evaluation.plan import STILL, Condition, Pair, Plan
from streamhead.evaluation.sync import compare, find_landmarks, mouth_opening
from streamhead.face.landmarks import LandmarkFinder
from streamhead.stream.engine import Engine
from streamhead.stream.talking_head import TalkingHead
from streamhead.training.batches import Clip

__all__ = ["Scorer", "Scores", "evaluate"]

Scores = dict[str, float | None]
"""One clip's scores under one condition; None where a measure is undefined for it."""

_CODE: Final = ("audio", "baselines", "evaluation", "face", "model", "stream")


@cache
def _code_digest() -> str:
    """Hash of the source that decides a score, so that no cached score outlives the code that made it."""
    root = Path(str(resources.files("streamhead")))
    digest = hashlib.sha256()
    for path in sorted(path for folder in _CODE for path in (root / folder).glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _not_writable(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write to {folder}: {error.strerror}; make room or choose another --out")


class Scorer:
    """Draws clips and scores them; one a process. A context manager.

    Args:
        plan: how.
        cache: folder of finished clips' scores, made if missing; or None.

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
        self._head: tuple[Clip, TalkingHead] | None = None  # of the clip in hand

    @cached_property
    def engine(self) -> Engine:
        """The model, loaded when first asked for."""
        assert self.plan.model is not None
        return Engine(self.plan.model.weights, self.plan.model.preset, self.plan.device)

    def draw(self, pair: Pair, condition: Condition) -> NDArray[np.uint8] | None:
        """Frames ``(T, 128, 128, 3)`` under a condition; None where it needs another clip and there is none."""
        if condition.temperature is None:
            return still(pair.clip)
        sound = pair.other if condition.other_audio else pair.clip
        if sound is None:
            return None
        if self._head is None or self._head[0] is not pair.clip:
            self._head = pair.clip, head_of(self.engine, pair.clip)
        return generate(self._head[1], pair.clip, sound, seed=self.plan.seed, temperature=condition.temperature)

    def score(self, pair: Pair) -> list[Scores | None]:
        """The clip's scores, one for each of the plan's conditions; from the cache where it has them.

        Raises:
            DataError: the clip cannot be read.
            OutputError: the cache cannot be written.
        """
        try:
            key = self._key(pair)
        except (OSError, ValueError) as error:
            raise DataError(f"{pair.clip.folder} cannot be read ({error}); prepare it again") from error
        path = None if self._cache is None else self._cache / f"{pair.clip.talker}-{pair.clip.name}-{key[:16]}.json"
        if path is not None and path.is_file():
            cached: list[Scores | None] = json.loads(path.read_text(encoding="utf-8"))["scores"]
            return cached
        scores = self._score(pair)
        if path is not None:
            conditions = [condition.label for condition in self.plan.conditions]
            text = json.dumps({**self.plan.facts, "conditions": conditions, "scores": scores}, indent=1)
            try:
                fresh = path.with_suffix(".new")
                fresh.write_text(text, encoding="utf-8")
                os.replace(fresh, path)
            except OSError as error:
                raise _not_writable(path.parent, error) from error
        return scores

    def _key(self, pair: Pair) -> str:
        conditions = [asdict(condition) for condition in self.plan.conditions]
        digest = hashlib.sha256(json.dumps([self.plan.facts, conditions, _code_digest()]).encode())
        for array in (pair.clip.frames, pair.clip.audio, pair.other.audio if pair.other else np.zeros(0)):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _score(self, pair: Pair) -> list[Scores | None]:
        real = np.asarray(pair.clip.frames)
        if len(real) < 2:
            raise DataError(f"{pair.clip.folder} has {len(real)} frame, at least 2 are needed; leave it out")
        if self._finder is None:
            self._finder = LandmarkFinder(max_faces=1)
        real_points = find_landmarks(real[1:], self._finder)
        scores: list[Scores | None] = []
        for condition in self.plan.conditions:
            drawn = self.draw(pair, condition)
            if drawn is None:
                scores.append(None)
                continue
            if condition == STILL:
                points = np.repeat(find_landmarks(drawn[:1], self._finder), len(real) - 1, axis=0)
            else:
                points = find_landmarks(drawn[1:], self._finder)
            sync = compare(mouth_opening(real_points), mouth_opening(points))
            lost = int(np.isnan(points).any(axis=(1, 2)).sum())
            scores.append({**self.plan.protocol.score(real[1:], drawn[1:]), **asdict(sync), "faceless_frames": lost})
        return scores

    def close(self) -> None:
        """Give the models back."""
        if self._finder is not None:
            self._finder.close()
            self._finder = None
        if "engine" in self.__dict__:
            self.engine.close()

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
    """Score clips under each of the plan's conditions.

    Args:
        pairs: from :func:`streamhead.evaluation.plan.choose_clips`.
        plan: how.
        cache: folder where each clip's scores are kept as soon as they are known, so that a run that was stopped goes
            on where it was; None to keep nothing.
        jobs: processes, one thread each.
        progress: called with the number of clips done and their total.

    Returns:
        For each pair, the scores in the order of ``plan.conditions``; None where a condition does not apply.

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
