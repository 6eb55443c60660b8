"""Adversarial games against closed forms: optimal critics, exact normalisers, averages over random functions, modes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F

from generative import registry
from generative.adversarial import (
    ACGAN,
    GADE,
    GAN,
    MODELS,
    OBJECTIVES,
    PERFECT_SHARE,
    BiGAN,
    CatGAN,
    DCGANGenerator,
    FourierFeatures,
    GameConfig,
    MixtureLatent,
    SemiSupervisedGAN,
    SideBySide,
    UncertainGAN,
    class_information,
    matched_accuracy,
    mode_report,
    objective,
    play,
    players,
)
from generative.data import DENSITIES, load, rings
from generative.demo import train_demo
from generative.flows import real_nvp
from generative.nn import MLP
from generative.training import TrainingConfig, fit, seeded
from generative.vae.semi_supervised import UNLABELLED


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_objectives_by_hand() -> None:
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])

    def sigmoid(v: float) -> float:
        return 1.0 / (1.0 + math.exp(-v))

    critic = -(math.log(sigmoid(2.0)) + math.log(sigmoid(-1.0))) / 2
    critic -= (math.log(1 - sigmoid(0.5)) + math.log(1 - sigmoid(-3.0))) / 2
    for name in ("saturating", "non-saturating", "f-gan"):
        assert float(objective(name).critic(real, fake)) == pytest.approx(critic, abs=1e-6)
    saturating = (math.log(1 - sigmoid(0.5)) + math.log(1 - sigmoid(-3.0))) / 2
    for name in ("saturating", "f-gan"):
        assert float(objective(name).generator(real, fake)) == pytest.approx(saturating, abs=1e-6)
    expected = -(math.log(sigmoid(0.5)) + math.log(sigmoid(-3.0))) / 2
    assert float(objective("non-saturating").generator(real, fake)) == pytest.approx(expected, abs=1e-6)
    assert float(objective("ipm").critic(real, fake)) == pytest.approx(-(0.5 + 1.25))
    pairs = -(math.log(sigmoid(1.5)) + math.log(sigmoid(2.0))) / 2
    assert float(objective("relativistic").critic(real, fake)) == pytest.approx(pairs, abs=1e-6)
    assert len(OBJECTIVES) == 4 + 12
    with pytest.raises(ValueError, match=r"did you mean 'saturating'\?"):
        objective("saturatin")


def test_saturating_gradient_vanishes_where_the_critic_is_sure_and_the_others_do_not() -> None:
    fake = torch.full((1,), -20.0, requires_grad=True)
    slope = {
        name: float(torch.autograd.grad(objective(name).generator(torch.full((1,), 20.0), fake), fake)[0].abs())
        for name in ("saturating", "non-saturating", "relativistic", "ipm")
    }
    assert slope["saturating"] < 1e-8
    assert min(slope["non-saturating"], slope["relativistic"], slope["ipm"]) > 0.99


class Shift(nn.Module):
    """x = z + shift."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([shift]))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z + self.shift


def test_optimal_critic_is_p_over_p_plus_q_and_its_value_is_the_jensen_shannon_divergence() -> None:
    """p = N(0, 1), q = N(1.5, 1): D* = σ(log p/q), V = 2 JSD − log 4."""
    with seeded(0):
        game = GAN(Shift(1.5), MLP(1, (32, 32), 1, activation_name="silu"), 1, 1, objective_name="saturating")
    x = torch.randn(20_000, 1, generator=generator())
    config = TrainingConfig(steps=500, batch_size=500, learning_rate=5e-3)
    game.generator.requires_grad_(False)
    fit(game, x, config=config, loss=lambda model, batch: model.critic_loss(batch))
    points = torch.linspace(-2.0, 3.5, 100).unsqueeze(-1)
    exact = torch.sigmoid((0.5 * (points - 1.5).square() - 0.5 * points.square()).squeeze(-1))
    with torch.no_grad():
        assert float((game.score(points).sigmoid() - exact).abs().max()) < 0.05
        value = -float(game.critic_loss(torch.randn(100_000, 1, generator=generator(1))))
    grid = torch.arange(-8.0, 10.0, 0.01, dtype=torch.float64)
    p = torch.exp(-0.5 * grid.square()) / math.sqrt(2 * math.pi)
    q = torch.exp(-0.5 * (grid - 1.5).square()) / math.sqrt(2 * math.pi)
    jsd = 0.5 * float((p * (2 * p / (p + q)).log() + q * (2 * q / (p + q)).log()).sum() * 0.01)
    assert value == pytest.approx(2.0 * jsd - math.log(4.0), abs=0.02)


