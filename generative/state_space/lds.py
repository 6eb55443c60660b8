"""Linear dynamical system with Gaussian noise: Kalman filter, Rauch-Tung-Striebel smoother, expectation maximisation.

    z_1 ~ N(m, P),   z_t = A z_{t−1} + B u_t + w, w ~ N(0, Q),   x_t = C z_t + d + v, v ~ N(0, R)

Sources: Kalman 1960; Rauch et al. 1965; Shumway & Stoffer 1982. u_t are known inputs (a world model's actions).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from generative.mixtures.em import EMConfig, run_em
from generative.protocol import Given


@dataclass(frozen=True)
class Filtered:
    """Beliefs of the Kalman filter about sequences (batch, T, ...)."""

    log_likelihood: Tensor
    """log p(x_1..T | u_1..T) in nats, (batch,)."""
    mean: Tensor
    """E[z_t | x_1..t], (batch, T, K)."""
    covariance: Tensor
    """Cov[z_t | x_1..t], (T, K, K): it does not depend on the data."""
    predicted_mean: Tensor
    """E[z_t | x_1..t−1], (batch, T, K)."""
    predicted_covariance: Tensor
    """Cov[z_t | x_1..t−1], (T, K, K)."""


@dataclass(frozen=True)
class SmoothedStates:
    """Beliefs about the states given whole sequences."""

    mean: Tensor
    """E[z_t | x_1..T], (batch, T, K)."""
    covariance: Tensor
    """Cov[z_t | x_1..T], (T, K, K)."""
    cross: Tensor
    """Cov[z_{t+1}, z_t | x_1..T], (T − 1, K, K)."""


class LinearDynamicalSystem(nn.Module):
    """Linear-Gaussian state-space model; with `inputs` > 0 it is conditional on known inputs.

    Args:
        latent_dim: K, the size of the state.
        features: D, the size of an observation.
        inputs: U, the size of the input of each step; 0 for none.
        seed: of the random starting parameters.
    """

    has = frozenset({"log_prob", "sample"})

    def __init__(self, latent_dim: int, features: int, inputs: int = 0, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.latent_dim, self.features, self.inputs = latent_dim, features, inputs
        self.initial_mean = nn.Parameter(torch.zeros(latent_dim))
        self.initial_tril = nn.Parameter(torch.eye(latent_dim))
        self.transition = nn.Parameter(0.9 * torch.eye(latent_dim))
        self.control = nn.Parameter(torch.zeros(latent_dim, inputs))
        self.process_tril = nn.Parameter(0.3 * torch.eye(latent_dim))
        self.emission = nn.Parameter(torch.randn(features, latent_dim, generator=generator))
        self.offset = nn.Parameter(torch.zeros(features))
        self.noise_tril = nn.Parameter(torch.eye(features))

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x_1..T) or p(x_1..T | u_1..T), context (batch, T, U)."""
        return Given(self, context)

    @staticmethod
    def _square(lower: Tensor) -> Tensor:
        return lower.tril() @ lower.tril().T

    def filter(self, x: Tensor, context: Tensor | None = None) -> Filtered:
        """Run the Kalman filter on x (batch, T, D) with inputs (batch, T, U); the first input acts on no transition."""
        self._check(context)
        process, noise = self._square(self.process_tril), self._square(self.noise_tril)
        eye = torch.eye(self.latent_dim, dtype=x.dtype, device=x.device)
        mean, covariance = self.initial_mean.expand(len(x), -1), self._square(self.initial_tril)
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        kept: list[tuple[Tensor, ...]] = []
        for t in range(x.shape[1]):
            if t > 0:
                mean = mean @ self.transition.T
                if context is not None:
                    mean = mean + context[:, t] @ self.control.T
                covariance = self.transition @ covariance @ self.transition.T + process
            before = (mean, covariance)
            cross = self.emission @ covariance
            expected = mean @ self.emission.T + self.offset
            innovation = MultivariateNormal(expected, cross @ self.emission.T + noise, validate_args=False)
            total = total + innovation.log_prob(x[:, t])
            gain = torch.cholesky_solve(cross, innovation._unbroadcasted_scale_tril).T
            mean = mean + (x[:, t] - expected) @ gain.T
            kept_share = eye - gain @ self.emission
            # Joseph's form stays symmetric and positive
            covariance = kept_share @ covariance @ kept_share.T + gain @ noise @ gain.T
            kept.append((mean, covariance, *before))
        means, covariances, predicted, predicted_covariances = zip(*kept, strict=True)
        return Filtered(
            total, torch.stack(means, 1), torch.stack(covariances), torch.stack(predicted, 1),
            torch.stack(predicted_covariances),
        )  # fmt: skip

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x_1..T | u_1..T) in nats by the Kalman filter, (batch, T, D) -> (batch,)."""
        return self.filter(x, context).log_likelihood

    def smooth(self, x: Tensor, context: Tensor | None = None) -> SmoothedStates:
        """Run the Rauch-Tung-Striebel smoother on x (batch, T, D)."""
        f = self.filter(x, context)
        mean, covariance = f.mean[:, -1], f.covariance[-1]
        means, covariances, crosses = [mean], [covariance], []
        for t in range(x.shape[1] - 2, -1, -1):
            gain = torch.linalg.solve(f.predicted_covariance[t + 1], self.transition @ f.covariance[t]).T
            crosses.append(covariance @ gain.T)
            mean = f.mean[:, t] + (mean - f.predicted_mean[:, t + 1]) @ gain.T
            covariance = f.covariance[t] + gain @ (covariance - f.predicted_covariance[t + 1]) @ gain.T
            means.append(mean)
            covariances.append(covariance)
        cross = torch.stack(crosses[::-1]) if crosses else covariance.new_zeros(0, *covariance.shape)
        return SmoothedStates(torch.stack(means[::-1], 1), torch.stack(covariances[::-1]), cross)

    def dense(self, length: int, context: Tensor | None = None) -> MultivariateNormal:
        """Return p(x_1..T) as one Gaussian over (T D) variables, built without the filter; a check of short ones."""
        self._check(context)
        process, noise = self._square(self.process_tril), self._square(self.noise_tril)
        batch = 1 if context is None else len(context)
        mean, covariance = self.initial_mean.expand(batch, -1), self._square(self.initial_tril)
        means, marginals = [mean], [covariance]
        for t in range(1, length):
            mean = mean @ self.transition.T
            if context is not None:
                mean = mean + context[:, t] @ self.control.T
            covariance = self.transition @ covariance @ self.transition.T + process
            means.append(mean)
            marginals.append(covariance)
        rows = []
        for t in range(length):
            row = []
            for s in range(length):
                power = torch.linalg.matrix_power(self.transition, abs(t - s))
                block = power @ marginals[s] if t >= s else marginals[t] @ power.T
                row.append(self.emission @ block @ self.emission.T + (noise if t == s else 0.0))
            rows.append(torch.cat(row, 1))
        location = torch.cat([state @ self.emission.T + self.offset for state in means], -1)
        return MultivariateNormal(location, torch.cat(rows, 0), validate_args=False)

    @torch.no_grad()
    def sample(
        self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None, length: int = 50
    ) -> Tensor:
        """Return sequences (*sample_shape, length, D); with inputs (batch, T, U), (*sample_shape, batch, T, D)."""
        self._check(context)
        shape = torch.Size(sample_shape) + (torch.Size() if context is None else context.shape[:-2])
        length = length if context is None else context.shape[-2]

        def noise(lower: Tensor) -> Tensor:
            draw = torch.randn(*shape, len(lower), dtype=lower.dtype, device=lower.device)
            return draw @ lower.tril().T

        state, steps = self.initial_mean + noise(self.initial_tril), []
        for t in range(length):
            if t > 0:
                state = state @ self.transition.T + noise(self.process_tril)
                if context is not None:
                    state = state + context[..., t, :] @ self.control.T
            steps.append(state @ self.emission.T + self.offset + noise(self.noise_tril))
        return torch.stack(steps, -2)

    @torch.no_grad()
    def fit(self, x: Tensor, config: EMConfig | None = None, context: Tensor | None = None) -> list[float]:
        """Fit to x (batch, T, D) by EM; return each round's mean log-likelihood, which never falls, and the last."""
        trace = run_em(lambda: self._round(x, context), config or EMConfig(max_rounds=50))
        return [*trace, float(self.log_prob(x, context).mean())]

    def _round(self, x: Tensor, context: Tensor | None) -> Tensor:
        value = self.log_prob(x, context).mean()
        s = self.smooth(x, context)
        batch, length = x.shape[:2]
        mean, last, first = s.mean, s.mean[:, 1:].flatten(0, 1), s.mean[:, :-1].flatten(0, 1)
        inputs = x.new_zeros(batch, length, 0) if context is None else context
        regressors = torch.cat([first, inputs[:, 1:].flatten(0, 1)], -1)
        second, cross = regressors.T @ regressors, last.T @ regressors
        second[: self.latent_dim, : self.latent_dim] += batch * s.covariance[:-1].sum(0)
        cross[:, : self.latent_dim] += batch * s.cross.sum(0)
        weights = torch.linalg.solve(second, cross, left=False)
        scatter = last.T @ last + batch * s.covariance[1:].sum(0) - weights @ cross.T
        self.transition.copy_(weights[:, : self.latent_dim])
        self.control.copy_(weights[:, self.latent_dim :])
        self.process_tril.copy_(self._root(scatter / (batch * (length - 1))))
        seen = torch.cat([mean.flatten(0, 1), x.new_ones(batch * length, 1)], -1)
        second, flat = seen.T @ seen, x.flatten(0, 1)
        second[:-1, :-1] += batch * s.covariance.sum(0)
        weights = torch.linalg.solve(second, flat.T @ seen, left=False)
        residual = flat.T @ flat - weights @ (flat.T @ seen).T
        self.emission.copy_(weights[:, :-1])
        self.offset.copy_(weights[:, -1])
        self.noise_tril.copy_(self._root(residual / (batch * length)))
        centred = mean[:, 0] - mean[:, 0].mean(0)
        self.initial_mean.copy_(mean[:, 0].mean(0))
        self.initial_tril.copy_(self._root(s.covariance[0] + centred.T @ centred / batch))
        return value

    @staticmethod
    def _root(covariance: Tensor) -> Tensor:
        symmetric = 0.5 * (covariance + covariance.T)
        return torch.linalg.cholesky(symmetric + 1e-9 * torch.eye(len(symmetric)).to(symmetric))

    def _check(self, context: Tensor | None) -> None:
        given = 0 if context is None else context.shape[-1]
        if given != self.inputs:
            raise ValueError(f"the context has {given} inputs a step; this model takes {self.inputs}")
