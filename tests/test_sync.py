"""The mouths' comparison on signals whose answer is known, and landmarks found in real crops."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from streamhead.evaluation.sync import compare, correlation, detrend, find_landmarks, lag, mouth_opening
from streamhead.face.align import crop, mean_face, similarity
from streamhead.face.landmarks import LandmarkFinder


def _talk(count: int = 74, seed: int = 0) -> np.ndarray:
    """A mouth that opens and shuts a few times a second, ``(T,)``."""
    signal = gaussian_filter1d(np.random.default_rng(seed).standard_normal(count), 2.0)
    return np.asarray(0.1 + 0.05 * signal / signal.std())


def test_detrending_is_the_plain_moving_average() -> None:
    signal = _talk(40)
    by_hand = [signal[t] - np.mean(signal[max(0, t - 7) : t + 8]) for t in range(40)]
    assert np.allclose(detrend(signal), by_hand)
    # A slow rise goes, up to the ends.
    assert np.abs(detrend(np.linspace(0, 1, 100))[7:-7]).max() < 1e-12


@pytest.mark.parametrize("shift", [-10, -3, 0, 1, 7])
def test_a_mouth_that_is_late_by_k_frames_has_lag_k(shift: int) -> None:
    signal = _talk(94)
    real, drawn = signal[10:84], signal[10 - shift : 84 - shift]
    assert compare(real, drawn).lag == shift
    noise = np.random.default_rng(5).normal(0, 0.01, 74)
    assert compare(real, drawn + noise).lag == shift


def test_scale_and_offset_show_in_the_ratio_alone() -> None:
    real = _talk()
    sync = compare(real, 0.4 * real + 0.3)
    assert sync.correlation == pytest.approx(1.0) and sync.raw_correlation == pytest.approx(1.0)
    assert sync.std_ratio == pytest.approx(0.4) and sync.lag == 0
    assert compare(real, 0.2 - real).correlation == pytest.approx(-1.0)


def test_a_shared_rhythm_flatters_only_without_detrending() -> None:
    sentence = 0.3 * np.exp(-(((np.arange(74) - 37) / 20) ** 2))
    syncs = [compare(sentence + _talk(74, a), sentence + _talk(74, a + 50)) for a in range(20)]
    assert np.mean([sync.raw_correlation for sync in syncs]) > 0.5
    assert abs(np.mean([sync.correlation for sync in syncs])) < 0.1


def test_still_mouths() -> None:
    talk, shut = _talk(), np.full(74, 0.1)
    still = compare(talk, shut)
    assert (still.correlation, still.raw_correlation, still.lag) == (0.0, 0.0, None)
    assert still.std_ratio == pytest.approx(0.0, abs=1e-9)
    dead = compare(shut, talk)
    assert (dead.correlation, dead.std_ratio, dead.lag) == (None, None, None)
    assert correlation(shut, shut) is None and lag(shut, shut) is None


def test_opening_is_in_eye_distances_and_bridges_gaps() -> None:
    face = np.repeat(mean_face()[None], 5, axis=0).astype(np.float32)
    eyes = np.linalg.norm((face[0, 33] + face[0, 133] - face[0, 362] - face[0, 263]) / 2)
    face[:, 13] = (64, 90)
    face[:, 14] = np.stack([np.full(5, 64), 90 + np.arange(5)], 1)
    assert mouth_opening(face) == pytest.approx(np.arange(5) / eyes, rel=1e-5)
    assert mouth_opening(3 * face + 7) == pytest.approx(mouth_opening(face), rel=1e-5)
    face[2:4] = np.nan
    assert mouth_opening(face) == pytest.approx(np.arange(5) / eyes, rel=1e-5)
    assert (mouth_opening(np.full((5, 478, 2), np.nan, np.float32)) == 0).all()


def test_a_frame_without_a_face_is_nan_and_air_helps_a_tight_one() -> None:
    class OnlyWithAir:
        def find(self, image: np.ndarray) -> list[np.ndarray]:
            return [mean_face() + np.float32(42)] if image.shape == (212, 212, 3) and image.max() else []

    frames = np.zeros((2, 128, 128, 3), np.uint8)
    frames[1] = 9
    points = find_landmarks(frames, OnlyWithAir())
    assert np.isnan(points[0]).all()
    assert np.allclose(points[1], mean_face())


def test_real_crops_agree_with_the_whole_video(grid: Path) -> None:
    import av

    source = sorted((grid / "s4").glob("*.mp4"))[0]
    with av.open(str(source)) as video:
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in video.decode(video=0)][15:60]
    with LandmarkFinder(max_faces=1) as finder:
        whole = np.stack([finder.find(frame)[0] for frame in frames])
        transforms = [similarity(points) for points in whole]
        squares = np.stack([crop(frame, matrix) for frame, matrix in zip(frames, transforms, strict=True)])
        found = find_landmarks(squares, finder)
    sync = compare(mouth_opening(whole), mouth_opening(found))
    assert sync.correlation is not None and sync.correlation > 0.9
    assert sync.std_ratio == pytest.approx(1.0, abs=0.25) and sync.lag == 0