@pytest.mark.parametrize("name", ["non-saturating", "relativistic", "f-squared-hellinger"])
def test_games_of_one_parameter_find_the_datas_mean(name: str) -> None:
    """A generator z + shift against N(1, 1): the equilibrium is shift = 1; without a penalty it is circled."""
    with seeded(0):
        critic = MLP(1, (16,), 1, activation_name="silu")
        game = GAN(Shift(-1.0), critic, 1, 1, objective_name=name, gradient_penalty=0.3)
    x = 1.0 + torch.randn(5000, 1, generator=generator())
    play(
        game,
        x,
        config=GameConfig(steps=400, batch_size=256, learning_rate=1e-2, critic_learning_rate=1e-2, average=0.95),
    )
    assert float(game.generator.shift.detach()) == pytest.approx(1.0, abs=0.15)


class Count(nn.Module):
    """A game that counts the steps of its players and has known gradients."""

    critic_parts: ClassVar[tuple[str, ...]] = ("first",)

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(1, 1, bias=False)
        self.second = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.first.weight, start)
        nn.init.constant_(self.second.weight, start)
        self.calls = [0, 0]

    def critic_loss(self, x: torch.Tensor) -> torch.Tensor:
        self.calls[0] += 1
        return (self.first(x) - 2.0 * self.second(x).detach() - x).square().mean()

    def generator_loss(self, x: torch.Tensor) -> torch.Tensor:
        self.calls[1] += 1
        return (self.second(x) + self.first(x) - x).square().mean()


def test_play_moves_each_player_by_its_own_loss_k_times() -> None:
    game = Count()
    critic, other = players(game)
    assert [critic[0] is game.first.weight, other[0] is game.second.weight] == [True, True]
    before = torch.get_rng_state()
    history = play(
        game,
        torch.ones(50, 1),
        config=GameConfig(steps=7, critic_steps=3, batch_size=10, evaluate_every=3),
        monitor=lambda model: {"weight": float(model.first.weight.detach())},
    )
    assert torch.equal(before, torch.get_rng_state())
    assert game.calls == [21, 7]
    assert history.steps == [3, 6, 7]
    assert set(history.curves) == {"critic", "generator", "weight"}
    assert all(len(values) == 3 for values in history.curves.values())


def test_play_is_repeatable_and_reports_what_is_not_finite() -> None:
    data = load("moons", size=300)
    values = []
    for seed in (0, 0, 1):
        with seeded(0):
            game = registry.build("gan", data)
        play(game, data.train, config=GameConfig(steps=5, batch_size=50, seed=seed))
        values.append(next(game.generator.parameters()).detach().sum().item())
    assert values[0] == values[1] != values[2]
    game = Count(math.nan)
    with pytest.raises(FloatingPointError, match="try a smaller learning_rate"):
        play(game, torch.ones(5, 1), config=GameConfig(steps=1))
    with pytest.raises(ValueError, match="critic_steps is 0"):
        GameConfig(critic_steps=0)


def test_games_side_by_side_are_the_games_alone() -> None:
    starts = (0.3, -0.8, 2.0)
    config = GameConfig(steps=40, batch_size=100, learning_rate=0.02, critic_learning_rate=0.03, clip_norm=math.inf)
    alone = [Count(start) for start in starts]
    for game in alone:
        play(game, lambda count, generator: [torch.ones(count, 1)], config=config)
    together = SideBySide([Count(start) for start in starts])
    play(together, lambda count, generator: [torch.ones(3 * count, 1)], config=config)
    for k, game in enumerate(alone):
        for name, value in game.state_dict().items():
            torch.testing.assert_close(together.game(k).state_dict()[name], value)


