"""Linear latent factors: factor analysis, probabilistic PCA, and a model with binary factors.

z ~ N(0, I),  x = μ + W z + ε,  ε ~ N(0, diag ψ)     factor analysis; ψ = σ² I is probabilistic PCA
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from generative.mixtures.em import EMConfig, run_em
from generative.protocol import Given, OfDistribution


class FactorAnalysis(OfDistribution):
    """N(μ, W Wᵀ + diag ψ), fitted by EM (Rubin & Thayer 1982) or, for probabilistic PCA, in closed form.

    Args:
        features: D.
        latent_dim: number of factors K < D.
        isotropic: one noise variance for all variables, which is probabilistic PCA (Tipping & Bishop 1999).
    """

    has = OfDistribution.has | {"reconstruct"}

    def __init__(self, features: int, latent_dim: int, isotropic: bool = False) -> None:
        super().__init__()
        if not 0 < latent_dim < features:
            raise ValueError(f"latent_dim is {latent_dim}; it must be between 1 and {features - 1}")
        self.isotropic = isotropic
        self.location = nn.Parameter(torch.zeros(features))
        self.loading = nn.Parameter(0.1 * torch.eye(features, latent_dim))
        self.log_noise = nn.Parameter(torch.zeros(features))

    def distribution(self) -> torch.distributions.LowRankMultivariateNormal:
        """Return N(μ, W Wᵀ + diag ψ)."""
        return torch.distributions.LowRankMultivariateNormal(
            self.location, self.loading, self.log_noise.exp(), validate_args=False
        )

    def posterior(self, x: Tensor) -> torch.distributions.MultivariateNormal:
        """Return the exact p(z | x) = N(M Wᵀ ψ⁻¹ (x − μ), M), M = (I + Wᵀ ψ⁻¹ W)⁻¹; batch (...), event (K,)."""
        weighted = self.loading / self.log_noise.exp().unsqueeze(-1)
        eye = torch.eye(self.loading.shape[1], dtype=x.dtype, device=x.device)
        covariance = torch.linalg.inv(eye + self.loading.T @ weighted)
        mean = (x - self.location) @ weighted @ covariance
        return torch.distributions.MultivariateNormal(mean, covariance.expand(*mean.shape, -1), validate_args=False)

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return E[x' | z] at the posterior's mean, (..., D)."""
        return self.location + self.posterior(x).mean @ self.loading.T

    @torch.no_grad()
    def fit(self, x: Tensor, config: EMConfig | None = None) -> list[float]:
        """Fit to x (n, D) by EM; return each round's mean log-likelihood, which never falls, and the last."""
        config = config or EMConfig(max_rounds=1000)
        generator = torch.Generator().manual_seed(config.seed)
        self.location.copy_(x.mean(0))
        variance = x.var(0, correction=0).clamp_min(1e-8)
        start = torch.randn(self.loading.shape, generator=generator, dtype=torch.float64).to(x)
        self.loading.copy_(0.3 * variance.sqrt().unsqueeze(-1) * start)
        self.log_noise.copy_((variance.mean().expand_as(variance) if self.isotropic else variance).log())
        trace = run_em(lambda: self._round(x), config)
        return [*trace, float(self.log_prob(x).mean())]

    def _round(self, x: Tensor) -> Tensor:
        value = self.log_prob(x).mean()
        posterior = self.posterior(x)
        centred, code = x - self.location, posterior.mean
        count = len(x)
        second = code.T @ code / count + posterior.covariance_matrix[0]
        cross = centred.T @ code / count
        loading = torch.linalg.solve(second, cross, left=False)
        noise = centred.square().mean(0) - (loading * cross).sum(-1)
        self.loading.copy_(loading)
        noise = noise.mean().expand_as(noise) if self.isotropic else noise
        self.log_noise.copy_(noise.clamp_min(1e-8).log())
        return value

    @torch.no_grad()
    def fit_exact(self, x: Tensor) -> float:
        """Set probabilistic PCA's maximum-likelihood solution for x (n, D); return its mean log-likelihood.

        W = U_K (Λ_K − σ² I)^½ and σ² is the mean of the discarded eigenvalues (Tipping & Bishop 1999).
        """
        if not self.isotropic:
            raise ValueError("isotropic is False; only probabilistic PCA has a closed-form solution")
        self.location.copy_(x.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(x.T.double(), correction=0))
        size = self.loading.shape[1]
        noise = values[:-size].mean()
        scale = (values[-size:] - noise).clamp_min(0.0).sqrt()
        self.loading.copy_(vectors[:, -size:] * scale)
        self.log_noise.fill_(float(noise.log()))
        return float(self.log_prob(x).mean())


