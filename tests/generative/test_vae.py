"""Variational autoencoders against closed forms and enumeration; the objectives' order."""

import math
from itertools import pairwise

import pytest
import torch
from sklearn.decomposition import PCA

from generative.autoregressive import BinaryConditional, made
from generative.divergences import kl
from generative.objectives import (
    active_units,
    description_length,
    importance_weighted_bound,
    log_weights,
    memoryless_posterior,
    renyi_bound,
    variational_em,
)
from generative.training import TrainingConfig, fit, seeded
from generative.vae import (
    DARN,
    AutoregressiveLikelihood,
    DARNConfig,
    FlowPosteriorConfig,
    FlowPosteriorVAE,
    FreeBitsLoss,
    GaussianVAE,
    Likelihood,
    VAEConfig,
    WarmUpLoss,
    decoder_width,
    linear_vae_log_likelihood,
)


def linear_vae(features: int = 4, latent_dim: int = 2) -> GaussianVAE:
    torch.manual_seed(0)
    config = VAEConfig(latent_dim=latent_dim, hidden=())
    return GaussianVAE(Likelihood(decoder_width(config), features, "isotropic"), config).double().eval()


def estimate(values: torch.Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def test_bounds_of_a_linear_vae_rise_with_k_and_stay_below_the_exact_evidence() -> None:
    model = linear_vae()
    x = torch.randn(1, 4, dtype=torch.float64)
    with torch.no_grad():
        exact = float(linear_vae_log_likelihood(model, x))
        means = {}
        for k in (1, 5, 50):
            weights = log_weights(model, x.expand(4000, -1), samples=k)
            means[k], error = estimate(importance_weighted_bound(weights))
            assert means[k] <= exact + 3 * error
        assert means[1] < means[5] < means[50]
        evidence = importance_weighted_bound(log_weights(model, x, samples=200_000))
        assert float(evidence) == pytest.approx(exact, abs=0.02)
        elbo, error = estimate(model.elbo(x.expand(20_000, -1)))
        q = model.posterior(x)
        # the exact ELBO: the evidence less the divergence from the exact posterior, a Gaussian
        out = model.likelihood
        w, noise = out.affine.weight, torch.exp(2 * out.log_scale)
        precision = torch.eye(2, dtype=torch.float64) + w.T @ w / noise
        mean = torch.linalg.solve(precision, w.T @ (x[0] - out.affine.bias) / noise)
        posterior = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
        approximate = torch.distributions.MultivariateNormal(q.mean[0], torch.diag(q.variance[0]))
        gap = float(torch.distributions.kl_divergence(approximate, posterior))
        assert elbo == pytest.approx(exact - gap, abs=4 * error)


def test_renyi_bounds_fall_with_alpha_between_the_largest_weight_and_the_elbo() -> None:
    model = linear_vae()
    with torch.no_grad():
        weights = log_weights(model, torch.randn(30, 4, dtype=torch.float64), samples=40)
    bounds = [renyi_bound(weights, alpha) for alpha in (-math.inf, -1.0, 0.0, 0.5, 1.0)]
    assert all(bool((above >= below - 1e-9).all()) for above, below in pairwise(bounds))
    torch.testing.assert_close(bounds[2], importance_weighted_bound(weights))
    torch.testing.assert_close(bounds[4], weights.mean(0))


@pytest.mark.parametrize("flow", ["planar", "radial", "iaf"])
def test_a_flow_posteriors_weights_average_to_the_exact_evidence(flow: str) -> None:
    # only the right log-determinant makes the weights unbiased
    torch.manual_seed(1)
    config = VAEConfig(latent_dim=2, hidden=())
    likelihood = Likelihood(decoder_width(config), 3, "isotropic")
    settings = FlowPosteriorConfig(flow, transforms=3, hidden=(8,), context_features=4)  # type: ignore[arg-type]
    model = FlowPosteriorVAE(likelihood, config, settings).double().eval()
    exact_model = GaussianVAE(likelihood, config).double().eval()
    x = torch.randn(1, 3, dtype=torch.float64)
    with torch.no_grad():
        model.vae.posterior_head.affine.bias[2:] += (
            2.0  # a posterior wider than the exact one keeps the weights bounded
        )
        exact = float(linear_vae_log_likelihood(exact_model, x))
        weights = model.terms(x.expand(200_000, -1)).log_weight
        ratio, error = estimate(torch.exp(weights - exact))
    assert ratio == pytest.approx(1.0, abs=4 * error)
    assert error < 0.02


@pytest.mark.parametrize("chain", [False, True], ids=["sigmoid belief net", "DARN"])
def test_a_binary_autoencoders_bound_is_below_the_enumerated_evidence_by_the_gap(chain: bool) -> None:
    torch.manual_seed(2)
    model = DARN(4, DARNConfig(latent_dim=3, hidden=(8,), autoregressive_latents=chain)).double()
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    with torch.no_grad():
        exact, bound, gap = model.exact_log_prob(states), model.exact_elbo(states), model.exact_gap(states)
        assert float(exact.exp().sum()) == pytest.approx(1.0, abs=1e-9)
        assert bool((gap >= 0.0).all())
        torch.testing.assert_close(exact - bound, gap)
        sampled = torch.stack([model.elbo(states) for _ in range(3000)])
    error = sampled.std(0) / math.sqrt(len(sampled))
    assert bool(((sampled.mean(0) - bound).abs() < 5 * error).all())


def test_context_reaches_prior_encoder_and_decoder_and_a_saved_model_is_equal() -> None:
    torch.manual_seed(3)
    config = VAEConfig(latent_dim=2, hidden=(8,), context_features=3)

    def build() -> GaussianVAE:
        return GaussianVAE(Likelihood(decoder_width(config), 4, "gaussian"), config).eval()

    model, copy = build(), build()
    x, one, other = torch.randn(5, 4), torch.randn(5, 3), torch.randn(5, 3)
    assert kl(model.prior(one, one[:, :2]), model.prior(other, one[:, :2])).min().item() > 0.0
    assert not torch.equal(model.posterior(x, one).mean, model.posterior(x, other).mean)
    z = torch.zeros(5, 2)
    assert not torch.equal(model.decode(z, one).mean, model.decode(z, other).mean)
    copy.load_state_dict(model.state_dict())
    torch.testing.assert_close(copy.reconstruct(x, one), model.reconstruct(x, one), rtol=0, atol=0)
    with pytest.raises(ValueError, match="the context has 0 features; this model takes 3"):
        model.posterior(x)


def optimal_diagonal(model: GaussianVAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of the best diagonal q: the exact mean, and one over the exact precision's diagonal."""
    out = model.likelihood
    w, noise = out.affine.weight, torch.exp(2 * out.log_scale)
    precision = torch.eye(w.shape[1], dtype=w.dtype) + w.T @ w / noise
    mean = torch.linalg.solve(precision, w.T @ (x - out.affine.bias).T / noise).T
    return mean, (1.0 / precision.diagonal()).expand_as(mean)


def exact_elbo(model: GaussianVAE, x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """ELBO of a linear VAE at a diagonal q: E‖x − W z − b‖² has the trace of W diag(variance) Wᵀ beside the mean's."""
    out = model.likelihood
    w, noise = out.affine.weight, torch.exp(2 * out.log_scale)
    squared = (x - mean @ w.T - out.affine.bias).square().sum(-1) + (variance @ w.square().T).sum(-1)
    log_likelihood = -0.5 * squared / noise - 0.5 * x.shape[-1] * torch.log(2 * math.pi * noise)
    return log_likelihood - 0.5 * (mean.square() + variance - 1.0 - variance.log()).sum(-1)


def test_memoryless_inference_finds_the_best_gaussian_and_closes_the_amortisation_gap() -> None:
    model, x = linear_vae(), torch.randn(6, 4, dtype=torch.float64)
    mean, variance = optimal_diagonal(model, x)
    with seeded(0):
        found = memoryless_posterior(model, x, steps=400, samples=64)
    with torch.no_grad():
        torch.testing.assert_close(found.mean, mean, atol=0.02, rtol=0)
        torch.testing.assert_close(found.variance, variance, atol=0.0, rtol=0.05)
        amortised = model.posterior(x)
        gap = exact_elbo(model, x, found.mean, found.variance) - exact_elbo(
            model, x, amortised.mean, amortised.variance
        )
        best = exact_elbo(model, x, mean, variance)
        assert bool((gap > 0.0).all())
        assert bool((exact_elbo(model, x, found.mean, found.variance) <= best).all())
        assert bool((best <= linear_vae_log_likelihood(model, x)).all())


def test_variational_em_never_falls_and_raises_the_exact_likelihood() -> None:
    model = linear_vae()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(100, 2, dtype=torch.float64, generator=generator)
    x = z @ torch.randn(2, 4, dtype=torch.float64, generator=generator)
    x = x + 0.3 * torch.randn(100, 4, dtype=torch.float64, generator=generator)
    before = float(linear_vae_log_likelihood(model, x).mean().detach())
    parameters = [*model.likelihood.affine.parameters(), model.likelihood.log_scale]
    trace = variational_em(model, x, parameters, rounds=15, learning_rate=0.05)
    after = float(linear_vae_log_likelihood(model, x).mean().detach())
    assert len(trace) == 31
    assert all(later >= earlier for earlier, later in pairwise(trace))
    assert trace[-1] > trace[0] + 1.0
    assert before < after <= PCA(2).fit(x.numpy()).score(x.numpy()) + 1e-9  # the maximum of the likelihood


def test_description_length_is_the_free_energy_and_never_below_the_exact_code_length() -> None:
    torch.manual_seed(4)
    model = DARN(4, DARNConfig(latent_dim=3, hidden=(8,))).double()
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        lengths = description_length(model, x.expand(20_000, -1))
        mean, error = estimate(lengths.total)
        assert mean == pytest.approx(-float(model.exact_elbo(x)), abs=4 * error)
        assert -float(model.exact_elbo(x)) >= -float(model.exact_log_prob(x))
        torch.testing.assert_close(lengths.total, lengths.data + lengths.hypothesis - lengths.returned)
        for part in (lengths.data, lengths.hypothesis, lengths.returned):
            assert bool((part >= 0.0).all())  # probabilities of discrete variables: no negative code length


def test_active_units_counts_those_that_differ_from_the_prior() -> None:
    torch.manual_seed(5)
    config = VAEConfig(latent_dim=4, hidden=(8,))
    model = GaussianVAE(Likelihood(decoder_width(config), 3), config).eval()
    with torch.no_grad():
        model.posterior_head.affine.weight.zero_()
        model.posterior_head.affine.bias.zero_()
        model.posterior_head.affine.bias[4:] = math.log(math.expm1(1.0 - 1e-3))  # every scale is 1: q is the prior
        assert active_units(model, torch.randn(50, 3)) == (0,)
        model.posterior_head.affine.bias[1] = 0.2  # KL = 0.02
        model.posterior_head.affine.weight[3] = 1.0
        assert active_units(model, torch.randn(50, 3)) == (2,)
        assert active_units(model, torch.randn(50, 3), threshold=0.05) == (1,)


def test_a_trained_linear_vae_reaches_probabilistic_pcas_likelihood() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 3, generator=generator) @ torch.randn(3, 6, generator=generator)
    x = x + 0.5 * torch.randn(500, 6, generator=generator)
    config = VAEConfig(latent_dim=3, hidden=())
    with seeded(0):
        model = GaussianVAE(Likelihood(decoder_width(config), 6, "isotropic"), config)
    fit(model, x, config=TrainingConfig(steps=1500, batch_size=500, learning_rate=2e-2, evaluate_every=1500))
    best = PCA(3).fit(x.numpy()).score(x.numpy())
    with torch.no_grad():
        exact = float(linear_vae_log_likelihood(model.double(), x.double()).mean())
    assert best - 0.1 < exact <= best + 1e-4


def test_an_autoregressive_encoder_and_decoder_average_to_the_integrated_evidence() -> None:
    torch.manual_seed(6)
    config = VAEConfig(latent_dim=1, hidden=(6,), activation="tanh")
    decoder = made(3, BinaryConditional(), hidden=(8,), context_features=decoder_width(config))
    settings = FlowPosteriorConfig(transforms=1, hidden=(8,), context_features=4)
    model = FlowPosteriorVAE(AutoregressiveLikelihood(decoder), config, settings).double().eval()
    with torch.no_grad():
        model.vae.decoder[0].weight *= 3.0
        model.vae.posterior_head.affine.bias[1] += 1.0
        axis = torch.linspace(-9.0, 9.0, 2001, dtype=torch.float64).unsqueeze(-1)
        states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
        prior = model.vae.prior(None, axis).log_prob(axis)
        exact = torch.stack([torch.logsumexp(prior + model.vae.decode(axis).log_prob(x), 0) for x in states])
        exact = exact + math.log(18.0 / 2000)
        assert float(exact.exp().sum()) == pytest.approx(1.0, abs=1e-6)
        weights = log_weights(model, states, samples=50_000)
        ratio = torch.exp(weights - exact)
        error = ratio.std(0) / len(ratio) ** 0.5
        assert float(error.max()) < 0.02
        assert bool(((ratio.mean(0) - 1.0).abs() < 4 * error).all())
        assert bool((weights.mean(0) < exact).all())
        samples = model.sample((50_000,))
        share = torch.stack([(samples == x).all(-1).double().mean() for x in states])
        assert bool(((share - exact.exp()).abs() < 4 * (exact.exp() / 50_000).sqrt()).all())
    assert model().has == {"elbo", "sample"}
    with pytest.raises(NotImplementedError, match="has no mean"):
        model()._method("mean")


def test_free_bits_stop_the_pull_on_a_code_that_costs_less() -> None:
    model, x = linear_vae().train(), torch.randn(8, 4, dtype=torch.float64)
    with seeded(0):
        cost = float(model.terms(x).kl.mean().detach())
    for nats, pulled in ((cost + 0.1, False), (cost - 0.1, True)):
        model.zero_grad()
        with seeded(0):
            FreeBitsLoss(nats)(model, x).backward()
        free = model.posterior_head.affine.bias.grad.clone()
        model.zero_grad()
        with seeded(0):
            (-model.terms(x).log_likelihood.mean()).backward()
        assert torch.equal(free, model.posterior_head.affine.bias.grad) is not pulled
    with seeded(0):
        plain = -model.eval().elbo(x).mean()
    with seeded(0):
        torch.testing.assert_close(FreeBitsLoss(100.0)(model, x), plain)


def test_warm_up_counts_each_models_own_calls() -> None:
    loss, x = WarmUpLoss(4), torch.randn(3, 4, dtype=torch.float64)
    for _ in range(2):  # a second model starts from 0 again
        model = linear_vae().train()
        for calls in range(6):
            with seeded(0):
                value = loss(model, x)
            with seeded(0):
                torch.testing.assert_close(value, -model.elbo(x, beta=min(calls / 4, 1.0)).mean())
    with seeded(0):
        value = loss(model.eval(), x)
    with seeded(0):
        torch.testing.assert_close(value, -model.elbo(x).mean())
