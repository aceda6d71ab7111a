"""Picture metrics and the standard protocol, against formulas written here and a second library."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from streamhead.errors import DataError, StreamheadError
from streamhead.evaluation.cpbd import cpbd, edge_widths
from streamhead.evaluation.learned_metrics import check_extra
from streamhead.evaluation.metrics import psnr, sharpness, ssim_map, wrapped_psnr
from streamhead.evaluation.protocols import ATVGNET, STANDARD, SVG
from streamhead.face.align import EYES, MOUTH, crop, similarity


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


def test_the_svg_protocol_is_scikit_images_former_default() -> None:
    from scipy.ndimage import uniform_filter

    real, drawn = _faces(3), _faces(3, seed=4)
    a, b = real / 255.0, drawn / 255.0
    by_hand = []
    for t in range(3):
        for c in range(3):  # a box of 7x7, the sample covariance, and constants for a span of -1 to 1
            x, y = a[t, ..., c], b[t, ..., c]
            mean_x, mean_y = uniform_filter(x, 7), uniform_filter(y, 7)
            unbiased = 49 / 48
            var_x = unbiased * (uniform_filter(x * x, 7) - mean_x**2)
            var_y = unbiased * (uniform_filter(y * y, 7) - mean_y**2)
            cov = unbiased * (uniform_filter(x * y, 7) - mean_x * mean_y)
            c1, c2 = 0.02**2, 0.06**2
            similar = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
            by_hand.append((similar / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))[3:-3, 3:-3].mean())
    scores = SVG.score(real, drawn)
    assert scores["ssim"] == pytest.approx(np.mean(by_hand), abs=1e-6)
    decibels = [-10 * np.log10(((a[t, ..., c] - b[t, ..., c]) ** 2).mean()) for t in range(3) for c in range(3)]
    assert scores["psnr"] == pytest.approx(np.mean(decibels))
    assert scores["ssim"] > STANDARD.score(real, drawn)["ssim"]  # it flatters


def test_the_atvgnet_protocol_scores_noise_like_a_picture() -> None:
    one, other = np.random.default_rng(0).integers(0, 256, (2, 4, 128, 128), dtype=np.uint8)
    by_hand = [
        20
        * np.log10(255 / np.sqrt(np.mean([((int(p) - int(q)) % 256) ** 2 % 256 for p, q in zip(*pair, strict=True)])))
        for pair in zip(one.reshape(4, -1), other.reshape(4, -1), strict=True)
    ]
    wrapped = wrapped_psnr(one, other)
    assert wrapped == pytest.approx(by_hand)
    # A uniform difference squares to 105.5 on average modulo 256: noise that is as wrong as can be gets 27.9 dB.
    true = psnr(one[..., None] / 255.0, other[..., None] / 255.0)
    assert wrapped.mean() == pytest.approx(20 * np.log10(255) - 10 * np.log10(105.5), abs=0.1)
    assert true.mean() == pytest.approx(7.8, abs=0.2)
    # A difference of 16 everywhere is none at all.
    grey = np.full((1, 8, 8), 100, np.uint8)
    assert wrapped_psnr(grey, grey + np.uint8(16))[0] == 100.0
    colours = [np.random.default_rng(seed).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8) for seed in (1, 2)]
    assert ATVGNET.score(*colours)["psnr"] > 24.0 > 12.0 > STANDARD.score(*colours)["psnr"]
    same = ATVGNET.score(colours[0], colours[0])
    assert same["ssim"] == pytest.approx(1.0) and same["psnr"] == 100.0 and same["mouth_psnr"] == 100.0


def test_cpbd_on_edges_of_known_width() -> None:
    def ramp(width: int) -> np.ndarray:
        row = np.interp(np.arange(128) % 64, [12, 12 + width, 40, 40 + width], [30, 220, 220, 30])
        return np.repeat(np.repeat(np.uint8(row)[None], 128, 0)[..., None], 3, axis=2)

    for width in (2, 3, 4, 7):
        pixels, widths = edge_widths(ramp(width)[..., 0].astype(float))
        assert len(np.unique(pixels[:, 1])) >= 4 and (widths == width).all()
        # At this contrast 3 pixels are just not noticed as blur.
        assert cpbd(ramp(width)) == (1.0 if width <= 3 else 0.0)
    assert cpbd(np.full((128, 128, 3), 90, np.uint8)) == 0.0


def test_cpbd_falls_with_blur() -> None:
    from skimage import data

    picture = np.ascontiguousarray(data.astronaut()[:256, 100:356])
    scores = [cpbd(gaussian_filter(picture, (s, s, 0))) for s in (0, 0.8, 1.5, 3)]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0.4 and scores[-1] < 0.02


def test_identity_tells_people_apart(grid: Path) -> None:
    pytest.importorskip("dlib")
    import av

    from streamhead.evaluation.learned_metrics import Identity
    from streamhead.face.landmarks import LandmarkFinder

    squares = {}
    with LandmarkFinder(max_faces=1) as finder:
        for talker in ("s1", "s4"):
            with av.open(str(sorted((grid / talker).glob("*.mp4"))[0])) as video:
                frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)][::30]
            squares[talker] = np.stack([crop(frame, similarity(finder.find(frame)[0])) for frame in frames])
    identity = Identity()
    one, other = squares["s1"], squares["s4"]
    assert identity.score(one, one) == 0.0
    assert identity.score(one[:1], one[-1:]) < 0.4
    assert identity.score(one[:1], other[:1]) > 0.6


def test_lpips_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    if importlib.util.find_spec("torchvision") is None:
        with pytest.raises(DataError, match="pip install torchvision"):
            check_extra("lpips")
    else:
        try:
            check_extra("lpips")
        except StreamheadError as error:
            assert "--lpips" in str(error)
