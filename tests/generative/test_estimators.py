"""Estimators against closed forms: gradients within 3 standard errors, evidence, messages, interventions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Independent, MultivariateNormal, Normal
from torch.nn import functional as F

from generative.data import moons
from generative.estimators import (
    AmortisedMessage,
    DistillationConfig,
    LearnedBaseline,
    RunningBaseline,
    StructuralModel,
    backdoor_mean,
    backdoor_stratified,
    darn,
    darn_sample,
    distil,
    expectation_propagation,
    importance_evidence,
    langevin_step_,
    leave_one_out,
    pathwise,
    predictive,
    quadrature_moments,
    score_function,
    tilted_moments,
)
from generative.nn import MLP
from generative.training import TrainingConfig, fit, seeded

MEAN, LOG_SCALE = 0.4, -0.3


def gradients(estimate: Callable[[Tensor], Tensor], parameters: Tensor, repeats: int) -> Tensor:
    """Return the gradients (repeats, P) of independent estimates."""
    rows = []
    for _ in range(repeats):
        leaf = parameters.clone().requires_grad_()
        rows.append(torch.autograd.grad(estimate(leaf), leaf)[0])
    return torch.stack(rows)


def assert_unbiased(rows: Tensor, exact: Tensor) -> None:
    error = rows.std(0) / len(rows) ** 0.5
    assert ((rows.mean(0) - exact).abs() < 3.0 * error).all(), (rows.mean(0), exact, error)


def normal(parameters: Tensor) -> Normal:
    return Normal(parameters[0], parameters[1].exp())


def quartic(z: Tensor) -> Tensor:
    return z**4 - z


def exact_quartic() -> Tensor:
    """∇ of E[z⁴ − z] = m⁴ + 6 m² s² + 3 s⁴ − m with respect to (m, log s)."""
    m, s = MEAN, math.exp(LOG_SCALE)
    return torch.tensor([4 * m**3 + 12 * m * s**2 - 1, 12 * m**2 * s**2 + 12 * s**4], dtype=torch.float64)


START = torch.tensor([MEAN, LOG_SCALE], dtype=torch.float64)


@pytest.mark.parametrize(
    "estimate",
    [
        lambda p: pathwise(quartic, normal(p), 8),
        lambda p: score_function(quartic, normal(p), 8),
        lambda p: score_function(quartic, normal(p), 8, leave_one_out),
        lambda p: score_function(quartic, normal(p), 8, torch.tensor(0.7)),
    ],
    ids=["pathwise", "score function", "leave-one-out", "constant"],
)
def test_gaussian_gradients_are_unbiased(estimate: Callable[[Tensor], Tensor]) -> None:
    with seeded(1):
        rows = gradients(estimate, START, 3000)
    assert_unbiased(rows, exact_quartic())


def test_a_baseline_and_the_path_lower_the_variance() -> None:
    def shifted(z: Tensor) -> Tensor:
        return quartic(z) + 50.0

    with seeded(2):
        plain = gradients(lambda p: score_function(shifted, normal(p), 8), START, 500).var(0)
        based = gradients(lambda p: score_function(shifted, normal(p), 8, leave_one_out), START, 500).var(0)
        path = gradients(lambda p: pathwise(shifted, normal(p), 8), START, 500).var(0)
    assert (based < 0.2 * plain).all()
    assert (path < based).all()


def test_score_function_for_a_discrete_distribution_and_an_integrand_with_parameters() -> None:
    """E_q[θ₀ v(k)] for a categorical with logits θ: the gradient by enumeration, the integrand's own part included."""
    values = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    start = torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64)

    def exact(p: Tensor) -> Tensor:
        return p[0] * (torch.softmax(p, 0) * values).sum()

    leaf = start.clone().requires_grad_()
    truth = torch.autograd.grad(exact(leaf), leaf)[0]
    with seeded(3):
        rows = gradients(
            lambda p: score_function(lambda k: p[0] * values[k], Categorical(logits=p), 4, leave_one_out), start, 3000
        )
    assert_unbiased(rows, truth)


def test_running_and_learned_baselines() -> None:
    running = RunningBaseline(0.5)
    assert float(running(torch.tensor([4.0]))) == 0.0
    assert float(running(torch.tensor([8.0]))) == pytest.approx(4.0)
    assert float(running(torch.tensor([0.0]))) == pytest.approx((0.25 * 4.0 + 0.5 * 8.0) / 0.75)
    with seeded(0):
        learned = LearnedBaseline(nn.Linear(1, 1))
        context = torch.randn(200, 1)
        fit(
            learned,
            context,
            config=TrainingConfig(steps=400, learning_rate=0.05),
            loss=lambda model, c: model.loss(c, (3.0 * c - 1.0).T),
        )
    assert torch.allclose(learned(context), 3.0 * context[:, 0] - 1.0, atol=0.05)
    with pytest.raises(ValueError, match="at least 2"):
        leave_one_out(torch.zeros(1))
    with pytest.raises(ValueError, match="has no rsample"):
        pathwise(lambda z: z, Bernoulli(torch.tensor(0.5)))


