"""The KL is exact, in both equations."""

import torch

from streamhead.model.gaussian_lstm import Gaussian
from streamhead.model.objective import kl_divergence, latent_cost


def _gaussian(seed: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    shape = (5, 7, 24)
    return Gaussian(
        torch.randn(shape, generator=generator, dtype=torch.float64) * 2,
        torch.randn(shape, generator=generator, dtype=torch.float64) * 2,
    )


def test_kl_equals_torch_distributions() -> None:
    q, p = _gaussian(1), _gaussian(2)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.mean, q.std), torch.distributions.Normal(p.mean, p.std)
    ).sum(-1)
    assert ((kl_divergence(q, p) - expected).abs() / expected).max() < 1e-6


def test_kl_is_zero_only_for_equals() -> None:
    q = _gaussian(1)
    assert kl_divergence(q, q).abs().max() == 0
    assert (kl_divergence(q, _gaussian(2)) > 0).all()


def test_without_sound_the_cost_is_that_of_the_unimodal_model() -> None:
    q = _gaussian(1)
    deaf = latent_cost(q, None)
    assert deaf != latent_cost(q, _gaussian(3))
    normal = torch.distributions.Normal(torch.zeros(24).double(), torch.ones(24).double())
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(q.mean, q.std), normal).sum(-1).mean()
    assert abs(deaf - expected) < 1e-6 * expected
