"""Coherent noise: exact marginals at every rho, a pure function of two integers."""

import numpy as np
import pytest
import torch

from streamhead.model.gaussian_lstm import Gaussian
from streamhead.stream.noise import CoherentNoise


def _run(noise: CoherentNoise, count: int) -> np.ndarray:
    out, eps = [], None
    for t in range(count):
        eps = noise.step(t, eps)
        out.append(eps)
    return np.stack(out)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.97])
def test_every_step_is_standard_normal(rho: float) -> None:
    steps = np.stack([_run(CoherentNoise(seed, rho, 24), 12) for seed in range(800)])
    for t in (0, 1, 5, 11):
        at = steps[:, t].ravel()  # 19,200 values; neighbours in z and seed are independent
        assert abs(at.mean()) < 4 / np.sqrt(at.size)
        assert abs(at.var() - 1) < 4 * np.sqrt(2 / at.size)
    measured = np.mean(steps[:, 1:] * steps[:, :-1])
    assert abs(measured - rho) < 0.02


@pytest.mark.parametrize("rho", [0.0, 0.9, 0.97])
def test_z_keeps_the_posterior_of_its_frame(rho: float) -> None:
    generator = torch.Generator().manual_seed(1)
    q = Gaussian(torch.randn(1, 24, generator=generator), torch.randn(1, 24, generator=generator) - 2)
    seeds, t = 3000, 6
    eps = np.stack([_run(CoherentNoise(seed, rho, 24), t + 1)[t] for seed in range(seeds)])
    for temperature in (1.0, 0.5):
        z = q.sample(torch.from_numpy(eps), temperature)
        std = q.std[0] * temperature
        assert ((z.mean(0) - q.mean[0]).abs() < 4.5 * std / seeds**0.5).all()
        assert ((z.var(0) / std**2 - 1).abs() < 4.5 * (2 / seeds) ** 0.5).all()


def test_innovations_depend_on_seed_and_t_only() -> None:
    noise = CoherentNoise(7, 0.9, 24)
    late = noise.innovation(5)
    noise.innovation(3)
    assert np.array_equal(late, CoherentNoise(7, 0.1, 24).innovation(5))
    assert not np.array_equal(late, noise.innovation(6))
    assert not np.array_equal(late, CoherentNoise(8, 0.9, 24).innovation(5))


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="coherence"):
        CoherentNoise(0, 1.0, 24)
    with pytest.raises(ValueError, match="seed"):
        CoherentNoise(-1, 0.5, 24)