def bernoulli_gradient(f: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """∇ Σ_h q(h) f(h) by enumeration of all 2^D states."""
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=logits.dtype)] * len(logits))
    leaf = logits.clone().requires_grad_()
    log_q = Independent(Bernoulli(logits=leaf), 1).log_prob(states)
    return torch.autograd.grad((log_q.exp() * f(states)).sum(), leaf)[0]


def test_darn_is_unbiased_for_quadratic_functions() -> None:
    logits = torch.tensor([0.8, -1.1, 0.3], dtype=torch.float64)
    a = torch.tensor([[1.0, -0.5, 2.0], [0.3, 0.7, -1.0], [0.2, 0.1, -0.4]], dtype=torch.float64)

    def f(h: Tensor) -> Tensor:
        return torch.einsum("...i,ij,...j->...", h, a, h) + h.sum(-1)

    with seeded(4):
        rows = gradients(lambda p: darn(f, p, 8), logits, 3000)
        score = gradients(lambda p: score_function(f, Independent(Bernoulli(logits=p), 1), 8), logits, 3000)
    assert_unbiased(rows, bernoulli_gradient(f, logits))
    assert_unbiased(score, bernoulli_gradient(f, logits))
    assert (rows.var(0) < score.var(0)).all()


def test_darn_is_exact_for_a_linear_variable_and_biased_for_a_cubic_one() -> None:
    """E = ½ (f'(0) + f'(1)) σ'(a), which is (f(1) − f(0)) σ' for f = h² and 3/2 of it for f = h³."""
    logits = torch.tensor([0.5], dtype=torch.float64)
    slope = float(torch.sigmoid(logits) * torch.sigmoid(-logits))
    p = float(torch.sigmoid(logits))
    for power, factor in ((1, 1.0), (2, 1.0), (3, 1.5)):
        expected = 0.0
        for h, mass in ((0.0, 1.0 - p), (1.0, p)):
            leaf = logits.clone().requires_grad_()
            for seed in range(50):
                with seeded(seed):
                    sample = darn_sample(leaf)
                if float(sample.detach()) == pytest.approx(h):
                    break
            expected += mass * float(torch.autograd.grad((sample**power).sum(), leaf)[0])
        assert expected == pytest.approx(factor * slope, rel=1e-6)


def test_importance_sampled_evidence_is_unbiased_on_probabilistic_pca() -> None:
    """x = W z + σ ε: p(x) = N(0, W Wᵀ + σ² I), posterior N(M⁻¹ Wᵀ x, σ² M⁻¹) with M = Wᵀ W + σ² I."""
    generator = torch.Generator().manual_seed(0)
    w, sigma = torch.randn(5, 2, dtype=torch.float64, generator=generator), 0.7
    x = torch.randn(6, 5, dtype=torch.float64, generator=generator)
    zero = torch.zeros(5, dtype=torch.float64)
    exact = MultivariateNormal(zero, w @ w.T + sigma**2 * torch.eye(5, dtype=torch.float64)).log_prob(x)
    prior = Independent(Normal(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)), 1)

    def log_joint(z: Tensor) -> Tensor:
        return prior.log_prob(z) + Independent(Normal(z @ w.T, sigma), 1).log_prob(x)

    m = w.T @ w + sigma**2 * torch.eye(2, dtype=torch.float64)
    mean = x @ w @ torch.linalg.inv(m)
    covariance = sigma**2 * torch.linalg.inv(m)
    best = importance_evidence(log_joint, MultivariateNormal(mean, covariance), 10)
    assert torch.allclose(best.log_evidence, exact)
    assert torch.allclose(best.effective_samples, torch.full((6,), 10.0, dtype=torch.float64))
    with seeded(0):
        wide = importance_evidence(log_joint, MultivariateNormal(mean + 0.2, 2.0 * covariance), 20_000)
    ratio = (wide.log_evidence - exact).exp()
    assert ((ratio - 1.0).abs() < 3.5 * wide.relative_error).all()
    assert (wide.relative_error < 0.02).all()
    with pytest.raises(ValueError, match="samples is 1"):
        importance_evidence(log_joint, MultivariateNormal(mean, covariance), 1)


def logistic(z: Tensor, slope: Tensor) -> Tensor:
    """log σ(slope z): the factor of one labelled point of a logistic regression with one weight."""
    return F.logsigmoid(slope * z)


