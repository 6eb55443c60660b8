"""Density ratios by classification: log p(x)/q(x) is the log odds of "x came from p" less the prior's log odds.

Source: Sugiyama et al. 2012; Mohamed & Lakshminarayanan, arXiv 1610.03483; Mohamed's lecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def quadratic_features(x: Tensor) -> Tensor:
    """Return (1, x_i, x_i x_j for i ≤ j), (..., D) -> (..., 1 + D + D (D + 1) / 2): two Gaussians' log ratio is linear
    in them."""
    rows, columns = torch.triu_indices(x.shape[-1], x.shape[-1], device=x.device)
    return torch.cat([torch.ones_like(x[..., :1]), x, x[..., rows] * x[..., columns]], -1)


@dataclass(frozen=True)
class DensityRatio:
    """A log density ratio that is linear in features."""

    features: Callable[[Tensor], Tensor]
    """φ, (..., D) -> (..., features)."""
    weights: Tensor
    """w, (*batch, features)."""
    offset: float
    """log n_p − log n_q: the prior's log odds in the samples, which the ratio leaves out."""

    def log_odds(self, x: Tensor) -> Tensor:
        """Return the log odds that x (*batch, n, D) came from p, with the samples' sizes as prior, (*batch, n)."""
        return (self.features(x) @ self.weights.unsqueeze(-1)).squeeze(-1)

    def log_ratio(self, x: Tensor) -> Tensor:
        """Return the estimate of log p(x) − log q(x) in nats, (*batch, n, D) -> (*batch, n)."""
        return self.log_odds(x) - self.offset


def logistic_ratio(
    x: Tensor,
    y: Tensor,
    features: Callable[[Tensor], Tensor] = quadratic_features,
    *,
    ridge: float = 1e-3,
    steps: int = 15,
) -> DensityRatio:
    """Fit a logistic regression of x against y by Newton's method, for a whole batch of pairs of samples at once.

    Args:
        x: samples of p (*batch, n, D).
        y: samples of q (*batch, m, D).
        features: φ.
        ridge: weight of ½ ‖w‖² beside the summed log loss; keeps separable samples finite.
        steps: Newton steps, each halved where the loss would rise.
    """
    design = torch.cat([features(x), features(y)], -2)
    target = torch.zeros_like(design[..., 0])
    target[..., : x.shape[-2]] = 1.0
    w = torch.zeros_like(design[..., 0, :])
    eye = ridge * torch.eye(design.shape[-1], dtype=x.dtype, device=x.device)

    def loss(w: Tensor) -> Tensor:
        odds = (design @ w.unsqueeze(-1)).squeeze(-1)
        return (F.softplus(odds) - target * odds).sum(-1) + 0.5 * ridge * w.square().sum(-1)

    value = loss(w)
    for _ in range(steps):
        p = torch.sigmoid((design @ w.unsqueeze(-1)).squeeze(-1))
        gradient = ((p - target).unsqueeze(-1) * design).sum(-2) + ridge * w
        hessian = (design * (p * (1.0 - p)).unsqueeze(-1)).mT @ design + eye
        move = torch.linalg.solve(hessian, gradient)
        size = torch.ones_like(value)
        for _ in range(8):
            new = loss(w - size.unsqueeze(-1) * move)
            size = torch.where(new > value, 0.5 * size, size)
        candidate = w - size.unsqueeze(-1) * move
        new = loss(candidate)
        w = torch.where((new <= value).unsqueeze(-1), candidate, w)
        value = torch.minimum(new, value)
    return DensityRatio(features, w, math.log(x.shape[-2]) - math.log(y.shape[-2]))


def ratio_loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """−E_p log σ(r(x)) − E_q log σ(−r(y)) for a network r(x) ≈ log p(x)/q(x), (..., D) -> (..., 1); for `fit`."""
    return F.softplus(-network(x)).mean() + F.softplus(network(y)).mean()


def expected_calibration_error(probability: Tensor, outcome: Tensor, bins: int = 10) -> Tensor:
    """Return Σ_b (n_b / n) |mean outcome − mean probability| over equally filled bins (Naeini et al. 2015); scalar.

    Args:
        probability: of the outcome 1 (n,).
        outcome: 0 or 1 (n,).
        bins: number of bins, at most n.
    """
    order = probability.argsort()
    parts = zip(probability[order].tensor_split(bins), outcome[order].tensor_split(bins), strict=True)
    gaps = [len(p) * (p.mean() - o.to(p.dtype).mean()).abs() for p, o in parts]
    return torch.stack(gaps).sum() / len(probability)
