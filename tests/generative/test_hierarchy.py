"""Hierarchies of Gaussian latents against numeric integration over every layer."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from generative.vae import HierarchicalVAE, HierarchyConfig, Inference, Likelihood
from generative.vae.core import merge_gaussians

BOTH = pytest.mark.parametrize("inference", ["bottom-up", "ladder"])


def small(inference: Inference, context_features: int = 0) -> HierarchicalVAE:
    torch.manual_seed(0)
    config = HierarchyConfig((1, 1), (6, 5), inference, "tanh", context_features=context_features)
    model = HierarchicalVAE(Likelihood(6, 3, "bernoulli"), config).double().eval()
    with torch.no_grad():
        model.decoder[0].weight *= 2.0  # a code that matters
        model.downs[0][1].affine.weight *= 2.0
        for head in model.heads:
            head.affine.bias[1] += 1.5  # a posterior wider than the exact one keeps the weights bounded
    return model


def integrated(model: HierarchicalVAE, x: torch.Tensor, context: torch.Tensor | None = None) -> float:
    """log ∫∫ p(z_2) p(z_1 | z_2) p(x | z_1) by the trapezoidal rule, x (3,)."""
    axis = torch.linspace(-9.0, 9.0, 361, dtype=torch.float64)
    z1, z2 = axis.reshape(-1, 1, 1), axis.reshape(1, -1, 1)
    given = None if context is None else context.expand(1, len(axis), -1)
    log_p = model.prior(1, z2, given).log_prob(z2) + model.prior(0, z2).log_prob(z1)
    below = None if context is None else context.expand(len(axis), 1, -1)
    log_p = log_p + model.decode(z1, below).log_prob(x)
    return float(torch.logsumexp(log_p.flatten(), 0)) + 2 * math.log(float(axis[1] - axis[0]))


@BOTH
@pytest.mark.parametrize("context_features", [0, 2])
def test_weights_average_to_the_integrated_evidence_and_the_bound_is_below(
    inference: Inference, context_features: int
) -> None:
    model = small(inference, context_features)
    context = torch.tensor([0.5, -1.0], dtype=torch.float64) if context_features else None
    x = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    count = 100_000
    with torch.no_grad():
        exact = integrated(model, x, context)
        terms = model.terms(x.expand(count, -1), None if context is None else context.expand(count, -1))
        ratio = torch.exp(terms.log_weight - exact)
        error = float(ratio.std()) / count**0.5
        assert float(ratio.mean()) == pytest.approx(1.0, abs=4 * error)
        assert error < 0.02
        # the KL in closed form and the sampled one are one number
        difference = terms.kl - (terms.log_posterior - terms.log_prior)
        assert float(difference.mean()) == pytest.approx(0.0, abs=4 * float(difference.std()) / count**0.5)
        assert float(terms.elbo().mean()) < exact
        torch.testing.assert_close(torch.cat(terms.kl_units, -1).sum(-1), terms.kl)


def test_probabilities_of_every_state_sum_to_one() -> None:
    model = small("ladder")
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    with torch.no_grad():
        assert sum(math.exp(integrated(model, x)) for x in states) == pytest.approx(1.0, abs=1e-6)
        samples = model.sample((50_000,))
        for x in states:
            share = float((samples == x).all(-1).double().mean())
            p = math.exp(integrated(model, x))
            assert share == pytest.approx(p, abs=4 * (p * (1 - p) / 50_000) ** 0.5)


def test_merged_gaussians_are_the_normalised_product() -> None:
    def normal(mean: float, scale: float) -> Independent:
        return Independent(Normal(torch.tensor([mean]).double(), torch.tensor([scale]).double()), 1)

    first, second = normal(1.0, 0.5), normal(-0.5, 0.8)
    axis = torch.linspace(-8.0, 8.0, 20_001, dtype=torch.float64).unsqueeze(-1)
    product = torch.exp(first.log_prob(axis) + second.log_prob(axis))
    product = product / torch.trapezoid(product, axis[:, 0])
    torch.testing.assert_close(merge_gaussians(first, second).log_prob(axis).exp(), product, atol=1e-9, rtol=1e-9)


@BOTH
def test_every_parameter_is_trained_and_a_saved_model_is_equal(inference: Inference) -> None:
    config = HierarchyConfig((4, 3, 2), (8, 7, 6), inference, context_features=2)

    def build() -> HierarchicalVAE:
        return HierarchicalVAE(Likelihood(8, 5), config).eval()

    torch.manual_seed(0)
    model, copy = build(), build()
    x, context = torch.randn(4, 5), torch.randn(4, 2)
    (-model(context).elbo(x)).mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
    copy.load_state_dict(model.state_dict())
    values = []
    for each in (model, copy):
        torch.manual_seed(1)
        values.append(torch.cat([each(context).elbo(x).detach(), each(context).sample((2,)).flatten()]))
    assert torch.equal(*values)
    with pytest.raises(ValueError, match="the context has 0 features; this model takes 2"):
        model.elbo(x)
    with pytest.raises(ValueError, match="one entry a layer"):
        HierarchyConfig((4, 2), (8,))
