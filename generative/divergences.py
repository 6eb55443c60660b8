"""Entropies and Kullback-Leibler divergences in nats, with the reduction over event dimensions stated."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, OneHotCategorical, kl_divergence

Reduction = Literal["sum", "mean"]


def event_size(distribution: Distribution) -> int:
    """Number of random variables of one event: D of a diagonal distribution, 1 of a one-hot categorical."""
    if isinstance(distribution, OneHotCategorical):
        return 1
    return max(distribution.event_shape.numel(), 1)


def entropy(distribution: Distribution, reduction: Reduction = "sum") -> Tensor:
    """Entropy in nats, of the batch shape.

    `sum` is the joint entropy; `mean` divides it by the number of variables, which puts distributions
    of different sizes on one scale (the convention of arXiv 2505.19867's authors).
    """
    total = distribution.entropy()
    return total / event_size(distribution) if reduction == "mean" else total


def kl(q: Distribution, p: Distribution, reduction: Reduction = "sum") -> Tensor:
    """KL[q ‖ p] in nats, of the batch shape; reduced as in `entropy`."""
    if isinstance(q, Independent) and isinstance(p, Independent):
        total = kl_divergence(q.base_dist, p.base_dist).flatten(-q.reinterpreted_batch_ndims).sum(-1)
    else:
        total = kl_divergence(q, p)
    return total / event_size(q) if reduction == "mean" else total


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """Squared energy distance 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ of samples (n, D), (m, D) (Székely & Rizzo 2013).

    An unbiased estimate, so it can be negative where both come from one distribution; scalar.
    """
    between = torch.cdist(x, y).mean()
    within_x = torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
    within_y = torch.cdist(y, y).sum() / (len(y) * (len(y) - 1))
    return 2.0 * between - within_x - within_y
