"""Picture metrics and the standard protocol, against formulas written here and a second library."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from streamhead.evaluation.metrics import psnr, sharpness, ssim_map
from streamhead.evaluation.protocols import STANDARD
from streamhead.face.align import EYES, MOUTH


def _faces(count: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth colour pictures ``(T, 128, 128, 3)`` uint8, each a little other than the last."""
    rng = np.random.default_rng(seed)
    base = gaussian_filter(rng.standard_normal((128, 128, 3)), (6, 6, 0))
    move = gaussian_filter(rng.standard_normal((count, 128, 128, 3)), (0, 4, 4, 0))
    both = base / base.std() + 0.3 * np.cumsum(move / move.std(), axis=0)
    return np.asarray(np.clip(127 + 45 * both, 0, 255), np.uint8)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Real and generated frames, float in [0, 1]."""
    real = _faces(4)
    noise = np.random.default_rng(1).normal(0, 9, real.shape)
    drawn = np.clip(gaussian_filter(real.astype(float), (0, 1.2, 1.2, 0)) + noise, 0, 255)
    return real / 255.0, drawn / 255.0


def test_psnr_by_hand_and_by_torchmetrics(pair: tuple[np.ndarray, np.ndarray]) -> None:
    real, drawn = pair
    for t, value in enumerate(psnr(real, drawn)):
        total = sum((float(a) - float(b)) ** 2 for a, b in zip(real[t].flat, drawn[t].flat, strict=True))
        assert value == pytest.approx(10 * np.log10(real[t].size / total), abs=1e-9)
        other = peak_signal_noise_ratio(torch.from_numpy(drawn[t]), torch.from_numpy(real[t]), data_range=1.0)
        assert value == pytest.approx(float(other), abs=1e-4)


def test_psnr_of_a_known_error_and_of_none() -> None:
    real = np.full((1, 8, 8, 3), 0.5)
    assert psnr(real, real + 0.1)[0] == pytest.approx(20.0)
    assert psnr(real, real)[0] == 100.0


def test_ssim_by_formula_and_by_torchmetrics(pair: tuple[np.ndarray, np.ndarray]) -> None:
    real, drawn = pair
    ours = ssim_map(real, drawn)

    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2

    def at(t: int, y: int, x: int, c: int) -> float:
        a = real[t, y - 5 : y + 6, x - 5 : x + 6, c]
        b = drawn[t, y - 5 : y + 6, x - 5 : x + 6, c]
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a = (window * a**2).sum() - mean_a**2
        var_b = (window * b**2).sum() - mean_b**2
        cov = (window * a * b).sum() - mean_a * mean_b
        c1, c2 = 0.01**2, 0.03**2
        return float(
            (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        )

    for t, y, x in [(0, 40, 60), (2, 5, 5), (3, 100, 122)]:
        assert ours[t, y, x] == pytest.approx(np.mean([at(t, y, x, c) for c in range(3)]), abs=1e-9)

    _, other = structural_similarity_index_measure(
        torch.from_numpy(drawn).permute(0, 3, 1, 2),
        torch.from_numpy(real).permute(0, 3, 1, 2),
        data_range=1.0,
        return_full_image=True,
    )
    # At the border torchmetrics mirrors the picture and counts what it makes up; the protocol does not look there.
    inside = ours[:, 5:-5, 5:-5]
    assert np.abs(inside - other.mean(1).numpy()[:, 5:-5, 5:-5]).max() < 1e-4
    assert STANDARD.score(_bytes(real), _bytes(drawn))["ssim"] == pytest.approx(inside.mean(), abs=2e-3)
    assert 0.3 < inside.mean() < 0.95  # neither trivial


def _bytes(frames: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(frames * 255), np.uint8)


def test_sharpness_falls_with_blur() -> None:
    real = _faces(2) / 255.0 + np.random.default_rng(2).normal(0, 0.05, (2, 128, 128, 3))
    blurred = gaussian_filter(real, (0, 1.0, 1.0, 0))
    assert sharpness(blurred) < 0.2 * sharpness(real)
    # The Laplacian is linear: half the contrast, a quarter of the variance.
    assert sharpness(real / 2) == pytest.approx(sharpness(real) / 4, rel=1e-5)


def test_the_standard_protocol_looks_at_its_regions() -> None:
    real = _faces(3)
    same = STANDARD.score(real, real)
    assert same["ssim"] == pytest.approx(1.0) and same["psnr"] == 100.0 and same["mouth_sharpness"] == 1.0
    for region, changed, unchanged in ((MOUTH, "mouth_psnr", "eye_psnr"), (EYES, "eye_psnr", "mouth_psnr")):
        drawn = real.copy()
        drawn[:, *region] = drawn[:, *region] // 2 + 64
        scores = STANDARD.score(real, drawn)
        error = (real[:, *region] / 255.0 - drawn[:, *region] / 255.0) ** 2
        assert scores[changed] == pytest.approx(np.mean([-10 * np.log10(e.mean()) for e in error]))
        assert scores[unchanged] == 100.0
        assert scores[changed] < scores["psnr"] < 100.0


def test_decibels_are_taken_a_frame() -> None:
    real = np.full((2, 128, 128, 3), 100, np.uint8)
    drawn = real + np.array([1, 10], np.uint8)[:, None, None, None]
    expected = np.mean([20 * np.log10(255 / 1), 20 * np.log10(255 / 10)])
    assert STANDARD.score(real, drawn)["psnr"] == pytest.approx(expected)
