"""Prepared clips of a drawn face whose mouth is known, and weights that nobody trained."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import heads
import numpy as np
import pytest

from streamhead.face.align import mean_face
from streamhead.timebase import HOP

FRAMES = 12


# mediapipe's points around each part of a face, in drawing order, with a colour.
PARTS: list[tuple[tuple[int, int, int], list[int]]] = [
    (
        (215, 170, 145),
        [
            *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
            *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
        ],
    ),
    ((195, 145, 120), [168, 122, 174, 198, 49, 64, 98, 97, 2, 326, 327, 294, 279, 420, 399, 351]),
    ((70, 45, 30), [70, 63, 105, 66, 107, 55, 65, 52, 53, 46]),
    ((70, 45, 30), [300, 293, 334, 296, 336, 285, 295, 282, 283, 276]),
    ((245, 245, 245), [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7]),
    ((245, 245, 245), [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249]),
    (
        (180, 80, 80),
        [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146],
    ),
    (
        (60, 20, 20),
        [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95],
    ),
]


LOWER_LIP = [14, 17, 84, 181, 91, 314, 405, 321, 87, 178, 88, 95, 317, 402, 318, 324, 146, 375]


def draw_face(gap: float) -> np.ndarray:
    """A face ``(128, 128, 3)`` in the canonical square whose lips are ``gap`` pixels further apart than the mean's."""
    fine = 4
    points = mean_face().copy()
    points[LOWER_LIP, 1] += gap
    picture = np.full((128 * fine, 128 * fine, 3), (150, 165, 180), np.uint8)
    for colour, part in PARTS:
        cv2.fillPoly(picture, [np.rint(points[part] * fine).astype(np.int32)], colour, cv2.LINE_AA)
    for pupil in points[[468, 473]]:
        cv2.circle(picture, [int(v) for v in pupil * fine], 3 * fine, (60, 40, 30), -1, cv2.LINE_AA)
    return cv2.resize(cv2.GaussianBlur(picture, (0, 0), 3), (128, 128), interpolation=cv2.INTER_AREA)


def write_clip(root: Path, talker: str, name: str, split: str, seed: int) -> dict[str, object]:
    """One prepared clip; gives its row of the manifest."""
    rng = np.random.default_rng(seed)
    gaps = np.concatenate([[0.0], rng.uniform(0, 6, FRAMES - 1)])
    folder = root / talker / name
    folder.mkdir(parents=True)
    np.save(folder / "frames.npy", np.stack([draw_face(gap) for gap in gaps]))
    np.save(folder / "landmarks.npy", np.repeat(mean_face()[None], FRAMES, axis=0))
    np.save(folder / "audio.npy", rng.normal(0, 0.1, FRAMES * HOP).astype(np.float32))
    np.save(folder / "speech.npy", np.ones(FRAMES, bool))
    return {"talker": talker, "name": name, "split": split, "frames": FRAMES, "path": f"{talker}/{name}"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two talkers in ``test``: a with two clips, b with one; and one of a's in ``train``."""
    root = tmp_path_factory.mktemp("prepared")
    clips = [("a", "one", "test"), ("a", "two", "test"), ("b", "one", "test"), ("a", "old", "train")]
    rows = [write_clip(root, *clip, seed) for seed, clip in enumerate(clips)]
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def weights() -> Path:
    """A network that was never trained, but whose output depends on what it hears."""
    return heads.weights("call")
