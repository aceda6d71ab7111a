"""The mouth's shape and the blinks on points that are known, and both aligners on the same clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamhead.evaluation.landmark_metrics import (
    MOUTH_POINTS,
    blinks,
    blinks_per_minute,
    eye_opening,
    landmark_distance,
)
from streamhead.evaluation.protocols import STANDARD
from streamhead.face.align import mean_face

UPPER = [160, 158, 385, 387]
LOWER = [144, 153, 380, 373]


def _faces(count: int) -> np.ndarray:
    return np.repeat(mean_face()[None], count, axis=0).astype(np.float64)


def test_the_distance_is_of_centred_mouths() -> None:
    real = _faces(6)
    assert len(set(MOUTH_POINTS)) == 20
    # Where the mouth is does not count.
    assert landmark_distance(real, real + np.array([5.0, -3.0])) == pytest.approx(0.0, abs=1e-9)
    drawn = real.copy()
    drawn[:, MOUTH_POINTS[:10], 1] += 4.0
    # Half of the points 4 px lower moves the centre by 2, which leaves 2 px for each point.
    assert landmark_distance(real, drawn) == pytest.approx(2.0)
    drawn[2] = np.nan
    assert landmark_distance(real, drawn) == pytest.approx(2.0)
    assert landmark_distance(real, np.full_like(real, np.nan)) is None


def test_blinks_are_counted() -> None:
    opening = np.full(100, 0.3)
    opening[10:14] = 0.05
    opening[40] = 0.1
    opening[60:80] = 0.05  # asleep, no blink
    opening[97:] = 0.05  # goes on after the end
    assert blinks(opening) == 2
    assert blinks(np.full(50, 0.3)) == 0
    faces = _faces(75)
    eyes = (faces[30:34][:, UPPER, 1] + faces[30:34][:, LOWER, 1]) / 2
    faces[30:34, UPPER, 1] = faces[30:34, LOWER, 1] = eyes[:, :]
    assert eye_opening(faces)[31] < 0.1 < eye_opening(faces)[0]
    assert blinks_per_minute(faces) == pytest.approx(20.0)  # one in three seconds
    faces[50:52] = np.nan
    assert blinks_per_minute(faces) == pytest.approx(20.0)
    assert (eye_opening(np.full((3, 478, 2), np.nan)) == 1.0).all()


@pytest.mark.slow
def test_both_aligners_put_a_face_at_one_place(grid: Path, tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    from streamhead.face.align import eye_centres
    from streamhead.face.landmarks import LandmarkFinder
    from streamhead.training.batches import read_clips
    from streamhead.training.datasets.grid import find_clips
    from streamhead.training.prepare import prepare

    clips = [replace(clip, split="test") for clip in find_clips(grid, {}) if clip.talker == "s4"][:2]
    for aligner in ("mediapipe", "dlib"):
        assert prepare(clips, tmp_path / aligner, aligner=aligner).prepared == 2
    with LandmarkFinder(max_faces=1) as finder:
        for one, other in zip(*(read_clips(tmp_path / name) for name in ("mediapipe", "dlib")), strict=True):
            squares = [np.asarray(clip.frames)[::15] for clip in (one, other)]
            centres = [np.stack([eye_centres(finder.find(frame)[0]) for frame in frames]) for frames in squares]
            apart = np.linalg.norm(centres[0] - centres[1], axis=-1)
            still = [
                STANDARD.score(np.asarray(c.frames)[1:], np.repeat(c.frames[:1], len(c.frames) - 1, 0))
                for c in (one, other)
            ]
            print(
                one.name,
                f"eyes {apart.mean():.2f} px apart, at most {apart.max():.2f};",
                "still first frame, SSIM and PSNR:",
                [(round(s["ssim"], 3), round(s["psnr"], 2)) for s in still],
            )
            assert apart.mean() < 2.0 and apart.max() < 4.0
            # The choice of aligner moves the control by less than what systems differ by.
            assert still[0]["ssim"] == pytest.approx(still[1]["ssim"], abs=0.06)
            assert still[0]["psnr"] == pytest.approx(still[1]["psnr"], abs=2.5)
