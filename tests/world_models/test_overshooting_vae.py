"""The overshooting VAE: bounds of its state, losses against closed forms, images, dropout as samples of θ."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from generative.divergences import entropy, kl
from generative.nn import sampled_theta
from world_models.likelihood import ObservationCodec
from world_models.losses import complexity, outcome_loss, reconstruction_loss, transition_loss
from world_models.overshooting_vae import OvershootingVAE, WorldModelConfig


def _model(space: spaces.Space, **settings: object) -> OvershootingVAE:
    torch.manual_seed(0)
    return OvershootingVAE(ObservationCodec(space), 3, 2, WorldModelConfig(latent_dim=4, hidden=(8, 8), **settings))


def test_state_mean_and_variance_stay_within_the_papers_bounds() -> None:
    model = _model(spaces.Box(-np.inf, np.inf, (5,)), max_variance=1.5)
    q = model.encode(1e4 * torch.randn(100, 5))
    assert q.mean.abs().max() <= 1.0
    assert q.variance.max() <= 1.5 + 1e-6
    assert q.variance.min() > 0.0


def test_losses_are_the_closed_forms() -> None:
    model = _model(spaces.Box(-np.inf, np.inf, (5,)))
    q, p = model.encode(torch.randn(6, 5)), model.transition(torch.randn(6, 4), torch.randn(6, 3))
    by_hand = ((p.stddev / q.stddev).log() + (q.variance + (q.mean - p.mean).square()) / (2 * p.variance) - 0.5).sum(-1)
    torch.testing.assert_close(transition_loss(q, p), by_hand)
    to_normal = 0.5 * (q.variance + q.mean.square() - 1.0 - q.variance.log()).sum(-1)
    torch.testing.assert_close(complexity(q), to_normal)
    torch.testing.assert_close(kl(q, p, "mean"), by_hand / 4)
    prediction = model.predict(torch.randn(6, 4), torch.randn(6, 3), q.mean)
    observation, outcomes = torch.randn(6, 5), torch.randn(6, 2)
    expected = -prediction.observation.log_prob(observation)
    torch.testing.assert_close(reconstruction_loss(prediction.observation, observation), expected)
    assert prediction.outcomes is not None
    torch.testing.assert_close(outcome_loss(prediction.outcomes, outcomes), -prediction.outcomes.log_prob(outcomes))
    assert not outcome_loss(None, outcomes).any()


@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 9, 7)])
def test_images_go_through_convolutions_in_either_layout(shape: tuple[int, int, int]) -> None:
    space = spaces.Dict({"camera": spaces.Box(0, 255, shape, np.uint8), "speed": spaces.Box(-np.inf, np.inf, (1,))})
    model = _model(space)
    images = np.random.default_rng(0).integers(0, 256, size=(5, *shape), dtype=np.uint8)
    flat = torch.from_numpy(model.codec.flatten({"camera": images, "speed": np.zeros((5, 1))}))
    o = model.codec.normalise(flat)
    assert float(o.min()) >= 0.0
    assert float(o.max()) <= 1.0
    prediction = model.decode(model.encode(o.expand(2, -1, -1)).rsample())
    assert prediction.mean.shape == (2, 5, model.codec.size)
    (-prediction.log_prob(o)).sum().backward()
    assert model.reader.encoders[0].readout.weight.grad is not None


def test_theta_is_sampled_by_dropout_one_mask_per_sample_or_one_for_all() -> None:
    model = _model(spaces.Box(-np.inf, np.inf, (5,)), dropout=0.5).eval()
    state, code = torch.randn(1, 4).expand(7, 6, 4), torch.zeros(7, 6, 3)
    assert torch.equal(*(model.transition(state, code).mean for _ in range(2)))
    with sampled_theta(model, "fresh"):
        fresh = model.transition(state, code).mean
    with sampled_theta(model, "same"):
        same = model.transition(state, code).mean
    assert torch.equal(fresh[:, :1].expand(-1, 6, -1), fresh), "one θ serves all rows of a sample"
    assert not torch.equal(fresh[0], fresh[1]), "every sample has its own θ"
    assert torch.equal(same[0], same[1])
    assert not model.training
    assert torch.equal(*(model.transition(state, code).mean for _ in range(2))), "dropout is off again"


def test_entropy_reductions_state_what_they_are() -> None:
    q = _model(spaces.Discrete(3)).encode(torch.randn(6, 3))
    torch.testing.assert_close(entropy(q, "mean") * 4, entropy(q, "sum"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"latent_dim": 0}, "latent_dim is 0"), ({"dropout": 1.0}, "dropout is 1.0"), ({"hidden": (0,)}, "hidden is")],
)
def test_impossible_sizes_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldModelConfig(**settings)
