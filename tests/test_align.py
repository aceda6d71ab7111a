"""The canonical square of DESIGN section 2."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from streamhead.face import align
from streamhead.face.align import SIZE, crop, eye_centres, mean_face, similarity, smooth, transform_points
from streamhead.face.landmarks import DlibLandmarkFinder, LandmarkFinder

CANONICAL_EYES = np.array([align.LEFT_EYE, align.RIGHT_EYE])


def _matrix(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    a = scale * np.exp(1j * np.radians(angle))
    return np.array([[a.real, -a.imag, x], [a.imag, a.real, y]])


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


def test_mean_face_follows_the_design() -> None:
    face = mean_face()
    assert face.shape == (478, 2)
    np.testing.assert_allclose(eye_centres(face), CANONICAL_EYES, atol=0.01)
    mouth = face[[13, 14]].mean(0)
    assert abs(mouth[0] - 64) < 1
    rows, columns = align.MOUTH
    lips = face[[0, 17, 61, 291]]
    assert (lips > (columns.start, rows.start)).all()
    assert (lips < (columns.stop, rows.stop)).all()
    assert np.ptp(face[[13, 14], 1]) < 3.5  # nearly closed
    with pytest.raises(ValueError, match="read-only"):
        face[0] = 0


@settings(max_examples=50)
@given(st.floats(0.1, 8), st.floats(-180, 180), st.floats(-500, 2000), st.floats(-500, 2000))
def test_similarity_undoes_any_placement(scale, angle, x, y) -> None:
    placed = _matrix(scale, angle, x, y)
    back = similarity(transform_points(placed, mean_face()))
    np.testing.assert_allclose(transform_points(back, transform_points(placed, mean_face())), mean_face(), atol=0.02)


def test_similarity_does_not_look_at_the_mouth() -> None:
    face = mean_face().copy()
    before = similarity(face)
    face[[0, 13, 14, 17, 61, 291, 152]] += (3, 12)
    np.testing.assert_array_equal(similarity(face), before)


def test_eyes_of_a_photograph_land_in_place() -> None:
    picture = np.asarray(data.astronaut())
    with LandmarkFinder() as finder:
        (face,) = finder.find(picture)
        to_square = similarity(face)
        np.testing.assert_allclose(eye_centres(transform_points(to_square, face)), CANONICAL_EYES, atol=2.0)
        mouth = transform_points(to_square, face)[[13, 14]].mean(0)
        np.testing.assert_allclose(mouth, (64, 94), atol=6)
        # The picture itself, not only its points: the face is found again at the same place of the crop.
        (again,) = finder.find(crop(picture, to_square))
    np.testing.assert_allclose(eye_centres(again), CANONICAL_EYES, atol=2.5)


def test_dlib_aligns_as_mediapipe_does() -> None:
    pytest.importorskip("dlib")
    picture = np.asarray(data.astronaut())
    with LandmarkFinder() as finder, DlibLandmarkFinder() as other:
        (face,) = finder.find(picture)
        moved = similarity(other.find(picture)[0])
    np.testing.assert_allclose(eye_centres(transform_points(moved, face)), CANONICAL_EYES, atol=3.0)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.25, 2), st.floats(-30, 30), st.floats(-20, 20), st.floats(-20, 20))
def test_crop_agrees_with_transform_points(scale, angle, x, y) -> None:
    """A smooth picture of the coordinates themselves: each pixel of the square reads where it came from."""
    rows, columns = np.mgrid[0:600, 0:600]
    picture = np.stack([columns / 3.0, rows / 3.0, columns * 0.0], -1).astype(np.uint8)
    to_square = _matrix(scale, angle, 64 - 300 * scale + x, 64 - 300 * scale + y)
    square = crop(picture, to_square)
    ys, xs = np.mgrid[0:SIZE:9, 0:SIZE:9]
    origin = transform_points(_inverse(to_square), np.stack([xs, ys], -1).reshape(-1, 2))
    inside = ((origin > 8) & (origin < 590)).all(1)
    read = square[ys.ravel(), xs.ravel(), :2].astype(float) * 3 + 1  # uint8 has cut half a step of 3 on average
    assert inside.any()
    assert np.abs(read - origin)[inside].max() < 4.0


def test_crop_at_another_size_shows_the_same() -> None:
    picture = np.asarray(data.astronaut())
    to_square = _matrix(0.7, 5, -90, -10)
    fine = crop(picture, to_square, 256)
    assert fine.shape == (256, 256, 3)
    halved = fine.reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert np.abs(halved - crop(picture, to_square)).mean() < 1.0


def test_crop_of_a_large_face_does_not_alias() -> None:
    """A fine chequer board far beyond the square's resolution is grey, not a pattern."""
    rows, columns = np.mgrid[0:1024, 0:1024]
    board = np.repeat((((rows + columns) % 2) * 255).astype(np.uint8)[..., None], 3, -1)
    square = crop(board, _matrix(0.125, 0, 0, 0)).astype(float)
    assert np.abs(square[4:-4, 4:-4] - 127.5).max() < 4


def test_crop_continues_the_edge_beyond_the_picture() -> None:
    picture = np.full((40, 40, 3), 90, np.uint8)
    assert (crop(picture, _matrix(1, 0, 60, 60)) == 90).all()


def test_smooth_keeps_still_and_steady_motion_and_stays_a_similarity() -> None:
    still = np.repeat(_matrix(0.8, 3, 10, -5)[None], 20, 0)
    np.testing.assert_allclose(smooth(still), still, atol=1e-12)
    moving = np.stack([_matrix(1, 0, 2.0 * t, -t) for t in range(40)])
    np.testing.assert_allclose(smooth(moving)[8:-8], moving[8:-8], atol=1e-9)
    rng = np.random.default_rng(0)
    wild = smooth(np.stack([_matrix(*values) for values in rng.normal((1, 0, 5, 5), (0.05, 4, 2, 2), (30, 4))]))
    np.testing.assert_allclose(wild[:, 0, 0], wild[:, 1, 1], atol=1e-12)
    np.testing.assert_allclose(wild[:, 0, 1], -wild[:, 1, 0], atol=1e-12)


def test_smooth_takes_most_of_the_jitter() -> None:
    rng = np.random.default_rng(1)
    path = np.stack([_matrix(1, 2 * np.sin(t / 15), 5 * np.sin(t / 20), 0) for t in range(200)])
    noisy = path.copy()
    noisy[:, :, 2] += rng.normal(0, 0.5, (200, 2))
    error = (smooth(noisy) - path)[5:-5, :, 2]
    assert error.std() < 0.27
    assert smooth(noisy[:1]).shape == (1, 2, 3)


def test_transform_points_keeps_leading_axes() -> None:
    points = np.full((4, 5, 2), (1, 0), np.float32)
    np.testing.assert_allclose(transform_points(_matrix(1, 90, 3, 4), points), np.full((4, 5, 2), (3, 5)), atol=1e-6)
