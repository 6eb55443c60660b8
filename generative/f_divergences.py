"""The f-divergences of the lecture as data: twelve rows of generator, conjugate, output activation and domain.

D_f(P ‖ Q) = ∫ q f(p/q) dx = sup_T E_P[T] − E_Q[f*(T)],  attained at T* = f'(p/q)

A critic network gives a free v; the row's output activation g_f carries it into the domain of f*, and

F = E_P[g_f(V(x))] − E_Q[f*(g_f(V(x)))] ≤ D_f(P ‖ Q)

Source: Nowozin et al., arXiv 1606.00709, tables 1, 2, 5 and 6; Abbasnejad's lecture, "Divergences in GANs".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from generative.names import unknown

Elementwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FDivergence:
    """One row of the table; every function is elementwise."""

    name: str
    """Its name."""
    generator: Elementwise
    """f(u) for u > 0, convex."""
    derivative: Elementwise
    """f'(u): the optimal critic at the density ratio u = p/q."""
    conjugate_inside: Elementwise
    """f*(t) = sup_u {u t − f(u)} for t inside the domain; `conjugate` takes any t."""
    activate: Elementwise
    """g_f(v); `activation` takes any v."""
    penalise: Elementwise
    """f*(g_f(v)) in a form without cancellation; `penalty` takes any v."""
    domain: tuple[float, float]
    """Where f* is finite and t is attained by some u ≥ 0; infinite ends are left free."""
    slope_at_one: float
    """f'(1)."""
    limit: float = 60.0
    """Largest |v| that is told apart, so that nothing overflows in float32."""

    def conjugate(self, t: Tensor) -> Tensor:
        """Return f*(t), with t clamped to the domain (a hair inside it, where the end is open); any shape."""
        hair = torch.finfo(t.dtype).eps
        low, high = self.domain
        if math.isfinite(low):
            t = t.clamp_min(low + hair * max(1.0, abs(low)))
        if math.isfinite(high):
            t = t.clamp_max(high - hair * max(1.0, abs(high)))
        return self.conjugate_inside(t)

    def activation(self, v: Tensor) -> Tensor:
        """Return g_f(v), inside the domain for every v; any shape."""
        return self.activate(v.clamp(-self.limit, self.limit))

    def penalty(self, v: Tensor) -> Tensor:
        """Return f*(g_f(v)), finite for every finite v; any shape."""
        return self.penalise(v.clamp(-self.limit, self.limit))

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return F = E_P[g_f(v)] − E_Q[f*(g_f(v))] ≤ D_f(P ‖ Q) from the critic's v at samples of P and Q; scalar."""
        return self.activation(real).mean() - self.penalty(fake).mean()

    def divergence(self, log_p: Tensor, log_q: Tensor, weights: Tensor | float) -> Tensor:
        """Return ∫ q f(p/q) by quadrature from log densities at nodes (n,) with weights (n,) or one spacing; scalar."""
        return (log_q.exp() * self.generator((log_p - log_q).exp()) * weights).sum()


def _log_lambert(s: Tensor) -> Tensor:
    """Return l = log W(e^s), the root of e^l + l = s, by Newton's steps from its right, where they cannot overshoot."""
    s = s.clamp_max(1e30)
    root = torch.where(s > 1.0, s.clamp_min(1.0).log(), s)
    for _ in range(8):
        power = root.exp()
        root = root - (power + root - s) / (power + 1.0)
    return root


def _jeffrey_conjugate(t: Tensor) -> Tensor:
    """W(e^(1−t)) + 1/W(e^(1−t)) + t − 2, which with l = log W is e^(−l) − 1 − l: no difference of large numbers."""
    root = _log_lambert(1.0 - t)
    return torch.expm1(-root) - root


def weighted_jensen_shannon(pi: float) -> FDivergence:
    """The Jensen-Shannon divergence π KL(P ‖ M) + (1 − π) KL(Q ‖ M), M = π P + (1 − π) Q.

    At π = ½ this is the symmetric JSD, half of the lecture's row "Jensen-Shannon". ValueError outside (0, 1).
    """
    if not 0.0 < pi < 1.0:
        raise ValueError(f"pi is {pi}; it must be in (0, 1)")
    constant = (1.0 - pi) * math.log(1.0 - pi)

    def conjugate(t: Tensor) -> Tensor:
        return constant - (1.0 - pi) * torch.log(-torch.expm1(t / pi + math.log(pi)))

    def penalty(v: Tensor) -> Tensor:
        return constant - (1.0 - pi) * torch.log(-torch.expm1(-F.softplus(-v) / pi))

    return FDivergence(
        "weighted-jensen-shannon",
        lambda u: pi * torch.xlogy(u, u) - torch.xlogy(1.0 - pi + pi * u, 1.0 - pi + pi * u),
        lambda u: -pi * torch.log((1.0 - pi) / u + pi),
        conjugate,
        lambda v: -pi * math.log(pi) - F.softplus(-v),
        penalty,
        (-math.inf, -pi * math.log(pi)),
        0.0,
    )


