"""Mixtures of autoencoders: exact evidence of linear ones, stick-breaking in closed form, three data sets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.distributions import Beta

from generative.training import seeded
from generative.vae import GaussianVAE, Likelihood, VAEConfig, decoder_width, linear_vae_log_likelihood
from generative.vae.mixture import GrowthConfig, InfiniteVAE, MixtureVAE, Sticks


def linear(seed: int) -> GaussianVAE:
    torch.manual_seed(seed)
    config = VAEConfig(latent_dim=1, hidden=())
    model = GaussianVAE(Likelihood(decoder_width(config), 2, "isotropic"), config).double().eval()
    with torch.no_grad():
        model.likelihood.affine.bias += torch.randn(2)
        model.posterior_head.affine.bias[1] += 1.0  # wide, so that the weights are bounded
    return model


def test_a_mixtures_weights_average_to_its_exact_evidence_and_its_samples_follow_it() -> None:
    components = [linear(seed) for seed in range(3)]
    model = MixtureVAE(components).double()
    x = torch.tensor([0.4, -0.7], dtype=torch.float64)
    count = 100_000
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.3, -0.5, 0.0]))
        log_pi = torch.log_softmax(model.logits, -1)
        joint = torch.stack([linear_vae_log_likelihood(each, x) for each in components]) + log_pi
        exact = torch.logsumexp(joint, 0)
        bound = model(None).elbo(x.expand(count, -1))
        ratio = torch.exp(bound - exact)
        error = float(ratio.std()) / count**0.5
        assert error < 0.02
        assert float(ratio.mean()) == pytest.approx(1.0, abs=4 * error)
        assert float(bound.mean()) < float(exact)
        means = torch.stack([each.likelihood.affine.bias for each in components])
        samples = model.sample((count,))
        spread = samples.std(0) / count**0.5
        assert bool(((samples.mean(0) - log_pi.exp() @ means).abs() < 4 * spread).all())


def test_sticks_have_their_expected_weights_and_the_best_posterior_for_the_counts() -> None:
    sticks = Sticks(3, 1.5).double()
    counts = torch.tensor([40.0, 25.0, 5.0, 2.0], dtype=torch.float64)
    sticks.update(counts)
    v = Beta(sticks.first, sticks.second).sample((200_000,))
    left = torch.cat([torch.ones(len(v), 1, dtype=v.dtype), (1.0 - v).cumprod(-1)], -1)
    weights = left * torch.cat([v, torch.ones(len(v), 1, dtype=v.dtype)], -1)
    for drawn, expected in ((weights, sticks.mean()), (weights.log(), sticks.log_weights())):
        error = drawn.std(0) / len(v) ** 0.5
        assert bool(((drawn.mean(0) - expected).abs() < 4.5 * error).all())
    assert float(sticks.mean().sum()) == pytest.approx(1.0)
    # the update is where Σ_k N_k E log π_k − KL has no slope
    sticks.first.requires_grad_()
    sticks.second.requires_grad_()
    bound = counts @ sticks.log_weights() - sticks.cost()
    for slope in torch.autograd.grad(bound, (sticks.first, sticks.second)):
        torch.testing.assert_close(slope, torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_without_components_the_infinite_mixture_is_its_base_density() -> None:
    model = InfiniteVAE(lambda: linear(0), torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0]), GrowthConfig())
    x = torch.tensor([[1.0, 2.0]])
    torch.testing.assert_close(model().elbo(x), model.base().log_prob(x))
    torch.testing.assert_close(model.sample((50_000,)).std(0), torch.tensor([1.0, 6.0]), rtol=0.02, atol=0)


def test_a_saved_infinite_mixture_is_equal_once_its_components_are_open() -> None:
    build = [
        InfiniteVAE(lambda: linear(0).float(), torch.zeros(2), torch.ones(2), GrowthConfig()).eval() for _ in range(2)
    ]
    for model in build:
        model.open(2)
    with torch.no_grad():
        build[0].components[1].likelihood.affine.bias += 1.0
    build[0].sticks.update(torch.tensor([5.0, 3.0, 1.0]))
    build[1].load_state_dict(build[0].state_dict())
    x, values = torch.randn(4, 2), []
    for model in build:
        with torch.no_grad(), seeded(0):
            values.append(model().elbo(x))
    assert torch.equal(*values)


def curved_sets(count: int) -> list[torch.Tensor]:
    """Return four sets (count, 6) on curved surfaces around points 6 apart or more, with noise 0.1."""
    generator = torch.Generator().manual_seed(0)
    sets = []
    for k in range(4):
        centre = torch.zeros(6)
        centre[k] = 5.0
        z = torch.randn(count, 2, generator=generator)
        surface = torch.tanh(z @ torch.randn(2, 6, generator=generator))
        sets.append(centre + surface + 0.1 * torch.randn(count, 6, generator=generator))
    return sets


@pytest.mark.slow
def test_three_disjoint_sets_open_three_components_and_an_unseen_one_none(figure: Callable[..., None]) -> None:
    config = VAEConfig(latent_dim=2, hidden=(16,))
    sets = curved_sets(600)
    train, held_out = torch.cat([each[:400] for each in sets[:3]]), [each[400:] for each in sets]
    scale = train.std()

    def new_component() -> GaussianVAE:
        start = (train.mean(0), scale.expand(6))
        return GaussianVAE(Likelihood(decoder_width(config), 6, "isotropic", shift=start[0], scale=start[1]), config)

    model = InfiniteVAE(new_component, train.mean(0), scale, GrowthConfig())
    asked = model.grow(train)
    with torch.no_grad(), seeded(0):
        shares = [model.responsibilities(each).mean(0) for each in held_out]
    figure("infinite-vae", "three sets in 6 dimensions", 0, "components opened", len(asked), 3)
    known = min(float(share[:-1].max()) for share in shares[:3])
    unseen = float(shares[3][:-1].sum())
    figure("infinite-vae", "three sets in 6 dimensions", 0, "responsibility of a set's own component", known, 0.95)
    figure("infinite-vae", "a fourth set", 0, "responsibility of all components", unseen, 0.05)
    assert len(asked) == 3
    assert all(later < earlier for earlier, later in pairwise(asked))
    assert len({int(share.argmax()) for share in shares[:3]}) == 3
    assert known > 0.95
    assert unseen < 0.05
