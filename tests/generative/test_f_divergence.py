"""The twelve f-divergences against numeric integration and closed forms for two Gaussians."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generative.f_divergences import (
    ROWS,
    TABLE,
    FDivergence,
    alpha_divergence,
    f_divergence,
    weighted_jensen_shannon,
)

SPACING = 0.005
NODES = torch.arange(-14.0, 14.0, SPACING, dtype=torch.float64)
P = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
Q = torch.distributions.Normal(torch.tensor(0.7, dtype=torch.float64), 1.2)
LOG_P, LOG_Q = P.log_prob(NODES), Q.log_prob(NODES)
every_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


def integral(values: torch.Tensor) -> float:
    return float(values.sum() * SPACING)


def power_integral(a: float) -> float:
    """∫ p^a q^(1−a) of the two Gaussians, completed to a square by hand."""
    m, s = 0.7, 1.2
    precision = a + (1.0 - a) / s**2
    centre = (1.0 - a) * m / s**2 / precision
    exponent = -0.5 * ((1.0 - a) * m**2 / s**2 - precision * centre**2)
    return s ** (a - 1.0) / math.sqrt(precision) * math.exp(exponent)


def kl_forward() -> float:
    return math.log(1.2) + (1.0 + 0.49) / (2 * 1.44) - 0.5


def kl_backward() -> float:
    return -math.log(1.2) + (1.44 + 0.49) / 2 - 0.5


def jsd(pi: float) -> float:
    """π KL(P ‖ M) + (1 − π) KL(Q ‖ M) from its definition."""
    log_m = torch.logaddexp(LOG_P + math.log(pi), LOG_Q + math.log(1.0 - pi))
    forward = integral(LOG_P.exp() * (LOG_P - log_m))
    return pi * forward + (1.0 - pi) * integral(LOG_Q.exp() * (LOG_Q - log_m))


EXPECTED = {
    "total-variation": lambda: 0.5 * integral((LOG_P.exp() - LOG_Q.exp()).abs()),
    "kl": kl_forward,
    "reverse-kl": kl_backward,
    "pearson": lambda: power_integral(2.0) - 1.0,
    "neyman": lambda: power_integral(-1.0) - 1.0,
    "squared-hellinger": lambda: 2.0 - 2.0 * power_integral(0.5),
    "jeffrey": lambda: kl_forward() + kl_backward(),
    "jensen-shannon": lambda: 2.0 * jsd(0.5),
    "weighted-jensen-shannon": lambda: jsd(0.3),
    "gan": lambda: 2.0 * jsd(0.5) - math.log(4.0),
    "alpha-below-1": lambda: (power_integral(0.5) - 1.0) / (0.5 * -0.5),
    "alpha-above-1": lambda: (power_integral(1.5) - 1.0) / (1.5 * 0.5),
}


def test_the_table_has_the_lectures_twelve_rows() -> None:
    assert len(TABLE) == len(ROWS) == 12
    assert set(ROWS) == set(EXPECTED)
    with pytest.raises(ValueError, match=r"did you mean 'pearson'\?"):
        f_divergence("person")
    with pytest.raises(ValueError, match=r"alpha is 1\.0"):
        alpha_divergence(1.0)
    with pytest.raises(ValueError, match=r"pi is 1\.5"):
        weighted_jensen_shannon(1.5)


@every_row
def test_divergence_of_two_gaussians(row: FDivergence) -> None:
    assert float(row.divergence(LOG_P, LOG_Q, SPACING)) == pytest.approx(EXPECTED[row.name](), abs=1e-6)
    assert float(row.derivative(torch.ones((), dtype=torch.float64))) == pytest.approx(row.slope_at_one, abs=1e-12)


@every_row
def test_the_derivative_is_the_generators_slope_and_the_generator_is_convex(row: FDivergence) -> None:
    u = torch.linspace(0.05, 6.0, 240, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(row.generator(u).sum(), u)[0]
    torch.testing.assert_close(slope, row.derivative(u))
    assert bool((row.derivative(u).diff() >= -1e-12).all())


@every_row
def test_conjugate_is_the_supremum(row: FDivergence) -> None:
    """f*(t) = max_u {u t − f(u)} over a dense grid of u, for t that the optimal critic takes."""
    u = torch.exp(torch.linspace(-12.0, 9.0, 200_001, dtype=torch.float64))
    t = row.derivative(torch.tensor([0.1, 0.5, 0.9, 1.0, 1.3, 4.0], dtype=torch.float64))
    best = torch.stack([(u * each - row.generator(u)).amax() for each in t])
    torch.testing.assert_close(row.conjugate(t), best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("row", [ROWS["pearson"], ROWS["alpha-above-1"]], ids=lambda row: row.name)
def test_conjugates_below_their_domain_are_at_u_zero(row: FDivergence) -> None:
    """Left of f'(0) the supremum over u ≥ 0 is −f(0); the lecture's formula would rise again."""
    t = torch.tensor([-2.5, -10.0, -1e4], dtype=torch.float64)
    expected = -row.generator(torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(row.conjugate(t), expected.expand(3))
    torch.testing.assert_close(row.penalty(t), expected.expand(3))


@every_row
def test_bound_is_tight_at_the_optimal_critic_and_below_elsewhere(row: FDivergence) -> None:
    def bound(t: torch.Tensor) -> float:
        return integral(LOG_P.exp() * t) - integral(LOG_Q.exp() * row.conjugate(t))

    optimal = row.derivative((LOG_P - LOG_Q).exp())
    expected = EXPECTED[row.name]()
    assert bound(optimal) == pytest.approx(expected, abs=1e-5)
    others = [row.activation(0.3 * torch.sin(k * NODES) - 0.2 * k) for k in range(4)]
    others.append(row.derivative((0.5 * (LOG_P - LOG_Q)).exp()))
    assert all(bound(other) < expected for other in others)


@every_row
def test_penalty_is_the_conjugate_of_the_activation(row: FDivergence) -> None:
    v = torch.linspace(-15.0, 8.0, 300, dtype=torch.float64)
    t = row.activation(v)
    torch.testing.assert_close(row.penalty(v), row.conjugate(t), rtol=1e-6, atol=1e-6)
    assert bool((t <= row.domain[1]).all())
    if row.name not in ("pearson", "alpha-above-1"):  # free v, their conjugates are flat below the domain
        assert bool((t >= row.domain[0]).all())


@every_row
def test_jeffrey_and_the_others_stay_finite_in_float32(row: FDivergence) -> None:
    big = torch.finfo(torch.float32).max
    v = torch.tensor([-big, -1e9, -1e4, -200.0, -90.0, -2.0, 0.0, 1.0, 30.0, 90.0, 200.0, 1e9, big], requires_grad=True)
    value = torch.stack([row.activation(v), row.penalty(v)])
    assert bool(value.isfinite().all())
    slope = torch.autograd.grad(value.sum(), v)[0]
    assert bool(slope.isfinite().all())


@every_row
@settings(max_examples=80, deadline=None)
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_no_finite_input_gives_nan(row: FDivergence, value: float) -> None:
    t = torch.tensor([value], dtype=torch.float32)
    assert not bool(row.conjugate(t).isnan().any())
    assert bool(row.penalty(t).isfinite().all())
    assert bool(row.activation(t).isfinite().all())


def test_jeffreys_conjugate_is_the_lectures_formula() -> None:
    from scipy.special import lambertw

    t = torch.linspace(-20.0, 15.0, 71, dtype=torch.float64)
    w = torch.tensor(lambertw(torch.exp(1.0 - t).numpy()).real)
    torch.testing.assert_close(ROWS["jeffrey"].conjugate(t), w + 1.0 / w + t - 2.0, rtol=1e-7, atol=1e-7)


def test_weighted_jensen_shannon_at_one_half_is_the_symmetric_one() -> None:
    half = weighted_jensen_shannon(0.5).divergence(LOG_P, LOG_Q, SPACING)
    assert float(ROWS["jensen-shannon"].divergence(LOG_P, LOG_Q, SPACING)) == pytest.approx(2.0 * float(half), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(alpha=st.floats(-2.0, 3.0).filter(lambda a: min(abs(a), abs(a - 1.0)) > 0.05))
def test_alpha_divergences_are_tight_for_every_alpha(alpha: float) -> None:
    """Between two Gaussians near each other, where all of them are finite."""
    log_q = torch.distributions.Normal(torch.tensor(0.2, dtype=torch.float64), 1.1).log_prob(NODES)
    row = alpha_divergence(alpha)
    t = row.derivative((LOG_P - log_q).exp())
    bound = integral(LOG_P.exp() * t) - integral(log_q.exp() * row.conjugate(t))
    assert bound == pytest.approx(float(row.divergence(LOG_P, log_q, SPACING)), rel=1e-4, abs=1e-6)