def grid_moments(log_factor: Callable[[Tensor, Tensor], Tensor], data: Tensor, variance: float) -> tuple[float, float]:
    z = torch.linspace(-30.0, 30.0, 60_001, dtype=torch.float64)
    log_p = log_factor(z[None, :], data[:, None]).sum(0) - 0.5 * z**2 / variance
    p = torch.softmax(log_p, 0)
    mean = float((p * z).sum())
    return mean, float((p * (z - mean) ** 2).sum())


SLOPES = torch.tensor([1.5, -0.4, 2.0, 0.9, -1.2, 0.3, 1.1, 2.5], dtype=torch.float64)
BALANCED = torch.tensor([1.5, -1.4, 2.0, -0.9, -1.2, 0.3, 1.1, -0.5], dtype=torch.float64)


def test_tilted_moments_of_a_gaussian_factor_are_a_product_of_gaussians() -> None:
    mean, variance, data = (torch.tensor([v], dtype=torch.float64) for v in (0.3, 2.0, 1.4))
    log_z, m, v = tilted_moments(lambda z, d: Normal(d, 0.8).log_prob(z), mean, variance, data)
    precision = 1 / 2.0 + 1 / 0.64
    assert float(v) == pytest.approx(1 / precision, rel=1e-6)
    assert float(m) == pytest.approx((0.3 / 2.0 + 1.4 / 0.64) / precision, rel=1e-6)
    assert float(log_z) == pytest.approx(float(Normal(0.3, (2.0 + 0.64) ** 0.5).log_prob(torch.tensor(1.4))), rel=1e-6)


def test_expectation_propagation_is_exact_for_gaussian_factors() -> None:
    data = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    result = expectation_propagation(quadrature_moments(lambda z, d: Normal(d, 1.5).log_prob(z)), data, damping=1.0)
    precision = 1.0 + 3 / 2.25
    assert float(result.variance) == pytest.approx(1 / precision, rel=1e-5)
    assert float(result.mean) == pytest.approx(1.5 / 2.25 / precision, rel=1e-5)


def laplace(slopes: Tensor, variance: float) -> tuple[float, float]:
    """Return the mode and the inverse curvature of the logistic posterior, by Newton's method."""
    z = torch.zeros((), dtype=torch.float64)
    for _ in range(50):
        p = torch.sigmoid(-slopes * z)
        curvature = (slopes**2 * p * (1 - p)).sum() + 1 / variance
        z = z + ((slopes * p).sum() - z / variance) / curvature
    return float(z), float(1 / curvature)


def test_expectation_propagation_matches_quadrature_for_logistic_factors() -> None:
    """Within 1 % where the posterior is nearly symmetric; where it is skewed, closer than Laplace's approximation."""
    mean, variance = grid_moments(logistic, BALANCED, 1.0)
    result = expectation_propagation(quadrature_moments(logistic), BALANCED[None])
    assert float(result.mean) == pytest.approx(mean, rel=0.01)
    assert float(result.variance) == pytest.approx(variance, rel=0.01)
    assert result.sweeps < 50

    mean, variance = grid_moments(logistic, SLOPES, 4.0)
    skewed = expectation_propagation(quadrature_moments(logistic), SLOPES[None], prior_variance=4.0)
    mode, curvature = laplace(SLOPES, 4.0)
    assert abs(float(skewed.mean) - mean) < abs(mode - mean)
    assert abs(float(skewed.variance) - variance) < abs(curvature - variance)
    with pytest.raises(ValueError, match="damping is 0"):
        expectation_propagation(quadrature_moments(logistic), SLOPES[None], damping=0.0)


def test_amortised_messages_give_the_same_posterior() -> None:
    def cavities(count: int, generator: torch.Generator) -> list[Tensor]:
        u = torch.rand(3, count, generator=generator, dtype=torch.float64)
        return [6.0 * u[0] - 3.0, (5.0 * u[1] - 3.5).exp(), 6.0 * u[2] - 3.0]

    with seeded(0):
        message = AmortisedMessage().double()
    fit(
        message,
        cavities,
        config=TrainingConfig(steps=1500, batch_size=256, learning_rate=5e-3, evaluate_every=500),
        loss=lambda model, mean, variance, data: model.loss(logistic, mean, variance, data),
    )
    exact = expectation_propagation(quadrature_moments(logistic), SLOPES[None], prior_variance=4.0)
    with torch.no_grad():
        result = expectation_propagation(message, SLOPES[None], prior_variance=4.0)
    assert float(result.mean) == pytest.approx(float(exact.mean), abs=0.05 * float(exact.variance) ** 0.5)
    assert float(result.variance) == pytest.approx(float(exact.variance), rel=0.05)


