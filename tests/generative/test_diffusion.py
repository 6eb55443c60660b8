"""Flow matching and diffusion: closed forms of the paths, exact fields for Gaussian data, samples against data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from generative.data import DENSITIES, load
from generative.diffusion import DDPM, FlowMatching, conditional_path, cosine_schedule, regression_loss
from generative.divergences import energy_distance
from generative.registry import entry
from generative.training import fit, seeded

M, S = 1.5, 0.6


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class GaussianVelocity(nn.Module):
    """E[x_1 − x_0 given x_t] for x_0 ~ N(0, 1), data x_1 ~ N(M, S²): regression of jointly normal variables."""

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        t = t.unsqueeze(-1)
        variance = (1.0 - t) ** 2 + (t * S) ** 2
        return M + (t * S**2 - (1.0 - t)) / variance * (x - t * M)


class GaussianNoise(nn.Module):
    """E[ε given x_t] for standardised data N(0, S²): √(1 − ᾱ) x / (ᾱ S² + 1 − ᾱ)."""

    def __init__(self, level: Tensor, steps: int) -> None:
        super().__init__()
        self.level, self.steps = level, steps

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        level = self.level[(t * self.steps).round().long()].unsqueeze(-1)
        return (1.0 - level).sqrt() * x / (level * S**2 + 1.0 - level)


@pytest.mark.parametrize("min_scale", [0.0, 0.1])
def test_conditional_path_is_the_papers(min_scale: float) -> None:
    noise, data = draw(50, 3), draw(50, 3, seed=1)
    t = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.9
    x, u = conditional_path(noise, data, t, min_scale)
    scale = (1.0 - (1.0 - min_scale) * t).unsqueeze(-1)
    assert torch.allclose((x - t.unsqueeze(-1) * data) / scale, noise)
    assert torch.allclose(u, (data - (1.0 - min_scale) * x) / scale)
    start, _ = conditional_path(noise, data, torch.zeros(50, dtype=torch.float64), min_scale)
    end, _ = conditional_path(noise, data, torch.ones(50, dtype=torch.float64), min_scale)
    assert torch.equal(start, noise)
    assert torch.allclose(end, data + min_scale * noise)
    slope = torch.autograd.functional.jacobian(lambda s: conditional_path(noise[0], data[0], s, min_scale)[0], t[0])
    assert torch.allclose(slope, u[0])


def test_exact_velocity_gives_the_exact_density_and_samples() -> None:
    model = FlowMatching(2, steps=20, velocity=GaussianVelocity()).double()
    x = M + S * draw(200, 2)
    exact = torch.distributions.Normal(M, S).log_prob(x).sum(-1)
    assert torch.allclose(model.log_prob(x), exact, atol=1e-4)
    with seeded(0):
        z = torch.randn(200, 2, dtype=torch.float64)
    with seeded(0):
        assert torch.allclose(model.sample((200,)), M + S * z, atol=1e-4)


def test_flow_matching_loss_is_least_at_the_exact_velocity() -> None:
    """At the conditional mean, E ‖v − u‖² is the conditional variance, whose time average is known."""
    model = FlowMatching(1, velocity=GaussianVelocity()).double()
    data = M + S * draw(400_000, 1)
    with seeded(1):
        loss = model.loss(data)
    t = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    variance = (1.0 - t) ** 2 + (t * S) ** 2
    expected = (1.0 + S**2 - (t * S**2 - (1.0 - t)) ** 2 / variance).mean()
    assert float(loss) == pytest.approx(float(expected), rel=0.01)


def test_log_prob_of_any_field_integrates_to_one_and_conditions() -> None:
    with seeded(0):
        model = FlowMatching(2, hidden=(16,), context_features=1, steps=20).double()
    axis = torch.linspace(-6.0, 6.0, 41, dtype=torch.float64)
    with torch.no_grad():
        log_p = model(draw(2, 1, 1)).log_prob(torch.cartesian_prod(axis, axis))
    total = log_p.exp().sum(-1) * float(axis[1] - axis[0]) ** 2
    assert torch.allclose(total, torch.ones(2, dtype=torch.float64), atol=2e-3)
    model(draw(3, 1)).log_prob(draw(3, 2)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.velocity.parameters())


def test_schedule_and_one_step_kernels_compose_to_the_closed_form() -> None:
    steps = 50
    beta = cosine_schedule(steps)
    assert ((beta > 0) & (beta < 1)).all()
    assert (beta[1:] >= beta[:-1]).all()
    model = DDPM(1, steps=steps).double()
    mean, variance = 1.0, 0.0
    for t in range(1, steps + 1):
        mean, variance = float((1 - beta[t - 1]).sqrt()) * mean, float((1 - beta[t - 1]) * variance + beta[t - 1])
        assert float(model.level[t].sqrt()) == pytest.approx(mean, rel=1e-5)
        assert 1.0 - float(model.level[t]) == pytest.approx(variance, abs=1e-5)
    assert mean < 0.01


def test_posterior_is_bayes_rule() -> None:
    """N(x_{t−1}; √ᾱ_{t−1} x_0, 1 − ᾱ_{t−1}) times N(x_t; √α_t x_{t−1}, β_t), normalised, as products of Gaussians."""
    model = DDPM(1, steps=30).double()
    data, x = draw(7, 1), draw(7, 1, seed=1)
    for step in (2, 11, 30):
        t = torch.full((7,), step)
        alpha, before = model.alpha[step], model.level[step - 1]
        precision = 1.0 / (1.0 - before) + alpha / (1.0 - alpha)
        mean = (before.sqrt() * data / (1.0 - before) + alpha.sqrt() * x / (1.0 - alpha)) / precision
        got_mean, got_variance = model.posterior(data, x, t)
        assert torch.allclose(got_mean, mean, atol=1e-6)
        assert torch.allclose(got_variance, (1.0 / precision).expand(7, 1), atol=1e-6)


def test_bound_with_the_exact_denoiser_is_below_log_p_and_tightens_with_steps() -> None:
    gaps = []
    for steps in (10, 100):
        model = DDPM(1, steps=steps).double()
        model.noise = GaussianNoise(model.level, steps)
        x = S * draw(4000, 1)
        with seeded(7):
            bound = torch.stack([model.elbo(x) for _ in range(5)]).mean(0)
        gap = torch.distributions.Normal(0.0, S).log_prob(x)[:, 0] - bound
        error = float(gap.std()) / len(gap) ** 0.5
        assert float(gap.mean()) > -3.0 * error
        gaps.append(float(gap.mean()))
    assert gaps[1] < 0.3 * gaps[0]
    assert gaps[1] < 0.1


def test_samples_of_the_exact_denoiser_have_the_variance_of_the_data() -> None:
    model = DDPM(1, steps=200, mean=torch.tensor([M]), scale=torch.tensor([2.0])).double()
    model.noise = GaussianNoise(model.level, 200)
    with seeded(0):
        x = model().sample((20_000,))
    assert abs(float(x.mean()) - M) < 3.0 * 2.0 * S / 20_000**0.5
    assert float(x.std()) == pytest.approx(2.0 * S, rel=0.03)


def test_energy_distance_of_two_gaussians() -> None:
    """1-D: 2 E|X − Y| − E|X − X'| − E|Y − Y'| from the folded normal's mean."""

    def folded(mean: float, variance: float) -> float:
        normal = torch.distributions.Normal(0.0, 1.0)
        s = variance**0.5
        return s * (2 / torch.pi) ** 0.5 * float(torch.tensor(-(mean**2) / (2 * variance)).exp()) + mean * (
            1 - 2 * float(normal.cdf(torch.tensor(-mean / s)))
        )

    x, y = draw(4000, 1), 1.0 + 2.0 * draw(4000, 1, seed=1)
    exact = 2.0 * folded(1.0, 5.0) - folded(0.0, 2.0) - folded(0.0, 8.0)
    assert float(energy_distance(x, y)) == pytest.approx(exact, rel=0.1)
    assert abs(float(energy_distance(x, draw(4000, 1, seed=2)))) < 0.003


