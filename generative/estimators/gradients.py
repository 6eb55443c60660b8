"""Gradients of an expectation E_q[f(z)] with respect to q's parameters: pathwise, score-function, DARN's.

Each function returns a scalar whose value estimates E_q[f] and whose `backward` gives the estimator's gradient.
Mohamed's lecture, "Stochastic gradient estimators"; Mohamed et al., arXiv 1906.10652.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

Integrand = Callable[[Tensor], Tensor]
"""f: samples (n, *batch, *event) -> values (n, *batch)."""


def pathwise(f: Integrand, q: Distribution, samples: int = 1) -> Tensor:
    """Differentiate f along z = g(ε, θ): ∇ E_q[f] = E_ε[∇_z f · ∇_θ g]; needs a reparameterised q and a smooth f."""
    if not q.has_rsample:
        raise ValueError(f"{type(q).__name__} has no rsample; use score_function")
    return f(q.rsample(torch.Size((samples,)))).mean()


def leave_one_out(values: Tensor) -> Tensor:
    """Return for each of n samples the mean of the other ones, (n, ...) -> (n, ...)."""
    count = values.shape[0]
    if count < 2:
        raise ValueError("the leave-one-out baseline needs at least 2 samples")
    return (values.sum(0) - values) / (count - 1)


def score_function(
    f: Integrand,
    q: Distribution,
    samples: int = 1,
    baseline: Tensor | Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Differentiate the density: ∇ E_q[f] = E_q[(f(z) − b) ∇ log q(z)] + E_q[∇f], for any q and f (REINFORCE).

    Args:
        f: the integrand; where it depends on parameters itself, its own gradient is included.
        q: any distribution with a `log_prob`.
        samples: n.
        baseline: b, which must not depend on its own sample: a tensor, a function of the n values such as
            `leave_one_out`, or None for zero.
    """
    z = q.sample(torch.Size((samples,)))
    values = f(z)
    fixed = values.detach()
    b = baseline(fixed) if callable(baseline) else baseline
    weight = fixed if b is None else fixed - b.detach()
    log_q = q.log_prob(z)
    return (values + weight * (log_q - log_q.detach())).mean()


class RunningBaseline(nn.Module):
    """An exponential average of the values seen before: NVIL's constant baseline (Mnih & Gregor, arXiv 1402.0030)."""

    value: Tensor
    seen: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay is {decay}; it must be in [0, 1)")
        self.decay = decay
        self.register_buffer("value", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        """Return the average before these values, then take them in."""
        before = self.value / (1.0 - self.decay**self.seen).clamp_min(1e-12)
        self.value = self.decay * self.value + (1.0 - self.decay) * values.mean()
        self.seen = self.seen + 1
        return before


class LearnedBaseline(nn.Module):
    """A network of the context that regresses the values: NVIL's input-dependent baseline.

    Args:
        network: context (*batch, C) -> (*batch, 1).

    After `score_function(f, q, n, baseline(context))`, minimise `baseline.loss(context, values)` as well.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, context: Tensor) -> Tensor:
        """Return the baseline (*batch,)."""
        return self.network(context).squeeze(-1)

    def loss(self, context: Tensor, values: Tensor) -> Tensor:
        """Return the mean squared error against values (n, *batch)."""
        return (self(context) - values.detach()).square().mean()


def darn_sample(logits: Tensor) -> Tensor:
    """Sample h ~ Bern(σ(a)) with DARN's gradient: ∂h/∂q(1) := 1 / (2 q(h)) (Gregor et al., arXiv 1310.8499, eq. 24).

    The score-function estimator with the first-order Taylor expansion of f at ½ as its baseline: unbiased where f is at
    most quadratic in each h, biased otherwise. (...) -> (...); feed the result to f and call `backward`.
    """
    p = torch.sigmoid(logits)
    h = torch.bernoulli(p.detach())
    mass = torch.where(h > 0, p, 1.0 - p).detach().clamp_min(torch.finfo(p.dtype).tiny)
    return h + (p - p.detach()) / (2.0 * mass)


def darn(f: Integrand, logits: Tensor, samples: int = 1) -> Tensor:
    """Return the mean of f over samples h ~ Bern(σ(a)) with DARN's gradient; f must be differentiable in h."""
    return f(darn_sample(logits.expand(samples, *logits.shape))).mean()
