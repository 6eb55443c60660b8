"""Energy-based models against enumeration, transfer matrices, closed forms; training against the exact likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from generative.data import load, moons
from generative.energy import (
    RBM,
    GaussianMRF,
    Negatives,
    NoiseContrastive,
    all_states,
    boltzmann,
    contrastive_loss,
    exchange,
    grid,
    hopfield,
    ising,
    nce_loss,
    potts,
    pseudo_likelihood_loss,
)
from generative.nn import MLP
from generative.training import TrainingConfig, fit, seeded


def random_parameters(model: nn.Module, seed: int, scale: float = 0.7) -> nn.Module:
    with seeded(seed):
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=scale)
    return model.double()


def test_all_states_are_all_states() -> None:
    assert {tuple(state) for state in all_states(3, 3).tolist()} == {
        (float(a), float(b), float(c)) for a in range(3) for b in range(3) for c in range(3)
    }
    with pytest.raises(ValueError, match="more than 2"):
        all_states(21)


@pytest.mark.parametrize(("visible", "hidden"), [(5, 3), (3, 5)])
def test_rbm_is_its_joint_energy_summed(visible: int, hidden: int) -> None:
    model = random_parameters(RBM(visible, hidden), 0)
    joint = all_states(visible + hidden).double()
    weights = -model.joint_energy(joint)
    log_z = torch.logsumexp(weights, 0)
    torch.testing.assert_close(model.log_partition(), log_z)
    for v in all_states(visible).double():
        rows = (joint[:, :visible] == v).all(-1)
        torch.testing.assert_close(model.log_prob(v), torch.logsumexp(weights[rows], 0) - log_z)
    v = joint[0, :visible]
    chosen = joint[:, :visible].eq(v).all(-1)
    expected = torch.softmax(weights[chosen], 0) @ joint[chosen, visible:]
    torch.testing.assert_close(model.features(v), expected)


def exact_pseudo_likelihood(model: nn.Module, states: torch.Tensor, levels: int) -> torch.Tensor:
    """Σ_i log p(x_i | others) from the exact probabilities."""
    log_p = model.log_prob(states)
    place = {tuple(state.tolist()): k for k, state in enumerate(states)}
    total = torch.zeros_like(log_p)
    for i in range(states.shape[1]):
        for k, state in enumerate(states):
            others = []
            for value in range(levels):
                changed = state.clone()
                changed[i] = value
                others.append(log_p[place[tuple(changed.tolist())]])
            total[k] += log_p[k] - torch.logsumexp(torch.stack(others), 0)
    return total


MACHINES: dict[str, Callable[[], nn.Module]] = {
    "rbm": lambda: RBM(4, 3),
    "boltzmann": lambda: boltzmann(4),
    "ising": lambda: ising(grid(2, 2), 0.4, 0.2),
    "potts": lambda: potts(grid(1, 4), 3, 0.8),
}


@pytest.mark.parametrize("name", MACHINES)
def test_pseudo_likelihood_and_chains_agree_with_the_exact_probabilities(name: str) -> None:
    model = random_parameters(MACHINES[name](), 1)
    levels = getattr(model, "levels", 2)
    states = all_states(4, levels).double()
    probabilities = model.log_prob(states).exp().detach()
    assert float(probabilities.sum()) == pytest.approx(1.0, abs=1e-12)
    torch.testing.assert_close(model.pseudo_log_likelihood(states), exact_pseudo_likelihood(model, states, levels))
    with seeded(0):
        count = 20_000
        samples = model.sample((count,)) if name == "rbm" else chain(model, levels, count)
    powers = levels ** torch.arange(4)
    seen = torch.bincount((samples.long() * powers).sum(-1), minlength=len(states))
    expected = count * probabilities[(states.long() * powers).sum(-1).argsort()]
    chi2 = float(((seen - expected).square() / expected).sum())
    freedom = len(states) - 1
    assert chi2 < freedom + 4.5 * math.sqrt(2.0 * freedom)


def chain(model: nn.Module, levels: int, count: int) -> torch.Tensor:
    state = torch.randint(levels, (count, 4)).double()
    for _ in range(60):
        state = model.sweep(state)
    return state


@pytest.mark.parametrize(("n", "j", "h"), [(7, 0.6, 0.0), (10, -0.4, 0.3)])
def test_ising_ring_against_its_transfer_matrix(n: int, j: float, h: float) -> None:
    """Z = tr Tⁿ with T(s, s') = exp(J s s' + h (s + s') / 2)."""
    spins = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    transfer = (j * spins * spins.unsqueeze(-1) + 0.5 * h * (spins + spins.unsqueeze(-1))).exp()
    log_z = torch.linalg.matrix_power(transfer, n).trace().log()
    torch.testing.assert_close(ising(grid(1, n, periodic=True), j, h).double().log_partition(), log_z)


def test_ising_square_without_a_field_against_kaufmans_torus() -> None:
    """The 4 x 4 torus: Z = ½ (2 sinh 2J)^(n²/2) [∏ 2 cosh(n γ_odd/2) + ∏ 2 sinh(…) + ∏ 2 cosh(n γ_even/2) + …]."""
    n, j = 4, 0.3

    def gamma(k: int) -> float:
        if k == 0:
            return 2.0 * j + math.log(math.tanh(j))
        value = math.cosh(2 * j) ** 2 / math.sinh(2 * j) - math.cos(math.pi * k / n)
        return math.acosh(value)

    products = [
        math.prod(2.0 * f(n / 2 * gamma(2 * k + odd)) for k in range(n))
        for odd in (1, 0)
        for f in (math.cosh, math.sinh)
    ]
    z = 0.5 * (2.0 * math.sinh(2.0 * j)) ** (n * n / 2) * sum(products)
    model = ising(grid(n, n, periodic=True), j).double()
    assert float(model.log_partition()) == pytest.approx(math.log(z), abs=1e-6)


@pytest.mark.parametrize(("levels", "n", "j"), [(3, 8, 0.9), (5, 6, -0.5)])
def test_potts_ring_against_its_closed_form(levels: int, n: int, j: float) -> None:
    """Z = (e^J + q − 1)ⁿ + (q − 1) (e^J − 1)ⁿ."""
    z = (math.exp(j) + levels - 1) ** n + (levels - 1) * (math.exp(j) - 1) ** n
    model = potts(grid(1, n, periodic=True), levels, j).double()
    assert float(model.log_partition()) == pytest.approx(math.log(z), abs=1e-6)


def test_potts_with_two_values_is_an_ising_model_of_half_the_coupling() -> None:
    """[x = x'] = (1 + s s') / 2."""
    states = all_states(9)
    pair = potts(grid(3, 3), 2, 1.2), ising(grid(3, 3), 0.6)
    torch.testing.assert_close(pair[0].log_prob(states), pair[1].log_prob(states))


def test_hopfield_recalls_damaged_patterns_and_its_energy_only_falls() -> None:
    with seeded(0):
        patterns = torch.randint(2, (6, 100)).float()
        network = hopfield(patterns)
        damaged = torch.where(torch.rand(6, 100) < 0.15, 1.0 - patterns, patterns)
    energies, state = [network.energy(damaged)], damaged
    for _ in range(4):
        state = network.recall(state, sweeps=1)
        energies.append(network.energy(state))
    assert bool((torch.stack(energies).diff(dim=0) <= 1e-5).all())
    assert torch.equal(network.recall(damaged), patterns)
    with seeded(1):  # far above its capacity of 0.138 n patterns it no longer recalls them
        many = torch.randint(2, (50, 100)).float()
    overlap = (2.0 * hopfield(many).recall(many) - 1.0) * (2.0 * many - 1.0)
    assert float(overlap.mean()) < 0.8


def test_exchange_keeps_the_product_of_the_levels() -> None:
    """Two exact levels of one binary unit: swaps keep P(x_0, x_1) = p_β0 p_β1."""
    beta, energy = torch.tensor([1.0, 0.2]), torch.tensor([0.0, 1.5])
    p = [torch.softmax(-b * energy, 0) for b in beta]
    count = 200_000
    with seeded(0):
        states = torch.stack([(torch.rand(count, 1) < each[1]).float() for each in p])
        moved = exchange(states, energy[states.squeeze(-1).long()], beta)
    assert not torch.equal(states, moved)
    for level in range(2):
        error = math.sqrt(float(p[level][0] * p[level][1]) / count)
        assert float(moved[level].mean()) == pytest.approx(float(p[level][1]), abs=4.0 * error)


def bars_and_stripes() -> torch.Tensor:
    """The fourteen 3 x 3 images of bars or of stripes."""
    lines = all_states(3)
    bars = lines.unsqueeze(-1).expand(8, 3, 3).flatten(1)
    stripes = lines.unsqueeze(-2).expand(8, 3, 3).flatten(1)
    return torch.cat([bars, stripes]).unique(dim=0)


@pytest.mark.parametrize("kind", ["cd", "pcd", "tempering"])
def test_training_raises_the_exact_likelihood(kind: str) -> None:
    """From log 2⁹ = 6.24 nats towards log 14 = 2.64; independent pixels stay at 6.2."""
    data = bars_and_stripes()
    assert len(data) == 14
    with seeded(0):
        model = RBM(9, 12, Negatives(kind, sweeps=2, chains=100))
    before = -float(model.log_prob(data).mean().detach())
    config = TrainingConfig(steps=1500, batch_size=14, learning_rate=2e-2, evaluate_every=500)
    fit(model, data, config=config, loss=contrastive_loss)
    after = -float(model.log_prob(data).mean().detach())
    assert before == pytest.approx(9 * math.log(2.0), abs=0.05)
    assert math.log(14) <= after < 4.5


def test_boltzmann_machine_learns_the_moments_of_its_data() -> None:
    """At the maximum of the likelihood E_p[x_i x_j] = E_data[x_i x_j]; the bound is the pairwise one."""
    truth = random_parameters(boltzmann(5), 3).float()
    with seeded(0):
        states = all_states(5)
        data = states[torch.multinomial(truth.log_prob(states).exp(), 4000, replacement=True)]
        model = boltzmann(5, Negatives("pcd", chains=400, sweeps=2))
    fit(
        model,
        data,
        config=TrainingConfig(steps=600, batch_size=1000, learning_rate=3e-2, evaluate_every=200),
        loss=contrastive_loss,
    )
    p = model.log_prob(states).exp().detach()
    torch.testing.assert_close(states.T @ (p.unsqueeze(-1) * states), data.T @ data / len(data), atol=0.03, rtol=0.0)
    pseudo = boltzmann(5)
    fit(
        pseudo,
        data,
        config=TrainingConfig(steps=600, batch_size=1000, learning_rate=3e-2, evaluate_every=200),
        loss=pseudo_likelihood_loss,
    )
    floor = -float(truth.log_prob(data).mean().detach())
    for each in (model, pseudo):
        assert -float(each.log_prob(data).mean().detach()) == pytest.approx(floor, abs=0.02)


def test_gaussian_random_field() -> None:
    with seeded(2):
        field = GaussianMRF(grid(2, 3), mean=torch.randn(6), scale=torch.rand(6) + 0.5)
        nn.init.normal_(field.coupling)
        x = torch.randn(50, 6).double()
    field.double()
    precision = field.precision
    assert bool((torch.linalg.eigvalsh(precision) > 0).all())
    outside = (field.adjacency == 0) & ~torch.eye(6, dtype=torch.bool)
    assert bool((precision[outside] == 0).all())
    centred = x - field.location
    energy = 0.5 * (centred @ precision * centred).sum(-1)
    log_p = -energy + 0.5 * torch.logdet(precision) - 3.0 * math.log(2.0 * math.pi)
    torch.testing.assert_close(field.log_prob(x), log_p)
    low, high = x.clone(), x.clone()
    low[:, 2] -= 0.7
    high[:, 2] += 0.4
    difference = field.log_prob(high) - field.log_prob(low)
    conditional = field.conditional(x, 2)
    torch.testing.assert_close(conditional.log_prob(high[:, 2]) - conditional.log_prob(low[:, 2]), difference)


def test_gaussian_random_field_learns_a_precision() -> None:
    with seeded(0):
        truth = GaussianMRF(grid(1, 4))
        with torch.no_grad():
            truth.coupling.fill_(1.0)
        data = truth.sample((20_000,))
        model = GaussianMRF(grid(1, 4))
    fit(model, data, config=TrainingConfig(steps=400, batch_size=2000, learning_rate=2e-2))
    torch.testing.assert_close(model.precision, truth.precision, atol=0.08, rtol=0.0)


def test_noise_contrast_finds_the_normaliser_of_a_gaussian() -> None:
    """f = −½ λ ‖x − m‖² with log Z = log(2 π / λ): within 0.05."""

    class Quadratic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_precision = nn.Parameter(torch.zeros(()))
            self.centre = nn.Parameter(torch.zeros(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return -0.5 * self.log_precision.exp() * (x - self.centre).square().sum(-1)

    x = 1.0 + 0.6 * torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    model = NoiseContrastive(Quadratic(), x.mean(0), 1.5 * torch.cov(x.T))
    fit(model, x, config=TrainingConfig(steps=1000, batch_size=500, learning_rate=1e-2), loss=nce_loss)
    log_z = math.log(2.0 * math.pi) - float(model.network.log_precision.detach())
    assert float(model.log_normaliser.detach()) == pytest.approx(log_z, abs=0.05)
    assert float(model.network.log_precision.detach()) == pytest.approx(-2.0 * math.log(0.6), abs=0.05)


@pytest.mark.slow
def test_noise_contrast_of_a_network_integrates_to_one() -> None:
    """On the moons |log ∫ exp(f − c)| ≤ 0.05, by quadrature."""
    density = moons()
    x, _ = density.sample_labelled(20_000, torch.Generator().manual_seed(0))
    with seeded(0):
        network = MLP(2, (128, 128), 1, activation_name="silu")
    model = NoiseContrastive(network, x.mean(0), 2.0 * torch.cov(x.T))
    fit(model, x, config=TrainingConfig(steps=3000, batch_size=256, learning_rate=2e-3, average=0.99), loss=nce_loss)
    axis = torch.arange(-4.0, 5.0, 0.02)
    with torch.no_grad():
        mass = float(model.log_density(torch.cartesian_prod(axis, axis)).double().exp().sum()) * 0.02**2
    assert math.log(mass) == pytest.approx(0.0, abs=0.05)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 4), width=st.integers(3, 5), periodic=st.booleans())
def test_grids_have_their_pairs(height: int, width: int, periodic: bool) -> None:
    adjacency = grid(height, width, periodic=periodic)
    assert torch.equal(adjacency, adjacency.T)
    rows = height * (width if periodic else width - 1)
    columns = 0 if height == 1 else width * (height if periodic else height - 1)
    assert float(adjacency.sum()) == 2 * (rows + columns)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_rbm_features_lift_logistic_regression_on_the_digits(seed: int, figure: Callable[..., None]) -> None:
    """Digits also shifted by one pixel each way: one linear classifier on the pixels, one on the RBM's features."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    digits = load("digits")
    images = torch.cat([digits.train, digits.validation, digits.test]).reshape(-1, 8, 8).numpy() / 16.0
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    x = np.concatenate(
        [np.roll(padded, move, (1, 2))[:, 1:-1, 1:-1] for move in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))]
    ).reshape(-1, 64)
    y = torch.cat([digits.labels[part] for part in ("train", "validation", "test")]).repeat(5).numpy()
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.2, random_state=seed)

    def accuracy(a: np.ndarray, b: np.ndarray) -> float:
        return float(LogisticRegression(C=1000.0, max_iter=300).fit(a, train_y).score(b, test_y))

    with seeded(seed):
        model = RBM(64, 100, Negatives("cd"))
    config = TrainingConfig(steps=4000, batch_size=32, learning_rate=1e-2, evaluate_every=1000, seed=seed)
    fit(model, torch.tensor(train_x), config=config, loss=contrastive_loss)
    with torch.no_grad():
        features = [model.features(torch.tensor(part)).numpy() for part in (train_x, test_x)]
    raw, lifted = accuracy(train_x, test_x), accuracy(*features)
    figure("rbm-cd", "shifted digits", seed, "accuracy on pixels", raw)
    figure("rbm-cd", "shifted digits", seed, "accuracy on features", lifted, 0.92)
    assert raw == pytest.approx(0.78, abs=0.04)
    assert lifted >= 0.92


def test_entries_take_the_digits() -> None:
    from generative import registry

    data = load("digits-binary")
    for name in ("rbm-cd", "rbm-pcd", "rbm-tempering", "boltzmann", "ising", "potts", "hopfield"):
        chosen = registry.entry(name)
        with seeded(0):
            model = registry.build(name, data)
        fit(model, data.train, config=TrainingConfig(steps=3, batch_size=20), loss=chosen.loss)
        assert model().has <= chosen.has
        assert torch.isfinite(pseudo_likelihood_loss(model, data.validation))
