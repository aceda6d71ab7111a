"""From a corpus to training data: frames in the canonical square, 16 kHz sound, landmarks and a manifest.

Layout of the prepared folder: ``manifest.jsonl`` with one line a clip, and per clip ``TALKER/NAME/`` with

- ``frames.npy`` uint8 ``(T, 128, 128, 3)`` RGB, each frame aligned on its own, the transforms smoothed over time;
- ``landmarks.npy`` float32 ``(T, 478, 2)`` (dlib: 68) in canonical pixels, ``transforms.npy`` ``(T, 2, 3)``;
- ``audio.npy`` float32 ``(640 T,)`` at 16 kHz, sample 0 being the start of frame 0;
- ``speech.npy`` bool ``(T,)``, the voice detector's gate; ``meta.json``, the manifest's line.

A clip's folder appears as a whole or not at all, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from streamhead.audio.frontend import analyse
from streamhead.errors import DataError, OutputError, StreamheadError
from streamhead.face.align import crop, similarity, smooth, transform_points
from streamhead.face.landmarks import DlibLandmarkFinder, LandmarkFinder, dlib_model, landmark_model
from streamhead.training.clip_files import read_pictures, read_sound
from streamhead.training.datasets import Clip

__all__ = ["Aligner", "Report", "add_speech", "follow_face", "prepare", "prepare_clip"]

Aligner = Literal["mediapipe", "dlib"]
"""Which landmarks align the faces: mediapipe's 478 points, or dlib's 68 as in the paper."""

_LANDMARKS: Final = {"mediapipe": "mediapipe478", "dlib": "dlib68"}
_LONGEST_GAP: Final = 5
_JUMP: Final = 9.0  # mean grey levels between neighbouring aligned frames; sound clips of GRID stay under 6.5
_MANIFEST_EVERY: Final = 50
_PARTIAL: Final = ".partial"


class _Finder(Protocol):
    def find(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *details: Any) -> None: ...


@dataclass
class Report:
    """What a preparation did.

    Attributes:
        prepared: clips made by this run.
        kept: clips that were there already.
        skipped: (clip, reason) of each clip that could not be used.
    """

    prepared: int = 0
    kept: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def follow_face(found: Sequence[list[NDArray[np.float32]]]) -> NDArray[np.float32]:
    """One face through a clip: the largest at first, then the nearest; gaps of a few frames are bridged.

    Args:
        found: for each of T frames the faces in it, ``(points, 2)`` each, largest first.

    Returns:
        ``(T, points, 2)``.

    Raises:
        DataError: no face, or none for longer than 0.2 s.
    """
    track: dict[int, NDArray[np.float32]] = {}
    for t, faces in enumerate(found):
        if not faces:
            continue
        if not track:
            track[t] = faces[0]
            continue
        last = track[max(track)]
        nearest = min(faces, key=lambda points: float(np.linalg.norm(points.mean(0) - last.mean(0))))
        # A face that is half its width away is somebody else's.
        if np.linalg.norm(nearest.mean(0) - last.mean(0)) < 0.5 * np.ptp(last[:, 0]):
            track[t] = nearest
    if not track:
        raise DataError("no face")
    seen = np.array(sorted(track))
    edges = np.concatenate([[-1], seen, [len(found)]])
    widest = int(np.argmax(np.diff(edges)))
    if (gap := int(np.diff(edges)[widest]) - 1) > _LONGEST_GAP:
        raise DataError(f"no face in {gap} frames from frame {edges[widest] + 1}")
    known = np.stack([track[t] for t in seen])
    flat = known.reshape(len(seen), -1)
    every = np.stack([np.interp(np.arange(len(found)), seen, column) for column in flat.T], axis=1)
    return every.reshape(len(found), *known.shape[1:]).astype(np.float32)


def _check_whole(squares: NDArray[np.uint8]) -> None:
    """Reject a clip whose pictures jump: damaged compressed video (GRID has such clips), or a cut."""
    small = squares[:, ::4, ::4].astype(np.float32)
    jumps = np.abs(np.diff(small, axis=0)).mean((1, 2, 3))
    if len(jumps) and jumps.max() > max(_JUMP, 3.0 * float(np.median(jumps))):
        raise DataError(f"the picture jumps at frame {int(jumps.argmax()) + 1}: a damaged video or a cut")


def add_speech(folder: Path) -> None:
    """Write ``speech.npy`` of a prepared clip from its sound, if it is missing."""
    target = folder / "speech.npy"
    if target.exists():
        return
    temporary = folder / ".speech.npy"
    np.save(temporary, analyse(np.load(folder / "audio.npy")))
    os.replace(temporary, target)


def prepare_clip(clip: Clip, out: Path, finder: _Finder, landmarks: str = "mediapipe478") -> dict[str, Any]:
    """Prepare one clip into ``out / clip.path``.

    Args:
        clip: what to read.
        out: root of the prepared data.
        finder: finds the faces.
        landmarks: what kind of points the finder gives, for the manifest.

    Returns:
        The clip's line of the manifest.

    Raises:
        DataError: the clip cannot be used.
        AudioError: its sound cannot be used.
        OutputError: the result cannot be written.
    """
    if clip.fault:
        raise DataError(clip.fault)
    frames, start = read_pictures(clip.pictures)
    if len(frames) < clip.expected_frames - 2:
        raise DataError(f"truncated: {len(frames)} of {clip.expected_frames} frames")
    sound = read_sound(clip, start, len(frames))
    points = follow_face([finder.find(frame) for frame in frames])
    transforms = smooth(np.stack([similarity(face) for face in points]))
    squares = np.stack([crop(frame, matrix) for frame, matrix in zip(frames, transforms, strict=True)])
    _check_whole(squares)
    canonical = np.stack([transform_points(matrix, face) for matrix, face in zip(transforms, points, strict=True)])
    meta = {
        "talker": clip.talker,
        "name": clip.name,
        "split": clip.split,
        "frames": len(frames),
        "path": clip.path,
        "words": clip.words,
        "source": str(clip.pictures),
        "landmarks": landmarks,
    }
    target = out / clip.path
    try:
        temporary = Path(tempfile.mkdtemp(dir=_made(out / _PARTIAL)))
        temporary.chmod(0o755)
        np.save(temporary / "frames.npy", squares)
        np.save(temporary / "landmarks.npy", canonical)
        np.save(temporary / "transforms.npy", transforms)
        np.save(temporary / "audio.npy", sound)
        add_speech(temporary)
        (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        _made(target.parent)
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}; make room or choose another folder") from error
    return meta


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read_metas(out: Path) -> dict[str, dict[str, Any]]:
    metas = {}
    for path in out.glob("[!.]*/[!.]*/meta.json"):
        with suppress(ValueError):  # damaged by a power cut, say: the clip is made anew
            metas[path.parent.relative_to(out).as_posix()] = json.loads(path.read_text(encoding="utf-8"))
    return metas


def _write_manifest(out: Path, metas: dict[str, dict[str, Any]]) -> None:
    if not metas:
        return
    temporary = out / ".manifest.jsonl"
    try:
        temporary.write_text("".join(json.dumps(metas[path]) + "\n" for path in sorted(metas)), encoding="utf-8")
        os.replace(temporary, out / "manifest.jsonl")
    except OSError as error:
        raise OutputError(
            f"cannot write {out / 'manifest.jsonl'}: {error.strerror}; make room and run again"
        ) from error


_worker_finder: _Finder
_worker_landmarks: str


def _start_worker(aligner: Aligner) -> None:
    global _worker_finder, _worker_landmarks
    # Ctrl-C goes to the whole process group; the parent alone decides, and lets each worker end its clip.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)  # one process a core already
    _worker_finder = DlibLandmarkFinder() if aligner == "dlib" else LandmarkFinder()
    _worker_landmarks = _LANDMARKS[aligner]


def _work(clip: Clip, out: Path, meta: dict[str, Any] | None) -> dict[str, Any] | str:
    try:
        if meta is not None:
            add_speech(out / clip.path)
            return meta
        return prepare_clip(clip, out, _worker_finder, _worker_landmarks)
    except OutputError:
        raise
    except StreamheadError as error:
        return str(error)


def prepare(
    clips: Iterable[Clip],
    out: Path,
    *,
    aligner: Aligner = "mediapipe",
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Prepare clips into ``out``, several at a time; clips that are there already are kept.

    Args:
        clips: from ``datasets.grid.find_clips`` or ``datasets.lrw.find_clips``.
        out: root of the prepared data; made if missing.
        aligner: which landmarks to use; all clips of one folder must use the same.
        jobs: processes.
        progress: called with the number of clips dealt with and their total.

    Raises:
        DataError: the aligner is not installed, ``out`` was made with the other one, or a worker died.
        CheckpointError: no landmark model.
        OutputError: ``out`` cannot be written.
    """
    _ = dlib_model() if aligner == "dlib" else landmark_model()  # one clear error, one download, before any worker
    clips = list(clips)
    report = Report()
    try:
        metas = _read_metas(_made(out))
        shutil.rmtree(out / _PARTIAL, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}; choose another folder") from error
    if other := {meta.get("landmarks") for meta in metas.values()} - {_LANDMARKS[aligner]}:
        raise DataError(f"{out} holds {', '.join(map(str, other))} landmarks; choose another folder or that aligner")
    todo = []
    for clip in clips:
        if clip.path in metas:
            metas[clip.path].update(split=clip.split, words=clip.words)
        if (out / clip.path / "speech.npy").is_file():
            report.kept += 1
        else:
            todo.append(clip)
    progress(report.kept, len(clips))
    pool = ProcessPoolExecutor(
        max_workers=max(1, min(jobs, len(todo))),
        mp_context=get_context("spawn"),  # mediapipe's threads do not survive a fork
        initializer=_start_worker,
        initargs=(aligner,),
    )
    try:
        futures = {pool.submit(_work, clip, out, metas.get(clip.path)): clip for clip in todo}
        for done, future in enumerate(as_completed(futures), 1):
            result, clip = future.result(), futures[future]
            if isinstance(result, str):
                report.skipped.append((clip.path, result))
            else:
                metas[clip.path] = result
                report.prepared += 1
            if done % _MANIFEST_EVERY == 0:
                _write_manifest(out, metas)
            progress(report.kept + done, len(clips))
    except BrokenProcessPool as error:
        raise DataError("a worker process died, for want of memory perhaps; run again with fewer --jobs") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(out / _PARTIAL, ignore_errors=True)
        _write_manifest(out, _read_metas(out) | metas)
    report.skipped.sort()
    return report
