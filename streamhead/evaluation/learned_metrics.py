"""Metrics that are networks themselves, each behind an extra and loaded only when asked for."""

from __future__ import annotations

import importlib.util
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamhead.errors import CheckpointError, DataError
from streamhead.face.landmarks import dlib_model

__all__ = ["Identity", "Lpips", "check_extra"]

_FACE_MODEL: Final = "dlib_face_recognition_resnet_model_v1.dat"
_EVERY: Final = 8
_AIR: Final = 0.25


class Identity:
    """Is it the same person: likeness of dlib's face embeddings, real against generated.

    King's face recognition network (dlib_face_recognition_resnet_model_v1; 99.4 % on LFW), as the package
    ``face_recognition_models`` carries it. It was trained to put pictures of one person less than 0.6 apart.

    Raises:
        DataError: the extra ``dlib`` is not installed.
    """

    def __init__(self) -> None:
        points = dlib_model()
        model = points.with_name(_FACE_MODEL)
        if not model.is_file():
            raise DataError(f"{model} is missing; pip install --force-reinstall face_recognition_models")
        import dlib

        self._points: Any = dlib.shape_predictor(str(points))
        self._embed: Any = dlib.face_recognition_model_v1(str(model))
        self._box = dlib.rectangle

    def embedding(self, frame: NDArray[np.uint8]) -> NDArray[np.float64]:
        """128 numbers of a canonical square ``(128, 128, 3)`` RGB; the face's place is known, it is not looked for."""
        side = 2 * len(frame)
        air = round(_AIR * side)
        large = cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(large, air, air, air, air, cv2.BORDER_REPLICATE)
        # What dlib's detector calls a face in the square: eyebrows to chin, as wide as high.
        low, high = air + round(0.14 * side), air + round(0.86 * side)
        box = self._box(low, low + round(0.08 * side), high, high + round(0.08 * side))
        shape = self._points(large, box)
        return np.asarray(self._embed.compute_face_descriptor(np.ascontiguousarray(large), shape))

    def score(self, real: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> float:
        """Distance of the embeddings, mean over every 8th frame: 0 for the same picture, over 0.6 for somebody else.

        Args:
            real: ``(T, 128, 128, 3)`` RGB.
            drawn: the same.
        """
        pairs = zip(real[::_EVERY], drawn[::_EVERY], strict=True)
        return float(np.mean([np.linalg.norm(self.embedding(a) - self.embedding(b)) for a, b in pairs]))


class Lpips:
    """LPIPS of Zhang et al. (2018) with AlexNet, by torchmetrics.

    Raises:
        DataError: torchmetrics or torchvision is not installed, or torchvision does not fit this torch.
        CheckpointError: the weights of AlexNet are not here and cannot be fetched.
    """

    def __init__(self) -> None:
        try:
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

            self._network = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()
        except (ImportError, RuntimeError) as error:
            raise DataError(
                "LPIPS needs torchmetrics and the torchvision that belongs to this torch: pip install torchmetrics "
                "torchvision, or leave --lpips out"
            ) from error
        except OSError as error:
            raise CheckpointError(
                "LPIPS needs AlexNet's weights from download.pytorch.org, which does not answer; run once with a "
                "network (they are kept in ~/.cache/torch), or leave --lpips out"
            ) from error

    def score(self, real: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> float:
        """Mean over frames ``(T, 128, 128, 3)`` RGB; 0 for equal pictures."""
        import torch

        a, b = (torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float().div(255.0) for frames in (real, drawn))
        with torch.inference_mode():
            value = float(self._network(b, a))
            self._network.reset()
        return value


def check_extra(name: str) -> None:
    """Find out before long work whether a measure can be taken.

    Raises:
        DataError: it needs something that is not installed.
        CheckpointError: its weights cannot be had.
    """
    if name == "lpips" and importlib.util.find_spec("torchvision") is None:
        raise DataError("LPIPS needs torchvision: pip install torchvision, or leave --lpips out")
    _ = Lpips() if name == "lpips" else Identity()