def test_gradient_penalty_is_the_squared_slope() -> None:
    with seeded(0):
        game = GAN(MLP(2, (8,), 3), MLP(3, (8,), 1, activation_name="silu"), 2, 3, gradient_penalty=0.7)
        x = torch.randn(40, 3)
    with seeded(1):
        loss = game.critic_loss(x)
    game.gradient_penalty = 0.0
    game.begin_step(0.0)
    with seeded(1):
        bare = game.critic_loss(x)
    with seeded(1):
        fake = game.sample((40,))
    expected = 0.0
    for points in (x, fake):
        points = points.clone().requires_grad_()
        expected += float(torch.autograd.grad(game.score(points).sum(), points)[0].square().sum(-1).mean())
    assert float(loss - bare) == pytest.approx(0.5 * 0.7 * expected, rel=1e-4)
    game.gradient_penalty = (0.1, 0.001)
    penalties = []
    for progress in (0.0, 0.5, 1.0):
        game.begin_step(progress)
        penalties.append(game.penalty)
    assert penalties == pytest.approx([0.1, 0.01, 0.001])


@pytest.mark.parametrize("name", ["ring-8", "grid-25"])
def test_a_perfect_sampler_has_all_modes_and_the_share_of_three_deviations(name: str) -> None:
    density = DENSITIES[name]()
    x, labels = density.sample_labelled(2500, generator())
    report = mode_report(x, density.modes, density.noise)
    assert int(report.modes) == density.components == {"ring-8": 8, "grid-25": 25}[name]
    error = math.sqrt(PERFECT_SHARE * (1 - PERFECT_SHARE) / 2500)
    assert float(report.high_quality) == pytest.approx(PERFECT_SHARE, abs=4 * error)
    assert pytest.approx(0.98889, abs=1e-5) == PERFECT_SHARE
    assert float(report.reverse_kl) < 0.02  # (K − 1) / 2 n on average
    nearest = torch.cdist(x, density.modes).argmin(-1)
    assert torch.equal(nearest, labels)


def test_mode_report_by_hand() -> None:
    modes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    samples = torch.tensor([[0.0, 0.02], [0.01, 0.0], [0.0, 0.031], [0.9, 0.0]])
    report = mode_report(samples, modes, 0.01)
    assert int(report.modes) == 1
    assert float(report.high_quality) == 0.5
    expected = 0.75 * math.log(0.75 * 3) + 0.25 * math.log(0.25 * 3)
    assert float(report.reverse_kl) == pytest.approx(expected, abs=1e-6)
    batch = mode_report(torch.stack([samples, samples + 5.0]), modes, 0.01)
    assert batch.modes.tolist() == [1, 0]


def test_class_information_by_hand_and_naming_of_clusters() -> None:
    logits = torch.tensor([[100.0, 0.0], [0.0, 100.0], [0.0, 0.0]])
    marginal, conditional = class_information(logits)
    assert float(marginal) == pytest.approx(math.log(2.0))
    assert float(conditional) == pytest.approx(math.log(2.0) / 3)
    assert matched_accuracy(torch.tensor([2, 2, 0, 1]), torch.tensor([0, 0, 1, 1])) == 0.75
    with pytest.raises(ValueError, match="9 classes"):
        matched_accuracy(torch.arange(9), torch.arange(9))


def test_catgans_penalty_is_the_squared_slope_of_its_centred_logits() -> None:
    with seeded(0):
        classifier = MLP(2, (8,), 3, activation_name="silu")
        units = torch.tensor([0.3, -0.2]), torch.tensor([0.5, 2.0])
        game = CatGAN(MLP(1, (4,), 2), classifier, 1, *units, gradient_penalty=0.7)
        x = torch.randn(20, 2)
    with seeded(1):
        loss = game.critic_loss(x).detach()
    with seeded(1):
        fake = game.gan.sample((20,))
    with torch.no_grad():
        marginal, conditional = class_information(game.class_logits(x))
        unsure = class_information(game.class_logits(fake))[1]
    slopes = []
    for row in (x - units[0]) / units[1]:
        jacobian = torch.autograd.functional.jacobian(classifier, row)
        slopes.append(float((jacobian - jacobian.mean(0)).square().sum()))
    expected = float(conditional - marginal - unsure) + 0.35 * sum(slopes) / 20
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_fourier_features_are_the_gaussian_kernel() -> None:
    with seeded(0):
        features = FourierFeatures(2, 20_000, 0.7)
        x, y = torch.randn(50, 2), torch.randn(50, 2)
    kernel = (features(x) * features(y)).sum(-1)
    torch.testing.assert_close(kernel, (-(x - y).square().sum(-1) / (2 * 0.7**2)).exp(), atol=0.03, rtol=0.0)


