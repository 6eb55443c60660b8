"""Integral probability metrics against SciPy and linear programmes; Lipschitz networks against their bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance
from torch import nn

from generative.critics import (
    BoundedLipschitz,
    LipschitzConv,
    critic_loss,
    lipschitz_network,
    mean_difference,
    wasserstein_1d,
)
from generative.training import TrainingConfig, fit, seeded

MAXIMISE = TrainingConfig(steps=600, batch_size=128, learning_rate=1e-2, evaluate_every=200)


def dudley_by_linear_programme(x: np.ndarray, y: np.ndarray) -> float:
    """Exact sup of E_x f − E_y f over |f_i| ≤ a, |f_i − f_(i+1)| ≤ (1 − a) (z_(i+1) − z_i) at sorted points.

    On a line the slopes between neighbours bound all slopes.
    """
    pooled = np.concatenate([x, y])
    order = np.argsort(pooled)
    n = len(pooled)
    gain = np.concatenate([np.full(len(x), 1 / len(x)), np.full(len(y), -1 / len(y))])[order]
    gap = np.diff(pooled[order])
    step = np.diff(np.eye(n), axis=0)
    bounded = np.hstack([np.eye(n), -np.ones((n, 1))])
    sloped = np.hstack([step, gap[:, None]])
    rows = np.vstack([bounded, bounded * np.r_[-np.ones(n), 1.0], sloped, sloped * np.r_[-np.ones(n), 1.0]])
    limits = np.concatenate([np.zeros(2 * n), gap, gap])
    solved = linprog(np.r_[-gain, 0.0], A_ub=rows, b_ub=limits, bounds=[(None, None)] * n + [(0.0, 1.0)])
    return -solved.fun


def maximised(critic: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    fit(critic, [x, y], config=MAXIMISE, loss=critic_loss)
    return float(mean_difference(critic, x, y).detach())


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), m=st.integers(1, 30), seed=st.integers(0, 1000))
def test_one_dimensional_wasserstein_is_scipys(n: int, m: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator=generator, dtype=torch.float64).round(decimals=1)
    y = 2.0 + torch.randn(m, generator=generator, dtype=torch.float64).round(decimals=1)
    assert float(wasserstein_1d(x, y)) == pytest.approx(wasserstein_distance(x.numpy(), y.numpy()), abs=1e-6)


def steepest(critic: nn.Module, x: torch.Tensor) -> float:
    """Largest slope found: gradients at points, and quotients of near and far pairs."""
    x = x.clone().requires_grad_()
    value = critic(x)
    gradient = torch.autograd.grad(value.sum(), x)[0].norm(dim=-1).max()
    shuffled = x.roll(1, 0)
    quotient = (value - critic(shuffled)).abs().squeeze(-1) / (x - shuffled).norm(dim=-1)
    return max(float(gradient), float(quotient.detach().max()))


@pytest.mark.parametrize("seed", range(3))
def test_measured_slopes_stay_below_the_bound_whatever_the_weights(seed: int) -> None:
    with seeded(seed):
        networks = [lipschitz_network(5, (16, 16, 16)), LipschitzConv((1, 8, 8), (8, 8))]
        inputs = [4.0 * torch.randn(500, 5).double(), 4.0 * torch.randn(200, 64).double()]
        for network, x in zip(networks, inputs, strict=True):
            network.double()
            assert steepest(network, x) <= 1.0 + 1e-9
            for parameter in network.parameters():
                nn.init.normal_(parameter, std=3.0)
            assert steepest(network, x) <= 1.0 + 1e-9
            dudley = BoundedLipschitz(network).double()
            nn.init.constant_(dudley.bound_logit, seed - 1.0)
            largest = float(dudley(x).detach().abs().max())
            assert largest + steepest(dudley, x) <= 1.0 + 1e-9


def test_a_network_without_normalisation_would_break_the_bound() -> None:
    with seeded(0):
        plain = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1)).double()
        for parameter in plain.parameters():
            nn.init.normal_(parameter, std=3.0)
        assert steepest(plain, torch.randn(100, 5).double()) > 1.0


def test_odd_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden is \(3,\)"):
        lipschitz_network(2, (3,))
    with pytest.raises(ValueError, match=r"channels is \(5,\)"):
        LipschitzConv((1, 8, 8), (5,))


def test_trained_critics_reach_the_exact_metrics_in_one_dimension() -> None:
    """Two samples whose optimal W1 critic turns (means equal, spreads different): a linear critic would give 0."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(48, 1, generator=generator)
    y = 0.3 + 2.0 * torch.randn(48, 1, generator=generator)
    exact = wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy())
    with seeded(0):
        found = maximised(lipschitz_network(1, (16, 16)), x, y)
    assert found <= exact + 1e-5
    assert found >= 0.97 * exact

    dudley = dudley_by_linear_programme(x[:, 0].numpy(), y[:, 0].numpy())
    with seeded(0):
        bounded = maximised(BoundedLipschitz(lipschitz_network(1, (16, 16))), x, y)
    assert bounded <= dudley + 1e-5
    assert bounded >= 0.95 * dudley
    assert dudley <= exact


@pytest.mark.parametrize("distance", [0.2, 1.0, 3.0])
def test_dudley_of_two_point_masses(distance: float) -> None:
    """With f(x) = α = −f(y), 2 α ≤ (1 − α) d, so α = d / (2 + d) and the metric is 2 d / (2 + d) ≤ d."""
    exact = 2.0 * distance / (2.0 + distance)
    x, y = torch.zeros(8, 2), torch.zeros(8, 2)
    y[:, 1] = distance
    assert dudley_by_linear_programme(x[:1, 1].numpy(), y[:1, 1].numpy()) == pytest.approx(exact, abs=1e-8)
    with seeded(0):
        found = maximised(BoundedLipschitz(lipschitz_network(2, (16,))), x, y)
    assert exact * 0.98 <= found <= exact + 1e-6
