#!/usr/bin/env python3
"""Rebuild streamhead/face/mean_face.npy from GRID's first frames: every training talker weighs the same.

PYTHONPATH=. .venv/bin/python scripts/make_mean_face.py GRID_FOLDER SPLIT_JSON
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from streamhead.face import align
from streamhead.face.landmarks import LandmarkFinder

CLIPS_A_TALKER = 8
Shape = np.ndarray


def first_faces(grid: Path, split: Path) -> dict[str, list[Shape]]:
    """Landmarks of first frames, talker by talker."""
    rng = np.random.default_rng(0)
    faces: dict[str, list[Shape]] = {}
    with LandmarkFinder() as finder:
        for talker, names in sorted(json.loads(split.read_text())["train"].items()):
            chosen = names if len(names) <= CLIPS_A_TALKER else rng.choice(names, CLIPS_A_TALKER, replace=False)
            for name in chosen:
                path = next((grid / talker).glob(f"{name}.*"))
                with av.open(str(path)) as video:
                    image = next(video.decode(video=0)).to_ndarray(format="rgb24")
                found = finder.find(image)
                if found:
                    faces.setdefault(talker, []).append(found[0].astype(np.float64))
    return faces


def pooled(faces: dict[str, list[Shape]], fit: Callable[[Shape], Shape]) -> Shape:
    """Mean over talkers of the mean of their aligned landmarks."""
    talkers = [np.mean([align.transform_points(fit(face), face) for face in some], axis=0) for some in faces.values()]
    return np.mean(talkers, axis=0)


def main() -> None:
    """Align by the eyes, pool, then once more by all stable points."""
    faces = first_faces(Path(sys.argv[1]), Path(sys.argv[2]))
    eyes = np.array([align.LEFT_EYE, align.RIGHT_EYE])
    stable = list(align.STABLE_POINTS)
    mean = pooled(faces, lambda face: align.fit(align.eye_centres(face), eyes))
    mean = pooled(faces, lambda face: align.fit(face[stable], mean[stable]))
    mean = align.transform_points(align.fit(align.eye_centres(mean), eyes), mean)
    target = Path(align.__file__).with_name("mean_face.npy")
    np.save(target, mean.astype(np.float32))
    print(f"{target}: mouth at {mean[[13, 14]].mean(0).round(1)}, eyes at {align.eye_centres(mean).round(2).tolist()}")


if __name__ == "__main__":
    main()