def test_what_catgans_critic_learns_first_is_the_circles_only_with_the_penalty() -> None:
    """Near p = ½ its loss is a quadratic form of a linear head w, −wᵀ(C_x − C_z − 2γ S) w / 8 with log-odds f = wᵀφ."""
    x, labels = rings((0.5, 1.0), 0.05).sample_labelled(1000, generator())
    x = (x - x.mean(0)) / x.std(0)
    with seeded(0):
        features, z = FourierFeatures(2, 200, 0.2), torch.randn(1000, 2)
    phi, noise = features(x), features(z)
    slopes = torch.func.vmap(torch.func.jacfwd(features))(x)  # (batch, features, 2)
    gained = torch.cov(phi.T, correction=0) - noise.T @ noise / len(z)
    slope = torch.tensordot(slopes, slopes, ([0, 2], [0, 2])) / len(x)

    def correlation(penalty: float) -> float:
        first = torch.linalg.eigh(gained - 2.0 * penalty * slope).eigenvectors[:, -1]
        return float(torch.corrcoef(torch.stack([phi @ first, labels.float()]))[0, 1].abs())

    assert correlation(0.4) > 0.9
    assert correlation(0.0) < 0.5


def test_semi_supervised_loss_by_hand() -> None:
    """K logits l and a fixed 0 for "generated": p(real) = Z / (Z + 1), and unlabelled rows give no cross-entropy."""
    head = nn.Identity()
    model = SemiSupervisedGAN(Shift(0.0), head, nn.Linear(1, 2), 1, torch.zeros(1), torch.ones(1))
    x, labels = torch.tensor([[0.4], [1.2], [-0.3]]), torch.tensor([1, UNLABELLED, UNLABELLED])
    with seeded(0):
        loss = float(model.critic_loss(x, labels).detach())
    with seeded(0), torch.no_grad():
        fake = model.gan.sample((3,))
        real, generated = model.head(x), model.head(fake)
        z_real, z_fake = real.exp().sum(-1), generated.exp().sum(-1)
        expected = -math.log(float(real[0].softmax(-1)[1]))
        expected -= float((z_real / (z_real + 1)).log().mean()) + float((1 / (z_fake + 1)).log().mean())
    assert loss == pytest.approx(expected, abs=1e-5)


def test_equal_joints_make_bigans_critic_undecided() -> None:
    """x ~ N(0, 1), G and E the identity: both joints are equal, so D = ½ everywhere."""
    with seeded(0):
        critic = MLP(2, (32,), 1, activation_name="silu")
    model = BiGAN(nn.Identity(), nn.Identity(), critic, 1, torch.zeros(1), torch.ones(1))
    x = torch.randn(20_000, 1, generator=generator())
    config = TrainingConfig(steps=400, batch_size=1000, learning_rate=5e-3)
    fit(model, x, config=config, loss=lambda model, batch: model.critic_loss(batch))
    z = torch.randn(500, 1, generator=generator(1))
    with torch.no_grad():
        assert float((model.logits(z, z).sigmoid() - 0.5).abs().max()) < 0.1
        assert float(model.critic_loss(x)) == pytest.approx(math.log(4.0), abs=0.01)
    assert torch.equal(model.reconstruct(x), x)

    def misled(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        other = torch.randn_like(batch)
        return F.softplus(-model.logits(batch, other)).mean() + F.softplus(model.logits(other, other)).mean()

    fit(model, x, config=config, loss=misled)  # unequal joints: the same critic does decide
    with torch.no_grad():
        assert float(model.logits(z, z).sigmoid().mean()) < 0.35


def test_variance_over_random_functions_falls_as_one_over_their_number() -> None:
    with seeded(0):
        networks = MLP(2, (16,), 2, dropout=0.2), MLP(2, (16,), 1, dropout=0.2, activation_name="silu")
        x = torch.randn(16, 2)
    model = UncertainGAN(GAN(*networks, 2, 2))

    def variance(draws: int, repeats: int = 400) -> float:
        model.draws = draws
        scores = model.scores(x.expand(draws, *x.shape))
        assert scores.shape == (draws, 16)
        gradients = []
        for _ in range(repeats):
            loss = model.gan.objective.critic(model.scores(x), model.scores(x + 1.0))
            gradients.append(
                torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.critic.parameters()))])
            )
        return float(torch.stack(gradients).var(0).sum())

    with seeded(1):
        one, four, sixteen = variance(1), variance(4), variance(16)
    assert one / four == pytest.approx(4.0, rel=0.3)
    assert one / sixteen == pytest.approx(16.0, rel=0.3)
    with pytest.raises(ValueError, match="no dropout"):
        UncertainGAN(GAN(MLP(2, (4,), 2), MLP(2, (4,), 1), 2, 2))


