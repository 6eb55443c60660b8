"""Planar and radial flows (Rezende & Mohamed, arXiv 1505.05770): contractions along a plane or around a point."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.nn import functional as F

_UNIT = math.log(math.expm1(1.0))
"""Where softplus is one."""


class PlanarTransform(Transform):
    """f(z) = z + û tanh(wᵀz + b); û = u + (softplus(wᵀu + c) − 1 − wᵀu) w / ‖w‖² makes wᵀû > −1 and f invertible.

    c = log(e − 1) makes û = u where wᵀu = 0, so that small parameters start near the identity (the paper has c = 0).

    log |det| = log |1 + ûᵀw (1 − tanh²)|. The inverse solves wᵀy = a + wᵀû tanh(a + b) for a = wᵀz by bisection, which
    is where its precision comes from (about 60 halvings), and is not differentiable.

    Args:
        u: direction (..., D).
        w: normal of the plane (..., D).
        b: offset (...).
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, u: Tensor, w: Tensor, b: Tensor) -> None:
        super().__init__()
        along = (u * w).sum(-1, keepdim=True)
        self.u = u + (F.softplus(along + _UNIT) - 1.0 - along) * w / w.square().sum(-1, keepdim=True).clamp_min(1e-12)
        self.w = w
        self.b = b

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(z) and log |det|."""
        h = torch.tanh((z * self.w).sum(-1) + self.b)
        slope = 1.0 + (1.0 - h.square()) * (self.u * self.w).sum(-1)
        return z + self.u * h.unsqueeze(-1), slope.log()

    def _call(self, z: Tensor) -> Tensor:
        return self.call_and_ladj(z)[0]

    def log_abs_det_jacobian(self, z: Tensor, y: Tensor) -> Tensor:
        """Return log |det| at z."""
        return self.call_and_ladj(z)[1]

    @torch.no_grad()
    def _inverse(self, y: Tensor) -> Tensor:
        target = (y * self.w).sum(-1)
        gain = (self.u * self.w).sum(-1)
        low, high = target - gain.abs(), target + gain.abs()
        for _ in range(60):
            middle = 0.5 * (low + high)
            above = middle + gain * torch.tanh(middle + self.b) > target
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return y - self.u * torch.tanh(0.5 * (low + high) + self.b).unsqueeze(-1)


class RadialTransform(Transform):
    """f(z) = z + β (z − z₀) / (α + r), r = ‖z − z₀‖, α > 0, β = α (softplus(raw + c) − 1) > −α, zero at raw = 0.

    log |det| = (D − 1) log(1 + β h) + log(1 + β h − β r h²), h = 1 / (α + r). The inverse is the positive root of
    r² + (α + β − ‖y − z₀‖) r − α ‖y − z₀‖ = 0.

    Args:
        centre: z₀ (..., D).
        raw_alpha: (...), through softplus.
        raw_beta: (...), through softplus.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, centre: Tensor, raw_alpha: Tensor, raw_beta: Tensor) -> None:
        super().__init__()
        self.centre = centre
        self.alpha = F.softplus(raw_alpha)
        self.beta = self.alpha * (F.softplus(raw_beta + _UNIT) - 1.0)

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(z) and log |det|."""
        difference = z - self.centre
        r = torch.linalg.vector_norm(difference, dim=-1)
        h = 1.0 / (self.alpha + r)
        stretch = 1.0 + self.beta * h
        log_det = (z.shape[-1] - 1) * stretch.log() + (stretch - self.beta * r * h.square()).log()
        return z + (self.beta * h).unsqueeze(-1) * difference, log_det

    def _call(self, z: Tensor) -> Tensor:
        return self.call_and_ladj(z)[0]

    def log_abs_det_jacobian(self, z: Tensor, y: Tensor) -> Tensor:
        """Return log |det| at z."""
        return self.call_and_ladj(z)[1]

    def _inverse(self, y: Tensor) -> Tensor:
        difference = y - self.centre
        radius = torch.linalg.vector_norm(difference, dim=-1)
        half = 0.5 * (self.alpha + self.beta - radius)
        root = (half.square() + self.alpha * radius).sqrt()
        # The two forms of the positive root are equal; each is the stable one on its side.
        r = torch.where(half > 0, self.alpha * radius / (half + root), root - half)
        return self.centre + difference / (1.0 + self.beta / (self.alpha + r)).unsqueeze(-1)


class _Parameters(nn.Module):
    """Numbers of one transform: learned, or an affine function of the context (amortised)."""

    def __init__(self, count: int, context_features: int, scale: float) -> None:
        super().__init__()
        self.constant = nn.Parameter(scale * torch.randn(count))
        self.amortised = nn.Linear(context_features, count, bias=False) if context_features else None
        if self.amortised is not None:
            nn.init.normal_(self.amortised.weight, std=0.1 * scale / context_features**0.5)

    def forward(self, context: Tensor | None) -> Tensor:
        """Return (count,), or (..., count) given a context."""
        if self.amortised is None:
            return self.constant
        return self.constant + self.amortised(context)


class Planar(nn.Module):
    """A `PlanarTransform` with learned parameters, amortised where there is a context."""

    def __init__(self, features: int, context_features: int = 0) -> None:
        super().__init__()
        self.features = features
        self.numbers = _Parameters(2 * features + 1, context_features, 0.5 / features**0.5)

    def forward(self, context: Tensor | None = None) -> PlanarTransform:
        """Return the transform given a context (..., context_features)."""
        numbers = self.numbers(context)
        u, w, b = numbers.split([self.features, self.features, 1], -1)
        return PlanarTransform(u, w, b.squeeze(-1))


class Radial(nn.Module):
    """A `RadialTransform` with learned parameters, amortised where there is a context."""

    def __init__(self, features: int, context_features: int = 0) -> None:
        super().__init__()
        self.features = features
        self.numbers = _Parameters(features + 2, context_features, 1.0)

    def forward(self, context: Tensor | None = None) -> RadialTransform:
        """Return the transform given a context (..., context_features)."""
        centre, alpha, beta = self.numbers(context).split([self.features, 1, 1], -1)
        return RadialTransform(centre, alpha.squeeze(-1), beta.squeeze(-1))
