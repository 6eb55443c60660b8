"""Counted outcomes: against torch's own distributions, moments of draws, and rates that are known."""

import pytest
import torch
from torch.distributions import Normal, Poisson
from torch.nn import functional as F

from world_models.counted import CountedAndGaussian


def test_densities_and_moments_are_those_of_the_parts() -> None:
    parameters = torch.tensor([[0.5, -2.0, 1.5, 0.3, 9.0, -0.4], [-1.0, 0.4, 0.2, -0.7, 9.0, 0.6]])
    outcomes = CountedAndGaussian(parameters, [1], 0.05)
    y = torch.tensor([[0.2, 3.0, -1.0], [1.0, 0.0, 2.0]])
    expected = Poisson(parameters[:, 1].exp()).log_prob(y[:, 1])
    for i in (0, 2):
        expected = expected + Normal(parameters[:, i], F.softplus(parameters[:, 3 + i]) + 0.05).log_prob(y[:, i])
    torch.testing.assert_close(outcomes.log_prob(y), expected)
    draws = outcomes.sample((20_000,))
    assert (draws[..., 1] % 1.0 == 0.0).all()
    torch.testing.assert_close(draws.mean(0), outcomes.mean, atol=0.05, rtol=0.0)
    torch.testing.assert_close(draws[..., 1].var(0), outcomes.mean[:, 1], atol=0.08, rtol=0.0)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_most_likely_rates_are_means_over_orders_of_magnitude_whole_or_not(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rates = torch.tensor([0.01, 0.3, 10.0])
    counts = share * torch.poisson(rates.expand(5000, 3), generator=generator)
    logarithms = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([logarithms], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        parameters = torch.cat([logarithms, torch.zeros(3)]).expand(5000, 6)
        value = -CountedAndGaussian(parameters, [0, 1, 2], 0.05).log_prob(counts).mean()
        value.backward()
        return value

    optimiser.step(loss)
    torch.testing.assert_close(logarithms.detach().exp(), counts.mean(0), rtol=1e-3, atol=1e-5)