def test_langevin_dynamics_sample_a_gaussian_posterior() -> None:
    """One mean with prior precision 1 and likelihood precision 3 at 2: posterior N(1.5, 1/4)."""
    model = nn.Linear(1, 1, bias=False).double()
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(20_000):
        model.weight.grad = 3.0 * (2.0 - model.weight.detach())
        langevin_step_(model, 0.05, 1.0, generator)
        draws.append(float(model.weight))
    chain = torch.tensor(draws[500:], dtype=torch.float64)
    # Autocorrelation 1 − ½ ε 4 = 0.9 leaves about 1/19 of the draws; the step's own bias on the variance is 1/(1 − ε).
    error = 0.5 * (19.0 / len(chain)) ** 0.5
    assert abs(float(chain.mean()) - 1.5) < 3.0 * error
    assert float(chain.var()) == pytest.approx(0.25 / (1.0 - 0.05), rel=0.12)


@pytest.mark.slow
def test_the_student_is_as_good_as_the_ensemble(figure: Callable[..., None]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = moons(0.3).sample_labelled(200, generator)
    test_x, test_y = moons(0.3).sample_labelled(5000, generator)
    with seeded(0):
        teacher = MLP(2, (32,), 2, activation_name="tanh")
        student = MLP(2, (64, 64), 2)
    ensemble = distil(teacher, student, x, y, DistillationConfig(steps=12_000, step_size=1e-3))
    many, one = predictive(ensemble, test_x), predictive(student, test_x)
    accuracy = [float((p.argmax(-1) == test_y).double().mean()) for p in (many, one)]
    nats = [float(-p.gather(-1, test_y[:, None]).log().mean()) for p in (many, one)]
    figure("dark-knowledge", "moons 0.3", 0, "ensemble accuracy", accuracy[0])
    figure("dark-knowledge", "moons 0.3", 0, "student accuracy", accuracy[1], accuracy[0] - 0.02)
    figure("dark-knowledge", "moons 0.3", 0, "student minus ensemble nats", nats[1] - nats[0], 0.02)
    assert accuracy[0] > 0.85
    assert abs(accuracy[1] - accuracy[0]) < 0.02
    assert nats[1] - nats[0] < 0.02


def confounded(effect: float = 2.0) -> StructuralModel:
    """z -> x, z -> y, x -> y: the slope of y on x alone is far from the effect."""
    return StructuralModel(
        {
            "z": ((), lambda noise: noise),
            "x": (("z",), lambda z, noise: 1.5 * z + noise),
            "y": (("x", "z"), lambda x, z, noise: effect * x - 3.0 * z + 0.5 * noise),
        }
    )


def test_do_gives_the_causal_effect_and_conditioning_does_not() -> None:
    model, count = confounded(), 100_000
    up, down = (model.sample(count, torch.Generator().manual_seed(0), do={"x": v}) for v in (1.0, 0.0))
    assert float((up["y"] - down["y"]).mean()) == pytest.approx(2.0, rel=1e-4)
    assert torch.equal(up["z"], down["z"])
    seen = model.sample(count, torch.Generator().manual_seed(1))
    slope = float(torch.cov(torch.stack([seen["x"], seen["y"]]))[0, 1] / seen["x"].var())
    assert slope == pytest.approx(2.0 - 3.0 * 1.5 / 3.25, abs=0.02)


def test_adjustment_recovers_the_effect_from_observations_within_five_per_cent() -> None:
    seen = confounded().sample(20_000, torch.Generator().manual_seed(2))
    design = torch.stack([seen["x"], seen["z"], torch.ones(20_000)], -1)
    weights = torch.linalg.lstsq(design, seen["y"][:, None]).solution[:, 0]

    def outcome(x: Tensor, z: Tensor) -> Tensor:
        return weights[0] * x + weights[1] * z[:, 0] + weights[2]

    z = seen["z"][:, None]
    effect = float(backdoor_mean(outcome, 1.0, z) - backdoor_mean(outcome, 0.0, z))
    assert effect == pytest.approx(2.0, rel=0.05)


def test_stratified_adjustment_against_the_exact_sum() -> None:
    """Binary: p(z) = ½, p(x = 1 given z) = 0.2 or 0.8, y = x + 2 z + noise: E[y given do(x = 1)] = 2, not 2.6."""
    generator = torch.Generator().manual_seed(3)
    z = torch.bernoulli(torch.full((50_000,), 0.5), generator=generator)
    x = torch.bernoulli(0.2 + 0.6 * z, generator=generator)
    y = x + 2.0 * z + 0.3 * torch.randn(50_000, generator=generator)
    assert float(y[x == 1].mean()) == pytest.approx(2.6, abs=0.03)
    assert float(backdoor_stratified(x, y, z, 1.0)) == pytest.approx(2.0, rel=0.05)
    with pytest.raises(ValueError, match="never is 3"):
        backdoor_stratified(x, y, z, 3.0)
    with pytest.raises(ValueError, match="does not come before"):
        StructuralModel({"y": (("x",), lambda x, noise: x)})
    with pytest.raises(ValueError, match="unknown variable 'w'"):
        confounded().sample(2, generator, do={"w": 1.0})
