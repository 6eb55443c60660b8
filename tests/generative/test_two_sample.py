"""Two-sample tests: false-positive rates and power; density ratios against the closed form of two Gaussians."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binom, hypergeom, kstest
from sklearn.linear_model import LogisticRegression

from generative.divergences import energy_distance
from generative.nn import MLP
from generative.training import TrainingConfig, fit, seeded
from generative.two_sample import (
    classifier_test,
    energy_test,
    expected_calibration_error,
    logistic_ratio,
    mmd_test,
    quadratic_features,
    ratio_loss,
)
from generative.two_sample.equality import _log_choose


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_hypergeometric_chances_are_scipys() -> None:
    m, drawn = 9, 5
    k = torch.arange(m + 1)
    log_p = _log_choose(m, k) + _log_choose(m, drawn - k) - _log_choose(2 * m, torch.tensor(drawn))
    expected = torch.tensor(hypergeom.pmf(k.numpy(), 2 * m, m, drawn))
    torch.testing.assert_close(log_p.exp(), expected, rtol=1e-9, atol=1e-12)


def test_classifier_test_is_calibrated() -> None:
    """2,000 pairs of equal, skewed distributions: p-values are uniform, so each level rejects as often as it says."""
    x = torch.randn(2, 2000, 60, 2, generator=generator(), dtype=torch.float64).exp()
    p = classifier_test(x[0], x[1], generator(1)).p_value
    assert kstest(p.numpy(), "uniform").pvalue > 1e-3
    for level in (0.01, 0.05, 0.2):
        rejected = int((p <= level).sum())
        low, high = binom.interval(0.999, 2000, level)
        assert low <= rejected <= high


def test_classifier_test_has_power_and_finds_what_a_mean_cannot_show() -> None:
    x = torch.randn(100, 200, 2, generator=generator(), dtype=torch.float64)
    same_mean = 1.6 * torch.randn(100, 200, 2, generator=generator(1), dtype=torch.float64)
    result = classifier_test(x, same_mean, generator(2))
    assert float((result.p_value <= 0.05).double().mean()) > 0.85
    assert float(result.statistic.mean()) > 0.55
    with pytest.raises(ValueError, match="even size"):
        classifier_test(x[:, :3], same_mean[:, :3], generator())


@pytest.mark.parametrize("test", [energy_test, mmd_test])
def test_permutation_tests_are_calibrated_and_have_power(test: object) -> None:
    draws = generator()
    p = []
    for _ in range(300):
        x = torch.randn(2, 25, 2, generator=draws)
        p.append(float(test(x[0], x[1], draws, permutations=39).p_value))  # type: ignore[operator]
    for level in (0.05, 0.2):  # multiples of 1/40: the level is met exactly
        rejected = sum(value <= level + 1e-9 for value in p)
        low, high = binom.interval(0.999, 300, level)
        assert low <= rejected <= high
    x, y = torch.randn(80, 2, generator=draws), torch.randn(80, 2, generator=draws) + 1.0
    assert float(test(x, y, draws).p_value) == pytest.approx(1.0 / 200.0)  # type: ignore[operator]


def test_energy_statistic_is_the_energy_distance() -> None:
    """Up to the diagonal, which the unbiased estimate leaves out."""
    x, y = torch.randn(30, 2, generator=generator()), torch.randn(40, 2, generator=generator(1)) + 0.5
    statistic = float(energy_test(x, y, generator(), permutations=1).statistic)
    inside = float(torch.cdist(x, x).sum()) * (1 / (30 * 29) - 1 / 900)
    inside += float(torch.cdist(y, y).sum()) * (1 / (40 * 39) - 1 / 1600)
    assert statistic - inside == pytest.approx(float(energy_distance(x, y)), abs=1e-5)


def test_logistic_ratio_is_scikit_learns() -> None:
    x, y = torch.randn(80, 2, generator=generator()).double(), torch.randn(50, 2, generator=generator(1)).double() + 0.7
    ratio = logistic_ratio(x, y, ridge=0.5)
    design = quadratic_features(torch.cat([x, y])).numpy()
    label = [1] * 80 + [0] * 50
    reference = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=1000).fit(design, label)
    torch.testing.assert_close(ratio.weights, torch.tensor(reference.coef_[0]), rtol=1e-4, atol=1e-5)


def test_log_ratio_of_two_gaussians() -> None:
    """log p/q is quadratic: the classifier finds it, with samples of unequal size."""
    p = torch.distributions.MultivariateNormal(torch.tensor([0.0, 0.0]), torch.tensor([[1.0, 0.4], [0.4, 0.8]]))
    q = torch.distributions.MultivariateNormal(torch.tensor([0.6, -0.3]), torch.tensor([[1.5, 0.0], [0.0, 1.0]]))
    with seeded(0):
        x, y, test = p.sample((40_000,)), q.sample((20_000,)), q.sample((1000,))
    exact = p.log_prob(test) - q.log_prob(test)
    error = (logistic_ratio(x.double(), y.double()).log_ratio(test.double()) - exact).abs()
    assert float(error.mean()) < 0.03
    # E_q[p/q] = 1 and E_p[log p/q] = KL
    kl = float(torch.distributions.kl_divergence(p, q))
    found = logistic_ratio(x.double(), y.double())
    assert float(found.log_ratio(x.double()).mean()) == pytest.approx(kl, abs=0.02)
    assert float(found.log_ratio(y.double()).exp().mean()) == pytest.approx(1.0, abs=0.03)


def test_a_networks_ratio_is_near_the_exact_one_and_its_probabilities_are_calibrated() -> None:
    with seeded(0):
        x, y = torch.randn(20_000, 1), 0.8 + 1.3 * torch.randn(20_000, 1)
        network = MLP(1, (32, 32), 1, activation_name="silu")
        test_x, test_y = torch.randn(5000, 1), 0.8 + 1.3 * torch.randn(5000, 1)
    fit(network, [x, y], config=TrainingConfig(steps=800, batch_size=500, learning_rate=5e-3), loss=ratio_loss)
    p = torch.distributions.Normal(0.0, 1.0)
    q = torch.distributions.Normal(0.8, 1.3)
    with torch.no_grad():
        points = torch.cat([test_x, test_y])
        found = network(points).squeeze(-1)
        exact = (p.log_prob(points) - q.log_prob(points)).squeeze(-1)
    assert float((found - exact).abs().mean()) < 0.06
    outcome = torch.cat([torch.ones(5000), torch.zeros(5000)])
    assert float(expected_calibration_error(found.sigmoid(), outcome)) < 0.02
    assert float(expected_calibration_error((3.0 * found).sigmoid(), outcome)) > 0.05


def test_calibration_error_by_hand() -> None:
    probability = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.9, 0.9])
    outcome = torch.tensor([0, 0, 0, 1, 1, 1])
    expected = (3 * abs(0.2 - 0.0) + 3 * abs((0.2 + 0.9 + 0.9) / 3 - 1.0)) / 6
    assert float(expected_calibration_error(probability, outcome, bins=2)) == pytest.approx(expected, abs=1e-6)
    assert math.isclose(float(expected_calibration_error(torch.ones(4), torch.ones(4), 2)), 0.0)
