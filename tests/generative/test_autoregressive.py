"""Autoregressive models: masks by Jacobian, sums to one by enumeration, samples against the density, closed forms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from generative.autoregressive import (
    Autoregressive,
    BinaryConditional,
    DeepNADE,
    LevelConditional,
    MixtureConditional,
    conditional_for,
    made,
    n_ar,
    nade,
    pixel_cnn,
    pixel_rnn,
    rnade,
    rnn,
)
from generative.training import seeded

D = 9
SHAPE = (1, 3, 3)
BUILDERS: dict[str, Callable[..., Autoregressive]] = {
    "fvsbn": lambda c, k=0: made(D, c, hidden=(), context_features=k),
    "made": lambda c, k=0: made(D, c, hidden=(23, 17), context_features=k, activation_name="tanh"),
    "nade": lambda c, k=0: nade(D, c, hidden=11, context_features=k),
    "n-ar(3)": lambda c, k=0: n_ar(D, 3, c, hidden=(13,), context_features=k),
    "n-ar(3), positions": lambda c, k=0: n_ar(D, 3, c, positions=True, context_features=k),
    "rnn": lambda c, k=0: rnn(D, c, hidden=7, context_features=k),
    "pixel-cnn": lambda c, k=0: pixel_cnn(SHAPE, c, channels=6, layers=3, context_features=k),
    "pixel-rnn": lambda c, k=0: pixel_rnn(SHAPE, c, channels=6, layers=2, context_features=k),
}
ALL = sorted(BUILDERS)


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter, those that start at zero too, a random value, in float64."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5
    return model


def states(levels: int, features: int = D) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(levels), repeat=features)), dtype=torch.float64)


@pytest.mark.parametrize("name", ALL)
def test_no_parameter_sees_its_own_variable_or_a_later_one(name: str) -> None:
    model = randomise(BUILDERS[name](BinaryConditional()))
    encoded = torch.randn(1, D, 1, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: model.network(x, None)[0, :, 0], encoded)[:, 0, :, 0]
    assert torch.equal(jacobian.triu(), torch.zeros(D, D, dtype=torch.float64))
    below = torch.ones(D, D).tril(-1).bool()
    order = 3 if name.startswith("n-ar") else D
    near = torch.ones(D, D).triu(-order).bool()
    if name != "pixel-rnn":  # a Row LSTM sees a triangle above the pixel, its first convolution a 7 x 7 square
        assert (jacobian[below & near] != 0).all(), "a variable within reach has no influence"
    assert (jacobian[below & ~near] == 0).all()
    assert (jacobian[below & near] != 0).any()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("levels", [2, 3])
def test_sums_to_one_over_every_state(name: str, levels: int) -> None:
    conditional = BinaryConditional() if levels == 2 else LevelConditional(levels)
    model = randomise(BUILDERS[name](conditional))
    with torch.no_grad():
        total = sum(float(model.log_prob(part).exp().sum()) for part in states(levels).split(4096))
    assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_context_changes_the_density_which_still_sums_to_one(name: str) -> None:
    model = randomise(BUILDERS[name](BinaryConditional(), 2))
    context = torch.randn(3, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        log_p = model(context).log_prob(states(2))
    assert log_p.shape == (3, 2**D)
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(3, dtype=torch.float64), atol=1e-9)
    assert float((log_p[0] - log_p[1]).abs().max()) > 0.01


@pytest.mark.parametrize("order", [None, [4, 2, 0, 1, 3]])
def test_deep_nade_sums_to_one_and_its_objective_is_the_mean_over_orders(order: list[int] | None) -> None:
    model = randomise(DeepNADE(5, BinaryConditional(), hidden=(8,), order=order))
    x = states(2, 5)
    with torch.no_grad():
        assert float(model.log_prob(x).exp().sum()) == pytest.approx(1.0, abs=1e-9)
        exact = 0.0
        for permutation in itertools.permutations(range(5)):
            model.order = torch.tensor(permutation)
            exact -= float(model.log_prob(x[11])) / math.factorial(5)
        with seeded(0):
            draws = torch.stack([model.loss(x[11:12].expand(64, -1)) for _ in range(400)])
    error = float(draws.std()) / len(draws) ** 0.5
    assert abs(float(draws.mean()) - exact) < 3.0 * error
    with pytest.raises(ValueError, match="permutation"):
        DeepNADE(3, BinaryConditional(), order=[0, 0, 2])


def test_deep_nade_context_shapes() -> None:
    model = randomise(DeepNADE(4, BinaryConditional(), hidden=(8,), context_features=2))
    context = torch.randn(3, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        total = model(context).log_prob(states(2, 4)).exp().sum(-1)
    assert torch.allclose(total, torch.ones(3, dtype=torch.float64))
    with seeded(0):
        assert model(context[:, 0]).sample((6,)).shape == (6, 3, 4)


def test_rnade_integrates_to_one() -> None:
    model = randomise(rnade(2, components=3, hidden=6), 1)
    axis = torch.linspace(-30.0, 30.0, 1501, dtype=torch.float64)
    with torch.no_grad():
        log_p = torch.cat([model.log_prob(part) for part in torch.cartesian_prod(axis, axis).split(100_000)])
    assert float(log_p.exp().sum()) * float(axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", ["made", "nade", "rnn", "pixel-cnn", "pixel-rnn"])
def test_samples_follow_the_density(name: str) -> None:
    model = randomise(BUILDERS[name](BinaryConditional()))
    count = 4000
    with torch.no_grad(), seeded(0):
        p = model.log_prob(states(2)).exp()
        sampled = model().sample((count,))
    code = (sampled * 2.0 ** torch.arange(D - 1, -1, -1)).sum(-1).long()
    frequency = torch.bincount(code, minlength=2**D).double()
    # Group states into cells of at least 40 expected counts: Pearson's statistic is then chi-squared.
    order = p.argsort(descending=True)
    cell = (p[order].cumsum(0) * count / 40.0).floor().long()
    cells = int(cell.max()) + 1
    expected = torch.zeros(cells, dtype=torch.float64).scatter_add_(0, cell, p[order] * count)
    observed = torch.zeros(cells, dtype=torch.float64).scatter_add_(0, cell, frequency[order])
    keep = expected > 5
    statistic = float(((observed - expected)[keep] ** 2 / expected[keep]).sum())
    freedom = int(keep.sum()) - 1
    assert abs(statistic - freedom) < 5.0 * (2.0 * freedom) ** 0.5


def test_linear_n_ar_has_the_likelihood_of_a_gaussian_process() -> None:
    """AR(1) x_i = a x_{i-1} + s e from x_0 = 0 is a multivariate normal with a known covariance."""
    a, s, length = 0.7, 0.8, 6
    model = n_ar(length, 1, hidden=()).double()
    layer = model.network.network[0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0], [a], [0.0]]))
        layer.bias.copy_(torch.tensor([0.0, 0.0, math.log(math.expm1(s - 1e-3))]))
        i = torch.arange(1, length + 1, dtype=torch.float64)
        low = torch.minimum(i[:, None], i[None, :])
        gap = (i[:, None] - i[None, :]).abs()
        covariance = s**2 * a**gap * (1.0 - a ** (2.0 * low)) / (1.0 - a**2)
        x = torch.randn(20, length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        exact = torch.distributions.MultivariateNormal(torch.zeros(length, dtype=torch.float64), covariance)
        assert torch.allclose(model.log_prob(x), exact.log_prob(x), atol=1e-8)


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_model_is_the_same(name: str, tmp_path) -> None:
    first, second = randomise(BUILDERS[name](BinaryConditional())), randomise(BUILDERS[name](BinaryConditional()), 5)
    x = states(2)[:7]
    assert not torch.equal(first.log_prob(x), second.log_prob(x))
    torch.save(first.state_dict(), tmp_path / "model.pt")
    second.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(first.log_prob(x), second.log_prob(x))


def test_mixture_samples_have_the_mixture_moments() -> None:
    conditional = MixtureConditional(2)
    parameters = torch.tensor([0.3, -0.4, -1.0, 2.0, 0.1, 0.7], dtype=torch.float64)
    weight = torch.softmax(parameters[:2], 0)
    scale = torch.nn.functional.softplus(parameters[4:]) + 1e-3
    mean = float((weight * parameters[2:4]).sum())
    variance = float((weight * (scale**2 + parameters[2:4] ** 2)).sum()) - mean**2
    with seeded(0):
        x = conditional.sample(parameters.expand(40_000, -1))
    assert abs(float(x.mean()) - mean) < 3.0 * (variance / 40_000) ** 0.5
    assert float(x.var()) == pytest.approx(variance, rel=0.03)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="'colour'"):
        conditional_for("colour")
    with pytest.raises(ValueError, match="one channel"):
        pixel_cnn((3, 8, 8), BinaryConditional())
    with pytest.raises(ValueError, match="order is 0"):
        n_ar(5, 0)
    with pytest.raises(NotImplementedError, match="has no elbo"):
        made(3, BinaryConditional())().elbo(torch.zeros(3))