class BinaryFactors(nn.Module):
    """Binary causes s ~ ∏ Bern(π_j), x = μ + W s + ε, ε ~ N(0, σ² I), fitted by variational EM with exact steps.

    q(s | x) = ∏ Bern(m_j) is memoryless: it is solved anew for every x by coordinate ascent, of which no step can
    lower the bound. Source: Saund 1995; Ghahramani & Jordan 1997 (cooperative vector quantisation).

    Args:
        features: D.
        causes: number of binary causes J; exact sums go over 2^J states.
    """

    has = frozenset({"log_prob", "elbo", "sample", "mean"})

    def __init__(self, features: int, causes: int) -> None:
        super().__init__()
        if not 1 <= causes <= 16:
            raise ValueError(f"causes is {causes}; it must be between 1 and 16, for the exact sums")
        self.location = nn.Parameter(torch.zeros(features))
        self.loading = nn.Parameter(torch.zeros(features, causes))
        self.prior_logits = nn.Parameter(torch.zeros(causes))
        self.log_noise = nn.Parameter(torch.zeros(()))

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x); the model takes no context."""
        if context is not None:
            raise ValueError("the binary-factor model takes no context")
        return Given(self)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the exact log p(x) in nats by enumeration, (..., D) -> (...)."""
        causes = self.loading.shape[1]
        states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * causes).reshape(-1, causes).to(x)
        log_prior = torch.distributions.Bernoulli(logits=self.prior_logits).log_prob(states).sum(-1)
        return torch.logsumexp(log_prior + self._log_likelihood(x.unsqueeze(-2), states), -1)

    def mean(self, context: Tensor | None = None) -> Tensor:
        """Return E[x] (D,)."""
        return self.location + self.loading @ torch.sigmoid(self.prior_logits)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, D)."""
        states = torch.bernoulli(torch.sigmoid(self.prior_logits).expand(*sample_shape, -1))
        clean = self.location + states @ self.loading.T
        return clean + (0.5 * self.log_noise).exp() * torch.randn_like(clean)

    def mean_field(self, x: Tensor, sweeps: int = 20, start: Tensor | None = None) -> Tensor:
        """Return the means m (..., J) of q(s | x) after coordinate ascent from `start` (the prior's if None)."""
        prior = torch.sigmoid(self.prior_logits)
        m = (prior.expand(*x.shape[:-1], -1) if start is None else start).clone()
        gram, precision = self.loading.T @ self.loading, torch.exp(-self.log_noise)
        drive = (x - self.location) @ self.loading
        for _ in range(sweeps):
            for j in range(m.shape[-1]):
                others = m @ gram[:, j] - m[..., j] * gram[j, j]
                m[..., j] = torch.sigmoid(
                    self.prior_logits[j] + precision * (drive[..., j] - others - 0.5 * gram[j, j])
                )
        return m

    def elbo(self, x: Tensor, context: Tensor | None = None, means: Tensor | None = None) -> Tensor:
        """Return the exact bound of the mean-field posterior in nats, (..., D) -> (...); no sampling."""
        m = (self.mean_field(x) if means is None else means).clamp(1e-7, 1.0 - 1e-7)  # a posterior with finite logits
        q = torch.distributions.Bernoulli(probs=m)
        p = torch.distributions.Bernoulli(logits=self.prior_logits.expand_as(m))
        spread = (m * (1.0 - m)) @ self.loading.square().sum(0)
        expected = self._log_likelihood(x, m) - 0.5 * torch.exp(-self.log_noise) * spread
        return expected - torch.distributions.kl_divergence(q, p).sum(-1)

    def _log_likelihood(self, x: Tensor, states: Tensor) -> Tensor:
        residual = (x - self.location - states @ self.loading.T).square().sum(-1)
        size = len(self.location)
        return -0.5 * (residual * torch.exp(-self.log_noise) + size * (self.log_noise + math.log(2.0 * math.pi)))

    @torch.no_grad()
    def fit(self, x: Tensor, config: EMConfig | None = None, sweeps: int = 5) -> list[float]:
        """Fit to x (n, D) by variational EM; return the mean bound of every round, which never falls, and the last."""
        config = config or EMConfig()
        generator = torch.Generator().manual_seed(config.seed)
        self.location.copy_(x.mean(0))
        start = torch.randn(self.loading.shape, generator=generator, dtype=torch.float64).to(x)
        self.loading.copy_(x.std() * start)
        self.prior_logits.zero_()
        self.log_noise.copy_(x.var().log())
        m = torch.full((len(x), self.loading.shape[1]), 0.5, dtype=x.dtype, device=x.device)

        def round_() -> Tensor:
            nonlocal m
            m = self.mean_field(x, sweeps, start=m)
            value = self.elbo(x, means=m).mean()
            self._maximise(x, m)
            return value

        trace = run_em(round_, config)
        return [*trace, float(self.elbo(x, means=m).mean())]

    def _maximise(self, x: Tensor, m: Tensor) -> None:
        """Regress x on the causes and a constant under q, and set noise and prior to their maximisers."""
        count, ones = len(x), torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
        inputs = torch.cat([m, ones], -1)
        second = inputs.T @ inputs
        spread = (m * (1.0 - m)).sum(0)
        second.diagonal()[:-1].add_(spread)
        weights = torch.linalg.lstsq(second, inputs.T @ x).solution.T
        self.loading.copy_(weights[:, :-1])
        self.location.copy_(weights[:, -1])
        residual = (x - inputs @ weights.T).square().sum() + spread @ self.loading.square().sum(0)
        self.log_noise.copy_((residual / (count * x.shape[1])).clamp_min(1e-10).log())
        self.prior_logits.copy_(torch.logit(m.mean(0).clamp(1e-6, 1.0 - 1e-6)))
