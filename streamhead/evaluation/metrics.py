"""Picture metrics of one clip, real against generated. Arrays are ``(T, height, width, 3)`` floats in [0, 1]."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

__all__ = ["box_ssim_map", "psnr", "sharpness", "ssim_map", "wrapped_psnr"]

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


def box_ssim_map(real: NDArray[Any], drawn: NDArray[Any], data_range: float) -> NDArray[np.float64]:
    """As :func:`ssim_map` by scikit-image's defaults: a box window of 7x7 and the sample covariance.

    Args:
        real: ``(T, height, width, 3)``, floats or uint8.
        drawn: the same.
        data_range: what the values are taken to span.
    """
    maps = np.empty(real.shape)
    for t, (one, other) in enumerate(zip(real, drawn, strict=True)):
        _, maps[t] = structural_similarity(  # type: ignore[no-untyped-call]
            one, other, data_range=data_range, channel_axis=-1, full=True
        )
    return np.asarray(maps.mean(axis=-1))


def wrapped_psnr(real: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> NDArray[np.float64]:
    """PSNR of each frame as it comes out where differences and squares are kept in uint8, ``(T,)`` dB, at most 100.

    Both wrap around at 256: a difference of 16 squares to 0, and no mean square passes 249. So uniform noise against
    noise scores 27.9 dB where the true figure is 7.8 dB. For comparison with figures published that way, and for
    nothing else.

    Args:
        real: ``(T, height, width)`` grey.
        drawn: the same.
    """
    difference = real - drawn
    error = (difference * difference).mean(axis=(1, 2), dtype=np.float64)
    return np.asarray(np.minimum(20.0 * np.log10(255.0) - 10.0 * np.log10(np.maximum(error, 1e-30)), _PERFECT))


def sharpness(frames: NDArray[np.floating[Any]]) -> float:
    """Variance of the Laplacian of the grey picture, mean over frames: falls when edges blur."""
    grey = [cv2.cvtColor(np.ascontiguousarray(frame, np.float32), cv2.COLOR_RGB2GRAY) for frame in frames]
    return float(np.mean([cv2.Laplacian(picture, cv2.CV_32F).var(dtype=np.float64) for picture in grey]))
