"""Objectives of latent-variable models: bounds on log p(x), importance-sampled evidence, inference without memory.

Everything is built on the log weight of one sample z ~ q(z | x),

    log w = log p(x | z) + log p(z) − log q(z | x),      E_q[w] = p(x),

so that any model with `terms(x, context) -> Terms` has every bound here. All values are in nats; a free energy F is
the negative of a bound, and is what is minimised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from generative.divergences import kl


@dataclass(frozen=True)
class Terms:
    """What one sample of the latent variables gives to a bound; every tensor is (...), the batch shape, in nats."""

    log_likelihood: Tensor
    """log p(x | z)."""
    log_prior: Tensor
    """log p(z), summed over every latent variable."""
    log_posterior: Tensor
    """log q(z | x), summed over every latent variable."""
    kl: Tensor
    """KL[q ‖ p]: in closed form where there is one (the bound is then less noisy), else log q − log p of the sample."""
    kl_units: tuple[Tensor, ...] = ()
    """KL of each latent unit, layer by layer, (..., units), where it factorises."""

    @property
    def log_weight(self) -> Tensor:
        """log w = log p(x | z) + log p(z) − log q(z | x)."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    def elbo(self, beta: float | Tensor = 1.0) -> Tensor:
        """log p(x | z) − β KL[q ‖ p]; a bound on log p(x) in expectation for β ≥ 1, the ELBO for β = 1."""
        return self.log_likelihood - beta * self.kl


class LatentVariableModel(Protocol):
    """A model that can be asked for the terms of its bound."""

    def terms(self, x: Tensor, context: Tensor | None = None) -> Terms:
        """Draw one z ~ q(z | x, context) for every x (..., D) and return its terms, differentiable where q allows."""


def sampled_terms(log_likelihood: Tensor, z: Tensor, q: Distribution, p: Distribution) -> Terms:
    """Return the terms of one latent layer whose KL has a closed form; z ~ q, event dimension last."""
    units: tuple[Tensor, ...] = ()
    if isinstance(q, Independent) and isinstance(p, Independent):
        units = (torch.distributions.kl_divergence(q.base_dist, p.base_dist),)
    return Terms(log_likelihood, p.log_prob(z), q.log_prob(z), kl(q, p), units)


def free_energy(model: LatentVariableModel, x: Tensor, context: Tensor | None = None, beta: float = 1.0) -> Tensor:
    """Variational free energy F = KL[q ‖ p(z)] − E_q log p(x | z) ≥ −log p(x), one sample, (..., D) -> (...)."""
    return -model.terms(x, context).elbo(beta)


def log_weights(model: LatentVariableModel, x: Tensor, context: Tensor | None = None, samples: int = 1) -> Tensor:
    """Return independent log weights (samples, ...) of x (..., D)."""
    if samples < 1:
        raise ValueError(f"samples is {samples}; it must be at least 1")
    many = x.expand(samples, *x.shape)
    return model.terms(many, None if context is None else context.expand(samples, *context.shape)).log_weight


def importance_weighted_bound(weights: Tensor) -> Tensor:
    """L_K = E log (1/K) Σ_k w_k from log weights (K, ...): L_1 = ELBO ≤ L_K ≤ L_{K+1} ≤ log p(x).

    Source: Burda et al., arXiv 1509.00519.
    """
    return torch.logsumexp(weights, 0) - math.log(len(weights))


def renyi_bound(weights: Tensor, alpha: float) -> Tensor:
    """L_α = 1 / (1 − α) log (1/K) Σ_k w_k^(1 − α) from log weights (K, ...).

    α = 1 is the ELBO, α = 0 the importance-weighted bound, α = −∞ the largest weight (VR-max); it does not rise with α.
    Source: Li & Turner, arXiv 1602.02311. (The lecture's slide prints the exponent outside the sum; a slip.)
    """
    if alpha == 1.0:
        return weights.mean(0)
    if alpha == -math.inf:
        return weights.amax(0)
    if not math.isfinite(alpha):
        raise ValueError(f"alpha is {alpha}; allowed: any number, or -inf for the largest weight")
    return importance_weighted_bound((1.0 - alpha) * weights) / (1.0 - alpha)


@torch.no_grad()
def log_evidence(
    model: LatentVariableModel, x: Tensor, context: Tensor | None = None, samples: int = 1000, chunk: int = 100
) -> Tensor:
    """Estimate log p(x) by `samples` weights in chunks of `chunk`, (..., D) -> (...); in expectation L_S ≤ log p(x)."""
    total, left = None, samples
    while left > 0:
        size = min(chunk, left)
        piece = torch.logsumexp(log_weights(model, x, context, size), 0)
        total = piece if total is None else torch.logaddexp(total, piece)
        left -= size
    if total is None:
        raise ValueError(f"samples is {samples}; it must be at least 1")
    return total - math.log(samples)


@dataclass(frozen=True)
class DescriptionLength:
    """Two-part code length of data in nats (divide by log 2 for bits), each of the batch shape; MDL's reading of F."""

    data: Tensor
    """−log p(x | z): the data, given the hypothesis."""
    hypothesis: Tensor
    """−log p(z): the hypothesis in the prior's code."""
    returned: Tensor
    """−log q(z | x): bits back; the choice of z carries a message of this length."""

    @property
    def total(self) -> Tensor:
        """Net length: its expectation is the free energy F ≥ −log p(x)."""
        return self.data + self.hypothesis - self.returned


