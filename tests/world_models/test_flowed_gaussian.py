"""The transition that a flow bends: densities by numerical integration, closed forms where the flow does nothing."""

import math

import pytest
import torch
from gymnasium import spaces
from torch.distributions import Independent, Normal, kl_divergence

from generative.flows.flow import Flow
from generative.flows.library import real_nvp
from world_models.ensemble import Ensemble
from world_models.flowed_gaussian import FlowedGaussian
from world_models.likelihood import ObservationCodec
from world_models.losses import transition_loss
from world_models.overshooting_vae import OvershootingVAE, WorldModelConfig


def _gaussian(mean: list[float], scale: list[float]) -> Independent:
    return Independent(Normal(torch.tensor(mean).double(), torch.tensor(scale).double()), 1)


def _copies(distribution: Independent, copies: int) -> Independent:
    """The same distribution as a batch of copies."""
    return distribution.expand((copies,))


def _bent() -> FlowedGaussian:
    torch.manual_seed(1)
    flow = real_nvp(2, transforms=4, hidden=(8,), context_features=3).double()
    for parameter in flow.parameters():
        parameter.data.mul_(2.0)
    return FlowedGaussian(_gaussian([0.3, -0.2], [0.7, 0.4]), flow, torch.randn(3).double())


def _grid(half: float, points: int) -> tuple[torch.Tensor, float]:
    axis = torch.linspace(-half, half, points).double()
    return torch.cartesian_prod(axis, axis), float((axis[1] - axis[0]) ** 2)


def test_the_density_integrates_to_one_and_gives_the_entropy_and_the_divergence() -> None:
    p, q = _bent(), _gaussian([0.2, 0.1], [0.5, 0.6])
    grid, cell = _grid(9.0, 1200)
    with torch.no_grad():
        log_p, log_q = p.log_prob(grid), q.log_prob(grid)
        assert float(log_p.exp().sum() * cell) == pytest.approx(1.0, abs=1e-3)
        entropy = -(log_p.exp() * log_p).sum() * cell
        many = FlowedGaussian(_copies(p.base, 20_000), p.flow, p.context)
        assert float(many.entropy().mean()) == pytest.approx(float(entropy), abs=0.02)
        divergence = (log_q.exp() * (log_q - log_p)).sum() * cell
        estimates = transition_loss(_copies(q, 20_000), p)
        assert float(estimates.mean()) == pytest.approx(float(divergence), abs=0.05)
        assert abs(float(entropy) - float(p.base.entropy())) > 0.1, "the flow is not the identity"


def test_a_flow_that_does_nothing_leaves_the_gaussian() -> None:
    base, q = _gaussian([0.3, -0.2], [0.7, 0.4]), _gaussian([0.2, 0.1], [0.5, 0.6])
    p = FlowedGaussian(base, Flow(2, []).double(), torch.zeros(0))
    points = torch.randn(7, 2).double()
    torch.testing.assert_close(p.log_prob(points), base.log_prob(points))
    torch.testing.assert_close(p.entropy(), base.entropy())
    torch.testing.assert_close(p.bend(points), points)
    torch.manual_seed(0)
    estimate = transition_loss(_copies(q, 50_000), p).mean()
    assert float(estimate) == pytest.approx(float(kl_divergence(q, base)), abs=0.02)


def _model(**config: object) -> OvershootingVAE:
    codec = ObservationCodec(spaces.Dict({"buffer": spaces.Discrete(3), "scores": spaces.Box(0.0, 1.0, (2,))}))
    settings = WorldModelConfig(**({"latent_dim": 2, "hidden": (16,), "dropout": 0.0} | config))  # type: ignore[arg-type]
    return OvershootingVAE(codec, 4, 0, settings)


@pytest.mark.parametrize("lead", [(), (3,), (6, 3)])
def test_states_and_codes_of_any_batch_shape(lead: tuple[int, ...]) -> None:
    model = _model(transition="flow")
    p = model.transition(torch.rand(*lead, 5, 2), torch.rand(*lead, 5, 4))
    assert p.batch_shape == (*lead, 5)
    assert p.rsample((7,)).shape == (7, *lead, 5, 2)
    assert p.log_prob(p.rsample((7,))).shape == (7, *lead, 5)
    assert p.entropy().shape == (*lead, 5)
    torch.manual_seed(0)
    drawn = p.rsample()
    torch.manual_seed(0)
    torch.testing.assert_close(p.bend(p.base.rsample()), drawn)


def test_a_jump_with_two_ends_is_learned_by_the_flow_alone() -> None:
    """The next state is (c, 1 − c) up to a standard deviation of 0.1, with c = 0 or 1 by the toss of a coin."""
    generator = torch.Generator().manual_seed(0)
    losses = {}
    for family in ("gaussian", "flow"):
        torch.manual_seed(0)
        model = _model(transition=family)
        optimiser = torch.optim.Adam(model.transition_parameters(), lr=5e-3)
        latest = []
        for _ in range(800):
            coin = torch.randint(2, (128, 1), generator=generator).float()
            q = Independent(Normal(torch.cat([coin, 1.0 - coin], -1), 0.1), 1)
            loss = transition_loss(q, model.transition(torch.zeros(128, 2), torch.zeros(128, 4))).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            latest.append(float(loss.detach()))
        losses[family] = sum(latest[-100:]) / 100
    gaussian = 2.0 * 0.5 * math.log((0.1**2 + 0.25) / 0.1**2)  # of the moments' Gaussian, whose axes are independent
    assert losses["gaussian"] == pytest.approx(gaussian, abs=0.1)
    assert losses["flow"] < math.log(2.0) + 0.4, "log 2 is the information in the coin"


def test_models_with_flows_learn_one_by_one() -> None:
    ensemble = Ensemble([_model(transition="flow") for _ in range(3)])
    assert (len(ensemble), len(ensemble.learners), ensemble.stacked) == (3, 3, 1)
    assert ensemble.predict(torch.rand(5, 5), torch.rand(6, 5, 4)).mean.shape == (3, 6, 5, 5)


def test_impossible_flows_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown transition 'flwo'; did you mean 'flow'"):
        WorldModelConfig(transition="flwo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="latent_dim is 1"):
        WorldModelConfig(transition="flow", latent_dim=1)
