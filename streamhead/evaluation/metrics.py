"""Picture metrics of one clip, real against generated. Arrays are ``(T, height, width, 3)`` floats in [0, 1]."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

__all__ = ["psnr", "sharpness", "ssim_map"]

_PERFECT: float = 100.0
"""dB given to a frame without any error: an infinite one would swallow the mean."""


def psnr(real: NDArray[np.floating[Any]], drawn: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each frame, ``(T,)`` dB, at most 100; the error is pooled over its RGB pixels."""
    error = ((real.astype(np.float64) - drawn) ** 2).mean(axis=(1, 2, 3))
    return np.asarray(-10.0 * np.log10(np.maximum(error, 10.0 ** (-_PERFECT / 10.0))))


def ssim_map(real: NDArray[np.floating[Any]], drawn: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Structural similarity around each pixel, ``(T, height, width)``, mean over R, G and B.

    Wang et al. (2004): Gaussian window of 11x11 with sigma 1.5, population covariance, data range 1.
    """
    maps = np.empty(real.shape)
    for t, (one, other) in enumerate(zip(real, drawn, strict=True)):
        _, maps[t] = structural_similarity(  # type: ignore[no-untyped-call]
            one.astype(np.float64),
            other.astype(np.float64),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
            full=True,
        )
    return np.asarray(maps.mean(axis=-1))


def sharpness(frames: NDArray[np.floating[Any]]) -> float:
    """Variance of the Laplacian of the grey picture, mean over frames: falls when edges blur."""
    grey = [cv2.cvtColor(np.ascontiguousarray(frame, np.float32), cv2.COLOR_RGB2GRAY) for frame in frames]
    return float(np.mean([cv2.Laplacian(picture, cv2.CV_32F).var(dtype=np.float64) for picture in grey]))