def description_length(model: LatentVariableModel, x: Tensor, context: Tensor | None = None) -> DescriptionLength:
    """Return the code length of x (..., D) with one z ~ q (Hinton & van Camp 1993)."""
    terms = model.terms(x, context)
    return DescriptionLength(-terms.log_likelihood, -terms.log_prior, -terms.log_posterior)


@torch.no_grad()
def active_units(model: LatentVariableModel, x: Tensor, threshold: float = 0.01) -> tuple[int, ...]:
    """Return for each latent layer the number of units whose mean KL over x (n, D) exceeds the threshold, in nats."""
    return tuple(int((units.mean(0) > threshold).sum()) for units in model.terms(x).kl_units)


class GaussianDecoderModel(Protocol):
    """A latent Gaussian model as memoryless inference needs it."""

    def prior(self, context: Tensor | None, like: Tensor) -> Distribution:
        """Return p(z | context)."""

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Independent:
        """Return the amortised q(z | x, context)."""

    def decode(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """Return p(x | z, context)."""


def memoryless_posterior(
    model: GaussianDecoderModel,
    x: Tensor,
    context: Tensor | None = None,
    *,
    steps: int = 200,
    learning_rate: float = 0.05,
    samples: int = 8,
) -> Independent:
    """Solve for the best diagonal Gaussian q(z) of every x (batch, D) by itself, starting from the amortised one.

    The E-step of the lecture's memoryless inference: Adam on the ELBO over each mean and log scale; the model's
    parameters are left alone. The amortisation gap is this posterior's ELBO minus the inference network's.
    """
    with torch.no_grad():
        start = model.posterior(x, context).base_dist
    mean, log_scale = start.loc.clone().requires_grad_(), start.scale.log().requires_grad_()
    optimiser = torch.optim.Adam([mean, log_scale], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        loss = -gaussian_elbo(model, x, mean, log_scale, context, samples).sum()
        mean.grad, log_scale.grad = torch.autograd.grad(loss, (mean, log_scale))
        optimiser.step()
        schedule.step()
    return Independent(Normal(mean.detach(), log_scale.detach().exp()), 1)


def gaussian_elbo(
    model: GaussianDecoderModel,
    x: Tensor,
    mean: Tensor,
    log_scale: Tensor,
    context: Tensor | None = None,
    samples: int = 1,
) -> Tensor:
    """ELBO of x (batch, D) under q(z) = N(mean, exp(log_scale)²), averaged over samples, (batch,) in nats."""
    q = Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)
    z = q.rsample(torch.Size([samples]))
    given = None if context is None else context.expand(samples, *context.shape)
    return model.decode(z, given).log_prob(x).mean(0) - kl(q, model.prior(context, mean))


def variational_em(
    model: GaussianDecoderModel,
    x: Tensor,
    parameters: Iterable[nn.Parameter],
    *,
    rounds: int = 20,
    e_steps: int = 50,
    m_steps: int = 20,
    learning_rate: float = 1e-2,
    samples: int = 16,
    seed: int = 0,
) -> list[float]:
    """Alternate memoryless E-steps and M-steps on fixed noise; return the mean ELBO after every half-round.

    With the noise ε of z = m + s ε held fixed the ELBO is an ordinary function of (m, s) and the model's parameters,
    and each half-round keeps its result only where that function rose, so the returned values never fall.
    (`generative.mixtures` has the models whose two steps are exact.)
    """
    free = list(parameters)
    generator = torch.Generator().manual_seed(seed)
    size = model.posterior(x[:1]).event_shape[0]
    noise = torch.randn(samples, len(x), size, generator=generator, dtype=torch.float64).to(x)
    mean = torch.zeros(len(x), size, dtype=x.dtype, device=x.device, requires_grad=True)
    log_scale = torch.zeros_like(mean, requires_grad=True)

    def objective() -> Tensor:
        q = Independent(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)
        z = mean + log_scale.exp() * noise
        return (model.decode(z).log_prob(x).mean(0) - kl(q, model.prior(None, mean))).mean()

    trace = [float(objective().detach())]
    for _ in range(rounds):
        for variables, steps in (([mean, log_scale], e_steps), (free, m_steps)):
            trace.append(_ascend(objective, variables, steps, learning_rate, trace[-1]))
    return trace


def _ascend(
    objective: Callable[[], Tensor], variables: Sequence[Tensor], steps: int, learning_rate: float, start: float
) -> float:
    """Raise an objective by Adam and leave the variables at the best value seen, which is returned."""
    best, kept = start, [variable.detach().clone() for variable in variables]
    optimiser = torch.optim.Adam(list(variables), lr=learning_rate, maximize=True)
    for _ in range(steps):
        value = objective()
        if float(value.detach()) > best:
            best, kept = float(value.detach()), [variable.detach().clone() for variable in variables]
        for variable, gradient in zip(variables, torch.autograd.grad(value, list(variables)), strict=True):
            variable.grad = gradient
        optimiser.step()
    with torch.no_grad():
        for variable, value in zip(variables, kept, strict=True):
            variable.copy_(value)
    return best