def test_conditional_shapes_and_loading() -> None:
    for model, other in (
        (FlowMatching(3, context_features=2, steps=4), FlowMatching(3, context_features=2, steps=4)),
        (DDPM(3, context_features=2, steps=4), DDPM(3, context_features=2, steps=4)),
    ):
        model, other = model.double(), other.double()
        context, x = draw(5, 2), draw(5, 3)
        assert model(context).sample((7,)).shape == (7, 5, 3)
        assert torch.isfinite(regression_loss(model, x, context))
        other.load_state_dict(model.state_dict())
        with seeded(0):
            first = model(context).sample()
        with seeded(0):
            assert torch.equal(other(context).sample(), first)
    with pytest.raises(ValueError, match="steps is 1"):
        DDPM(2, steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["moons", "8gaussians"])
@pytest.mark.parametrize("name", ["flow-matching", "ddpm"])
def test_samples_are_at_sampling_noise_of_the_data(name: str, data: str) -> None:
    """The energy distance to 2,000 true points lies within what 40 pairs of true samples give."""
    chosen, points, density = entry(name), load(data), DENSITIES[data]()
    with seeded(0):
        model = chosen.build(points)
    fit(
        model,
        lambda count, generator: (density.sample_labelled(count, generator)[0],),
        config=chosen.training,
        loss=chosen.loss,
    )
    generator = torch.Generator().manual_seed(10)

    def fresh() -> Tensor:
        return density.sample_labelled(2000, generator)[0]

    with seeded(11):
        distance = float(energy_distance(model().sample((2000,)), fresh()))
    null = sorted(float(energy_distance(fresh(), fresh())) for _ in range(40))
    assert distance < null[-1], (distance, null[-5:])
