"""Mixtures and factor models against scikit-learn, enumeration and closed forms."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.decomposition import FactorAnalysis as SklearnFactorAnalysis
from sklearn.mixture import GaussianMixture

from generative.data import load, moons
from generative.mixtures import (
    BinaryFactors,
    EMConfig,
    FactorAnalysis,
    bernoulli_mixture,
    gaussian_mixture,
)
from generative.training import seeded


def points(count: int = 2000) -> torch.Tensor:
    return moons(0.1).sample_labelled(count, torch.Generator().manual_seed(0))[0].double()


def digits() -> torch.Tensor:
    return torch.tensor(load_digits().data[:600]) / 16.0


def rises(trace: list[float], slack: float = 1e-7) -> bool:
    return all(after >= before - slack for before, after in itertools.pairwise(trace))


def test_gaussian_mixture_reaches_scikit_learns_score() -> None:
    x = points()
    ours = gaussian_mixture(8, 2).double()
    trace = ours.fit(x, EMConfig(max_rounds=300, restarts=4))
    theirs = GaussianMixture(8, n_init=4, max_iter=300, tol=1e-6, random_state=0).fit(x.numpy())
    assert float(ours.log_prob(x).mean()) > theirs.score(x.numpy()) - 0.1
    assert rises(trace, 1e-5)  # the variance floor costs less than this


def test_gaussian_mixture_density_is_scikit_learns_at_its_parameters() -> None:
    x = points(500)
    theirs = GaussianMixture(3, random_state=0).fit(x.numpy())
    ours = gaussian_mixture(3, 2).double()
    with torch.no_grad():
        ours.logits.copy_(torch.tensor(np.log(theirs.weights_)))
        ours.components.location.copy_(torch.tensor(theirs.means_))
        ours.components.scale_tril.copy_(torch.linalg.cholesky(torch.tensor(theirs.covariances_)))
        np.testing.assert_allclose(ours.log_prob(x).numpy(), theirs.score_samples(x.numpy()), rtol=1e-9)
        np.testing.assert_allclose(ours.responsibilities(x).numpy(), theirs.predict_proba(x.numpy()), atol=1e-9)


def test_gaussian_mixture_integrates_to_one() -> None:
    model = gaussian_mixture(4, 2).double()
    model.fit(points(500), EMConfig(max_rounds=20))
    axis = torch.linspace(-4.0, 5.0, 361, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = float(model.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2)
    assert total == pytest.approx(1.0, abs=1e-3)


def test_gaussian_mixture_samples_have_its_moments() -> None:
    model = gaussian_mixture(4, 2).double()
    model.fit(points(), EMConfig(max_rounds=30))
    with seeded(0):
        drawn = model.sample((20_000,))
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - model.mean()).abs() < 4.0 * error).all()


def test_bernoulli_mixture_sums_to_one_and_em_never_falls() -> None:
    x = (digits()[:, 18:28] > 0.5).double()
    model = bernoulli_mixture(3, 10).double()
    trace = model.fit(x, EMConfig(max_rounds=100))
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 10)
    assert float(model.log_prob(states).exp().sum()) == pytest.approx(1.0, abs=1e-9)
    assert rises(trace, 1e-5)  # bounded logits cost less than this


def test_one_bernoulli_component_is_the_independent_model() -> None:
    x = (digits()[:, 18:28] > 0.5).double()
    model = bernoulli_mixture(1, 10).double()
    model.fit(x)
    p = x.mean(0).clamp(1e-12, 1 - 1e-12)
    exact = float((p * p.log() + (1 - p) * (1 - p).log()).sum())
    assert float(model.log_prob(x).mean()) == pytest.approx(exact, abs=1e-4)


def test_bernoulli_mixture_beats_independence_on_held_out_digits() -> None:
    data = load("digits-binary")
    one, many = bernoulli_mixture(1, 64, 1.0), bernoulli_mixture(20, 64, 1.0)
    one.fit(data.train)
    many.fit(data.train, EMConfig(max_rounds=50))
    assert float(many.log_prob(data.validation).mean()) > float(one.log_prob(data.validation).mean()) + 3.0


def test_factor_analysis_reaches_scikit_learns_score() -> None:
    x = digits()[:, 10:30]
    x = x[:, x.std(0) > 0.05]
    ours = FactorAnalysis(x.shape[1], 4).double()
    trace = ours.fit(x, EMConfig(max_rounds=1000, tolerance=1e-7))
    theirs = SklearnFactorAnalysis(4, tol=1e-8, max_iter=5000, random_state=0).fit(x.numpy())
    assert float(ours.log_prob(x).mean()) == pytest.approx(theirs.score(x.numpy()), abs=0.1)
    assert rises(trace)


def test_probabilistic_pca_closed_form_is_scikit_learns_and_em_gets_there() -> None:
    x = digits()[:, 16:32]
    closed, fitted = (FactorAnalysis(16, 3, isotropic=True).double() for _ in range(2))
    exact = closed.fit_exact(x)
    reference = PCA(3, svd_solver="full").fit(x.numpy())
    # scikit-learn divides by n - 1, so its parameters are a hair off the maximum
    assert exact == pytest.approx(reference.score(x.numpy()), abs=1e-3)
    assert exact >= reference.score(x.numpy()) - 1e-9
    trace = fitted.fit(x, EMConfig(max_rounds=2000, tolerance=1e-8))
    assert trace[-1] == pytest.approx(exact, abs=1e-3)
    assert trace[-1] <= exact + 1e-9
    assert rises(trace)


def test_factor_posterior_is_bayes_rule() -> None:
    x = digits()[:50, 16:24]
    model = FactorAnalysis(8, 2).double()
    model.fit(digits()[:, 16:24], EMConfig(max_rounds=50))
    z = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        noise = model.log_noise.exp().sqrt()
        log_joint = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1) + torch.distributions.Normal(
            model.location + z @ model.loading.T, noise
        ).log_prob(x).sum(-1)
        torch.testing.assert_close(log_joint - model.posterior(x).log_prob(z), model.log_prob(x))


def test_variational_em_of_binary_factors_never_falls_and_bounds_the_evidence() -> None:
    generator = torch.Generator().manual_seed(1)
    loading = 2.0 * torch.randn(8, 4, generator=generator, dtype=torch.float64)
    causes = torch.bernoulli(torch.full((400, 4), 0.4, dtype=torch.float64), generator=generator)
    x = causes @ loading.T + 0.5 * torch.randn(400, 8, generator=generator, dtype=torch.float64)
    model = BinaryFactors(8, 4).double()
    trace = model.fit(x, EMConfig(max_rounds=60, seed=2))
    assert rises(trace)
    assert trace[-1] > trace[0] + 1.0
    with torch.no_grad():
        gap = model.log_prob(x) - model.elbo(x)
    assert float(gap.min()) > -1e-9
    assert trace[-1] <= float(model.log_prob(x).mean())


def test_binary_factor_evidence_is_the_sum_over_states() -> None:
    model = BinaryFactors(3, 2).double()
    with torch.no_grad():
        model.loading.copy_(torch.tensor([[1.0, 0.5], [0.0, -1.0], [2.0, 0.3]]))
        model.prior_logits.copy_(torch.tensor([0.3, -0.7]))
        x = torch.tensor([[0.2, -0.4, 1.0]], dtype=torch.float64)
        prior = torch.sigmoid(model.prior_logits)
        total = 0.0
        for state in itertools.product((0.0, 1.0), repeat=2):
            s = torch.tensor(state, dtype=torch.float64)
            weight = float(torch.where(s > 0, prior, 1.0 - prior).prod())
            density = torch.distributions.Normal(model.loading @ s, 1.0).log_prob(x).sum().exp()
            total += weight * float(density)
        assert float(model.log_prob(x)) == pytest.approx(np.log(total), abs=1e-9)


def test_mixtures_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match="2 points; 3 components"):
        gaussian_mixture(3, 2).fit(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="latent_dim is 4"):
        FactorAnalysis(4, 4)
    with pytest.raises(ValueError, match="closed-form"):
        FactorAnalysis(4, 2).fit_exact(torch.zeros(5, 4))