def test_gades_bound_is_below_the_quadratures_normaliser_by_the_divergence() -> None:
    with seeded(0):
        flow = real_nvp(2, transforms=4, hidden=(16,))
        model = GADE(MLP(2, (16,), 1, activation_name="silu"), flow, torch.zeros(2), torch.ones(2), base_scale=1.0)
        nn.init.normal_(model.potential[-1].weight)
    axis = torch.arange(-7.0, 7.0, 0.05)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad(), seeded(1):
        log_z = float(torch.logsumexp(model.score(grid).double(), 0) + 2.0 * math.log(0.05))
        log_q = flow.log_prob(grid).double()
        kl = float((log_q.exp() * (log_q - model.score(grid) + log_z)).sum() * 0.05**2)
        bounds = torch.stack([model.normaliser_bound(5000) for _ in range(10)])
    error = float(bounds.std()) / math.sqrt(10)
    assert kl > 0.05
    assert float(bounds.mean()) == pytest.approx(log_z - kl, abs=5.0 * error + 1e-3)


def test_mixture_latent_has_its_components_moments() -> None:
    with seeded(0):
        latent = MixtureLatent(3, 2)
        with torch.no_grad():
            latent.log_scales.copy_(torch.tensor([[-1.0, 0.0], [0.5, 0.2], [0.0, -2.0]]))
        samples = latent(torch.randn(200_000, 2)).detach()
    mean = latent.means.mean(0).detach()
    second = (latent.means.square() + (2.0 * latent.log_scales).exp()).mean(0).detach()
    torch.testing.assert_close(samples.mean(0), mean, atol=0.02, rtol=0.0)
    torch.testing.assert_close(samples.square().mean(0), second, atol=0.05, rtol=0.0)


def test_ac_gan_uses_one_critic_and_conditional_samplers_take_classes() -> None:
    data = load("8gaussians", size=200)
    with seeded(0):
        model = registry.build("ac-gan", data)
        assert isinstance(model, ACGAN)
        real, classes = model.logits(data.train)
        assert (real.shape, classes.shape) == ((200,), (200, 8))
        chosen = F.one_hot(torch.arange(8), 8).float()
        assert model(chosen).sample((5,)).shape == (5, 8, 2)
        assert model().sample((5, 3)).shape == (5, 3, 2)


def test_dcgan_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        DCGANGenerator(4, (1, 6, 8))


@pytest.mark.parametrize(
    "each",
    [each for each in MODELS if not each.name.startswith("f-gan") or each.name == "f-gan-jeffrey"],
    ids=lambda each: each.name,
)
def test_every_entry_trains_and_draws_its_pictures(each: registry.Entry, tmp_path: Path) -> None:
    data = "digits" if each.images else "ring-8" if each.name == "gan" else "moons"
    demo = train_demo(each.name, data, tmp_path, steps=2, tensorboard=each.name == "gan")
    written = {path.name for path in demo.files}
    assert "loss.png" in written
    assert ("samples.png" in written) == ("sample" in each.has)
    assert ("critic.png" in written) == (each.name not in ("rim", "cyclegan", "vae-gan", "dcgan"))
    if each.name == "gan":
        assert "quality.png" in written
        assert {"critic", "generator", "modes", "high-quality share", "reverse KL"} <= set(demo.history.curves)
        events = EventAccumulator(str(tmp_path)).Reload().Tags()
        assert {"samples", "critic", "quality", "loss"} <= set(events["images"])
        assert {"game/critic", "game/generator", "game/modes"} <= set(events["scalars"])