def alpha_divergence(alpha: float) -> FDivergence:
    """The α-divergence, f(u) = (u^α − 1 − α (u − 1)) / (α (α − 1)); ValueError for α = 0 or 1 (the two KLs).

    Below 1 the domain ends at 1 / (1 − α); above 1 the conjugate is −1/α, at u = 0, for t ≤ −1 / (α − 1).
    """
    if alpha in (0.0, 1.0):
        raise ValueError(f"alpha is {alpha}; it must be neither 0 nor 1, where the limits are reverse-kl and kl")
    power = alpha / (alpha - 1.0)

    def conjugate(t: Tensor) -> Tensor:
        return ((t * (alpha - 1.0) + 1.0).clamp_min(0.0) ** power - 1.0) / alpha

    def f(u: Tensor) -> Tensor:
        return (u**alpha - 1.0 - alpha * (u - 1.0)) / (alpha * (alpha - 1.0))

    def derivative(u: Tensor) -> Tensor:
        return (u ** (alpha - 1.0) - 1.0) / (alpha - 1.0)

    if alpha > 1.0:
        domain = (-1.0 / (alpha - 1.0), math.inf)
        limit = min(1e6, math.exp(60.0 / power))
        return FDivergence("alpha-above-1", f, derivative, conjugate, lambda v: v, conjugate, domain, 0.0, limit)

    def penalty(v: Tensor) -> Tensor:
        return ((power * torch.log((1.0 - alpha) * F.softplus(-v))).exp() - 1.0) / alpha

    edge = 1.0 / (1.0 - alpha)
    return FDivergence(
        "alpha-below-1",
        f,
        derivative,
        conjugate,
        lambda v: edge - F.softplus(-v),
        penalty,
        (-math.inf, edge),
        0.0,
        60.0 / max(1.0, abs(power)),
    )


def _pearson_conjugate(t: Tensor) -> Tensor:
    """t²/4 + t, and −1 (at u = 0) for t ≤ −2."""
    t = t.clamp_min(-2.0)
    return 0.25 * t.square() + t


LOG_2 = math.log(2.0)
FREE = (-math.inf, math.inf)

TABLE: tuple[FDivergence, ...] = (
    FDivergence(
        "total-variation",
        lambda u: 0.5 * (u - 1.0).abs(),
        lambda u: 0.5 * torch.sign(u - 1.0),
        lambda t: t,
        lambda v: 0.5 * torch.tanh(v),
        lambda v: 0.5 * torch.tanh(v),
        (-0.5, 0.5),
        0.0,
    ),
    FDivergence(
        "kl",
        lambda u: torch.xlogy(u, u),
        lambda u: 1.0 + u.log(),
        lambda t: (t - 1.0).exp(),
        lambda v: v,
        lambda v: (v - 1.0).exp(),
        FREE,
        1.0,
    ),
    FDivergence(
        "reverse-kl",
        lambda u: -u.log(),
        lambda u: -1.0 / u,
        lambda t: -1.0 - torch.log(-t),
        lambda v: -v.exp(),
        lambda v: -1.0 - v,
        (-math.inf, 0.0),
        -1.0,
    ),
    FDivergence(
        "pearson",
        lambda u: (u - 1.0).square(),
        lambda u: 2.0 * (u - 1.0),
        _pearson_conjugate,
        lambda v: v,
        _pearson_conjugate,
        (-2.0, math.inf),
        0.0,
        1e6,
    ),
    FDivergence(
        "neyman",
        lambda u: (1.0 - u).square() / u,
        lambda u: 1.0 - u**-2.0,
        lambda t: 2.0 - 2.0 * (1.0 - t).sqrt(),
        lambda v: -torch.expm1(v),
        lambda v: -2.0 * torch.expm1(0.5 * v),
        (-math.inf, 1.0),
        0.0,
    ),
    FDivergence(
        "squared-hellinger",
        lambda u: (u.sqrt() - 1.0).square(),
        lambda u: 1.0 - u**-0.5,
        lambda t: t / (1.0 - t),
        lambda v: -torch.expm1(v),
        lambda v: torch.expm1(-v),
        (-math.inf, 1.0),
        0.0,
    ),
    FDivergence(
        "jeffrey",
        lambda u: (u - 1.0) * u.log(),
        lambda u: 1.0 - 1.0 / u + u.log(),
        _jeffrey_conjugate,
        lambda v: v,
        _jeffrey_conjugate,
        FREE,
        0.0,
    ),
    FDivergence(
        "jensen-shannon",
        lambda u: torch.xlogy(u, u) - (u + 1.0) * torch.log(0.5 * (u + 1.0)),
        lambda u: -torch.log(0.5 * (1.0 + 1.0 / u)),
        lambda t: -torch.log(2.0 - t.exp()),
        lambda v: LOG_2 - F.softplus(-v),
        lambda v: F.softplus(v) - LOG_2,
        (-math.inf, LOG_2),
        0.0,
    ),
    weighted_jensen_shannon(0.3),
    FDivergence(
        "gan",
        lambda u: torch.xlogy(u, u) - torch.xlogy(u + 1.0, u + 1.0),
        lambda u: -torch.log1p(1.0 / u),
        lambda t: -torch.log(-torch.expm1(t)),
        F.logsigmoid,
        F.softplus,
        (-math.inf, 0.0),
        -LOG_2,
    ),
    alpha_divergence(0.5),
    alpha_divergence(1.5),
)
"""The lecture's twelve rows in its order; "weighted-jensen-shannon" has π = 0.3, the α-divergences α = ½ and 3/2.

"jensen-shannon" is twice the usual JSD, "gan" is twice the JSD less log 4, "jeffrey" is KL(P ‖ Q) + KL(Q ‖ P), and
"total-variation" is ½ ∫ |p − q|.
"""
ROWS = {row.name: row for row in TABLE}


def f_divergence(name: str) -> FDivergence:
    """Return a row by name; ValueError, with the nearest name, for an unknown one."""
    if name not in ROWS:
        raise ValueError(unknown("f-divergence", name, ROWS))
    return ROWS[name]
