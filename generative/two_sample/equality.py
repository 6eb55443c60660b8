"""Two-sample tests: of a classifier's accuracy on held-out points, and of distances by permutation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from generative.two_sample.ratio import logistic_ratio, quadratic_features

Statistic = Callable[[Tensor, Tensor], Tensor]
"""Maps pairwise distances (n + m, n + m) and masks (permutations, n + m) of the first sample to (permutations,)."""


@dataclass(frozen=True)
class TestResult:
    """The outcome of a test of "p = q"."""

    __test__ = False  # no test case of pytest

    statistic: Tensor
    """What was measured; larger means further apart."""
    p_value: Tensor
    """Chance of a statistic at least as large if p = q; a test at level a rejects where this is at most a."""


def classifier_test(
    x: Tensor, y: Tensor, generator: torch.Generator, features: Callable[[Tensor], Tensor] = quadratic_features
) -> TestResult:
    """Train a logistic classifier on one half of each sample; its accuracy on the others is the statistic.

    If p = q, the held-out labels are exchangeable whatever the classifier: of M held-out points, m from each, the
    number of right ones among those called p is hypergeometric, so the p-value is exact. A random p-value within the
    atoms of that discrete law makes it uniform. Source: Lopez-Paz & Oquab, arXiv 1610.06545.

    Args:
        x: samples of p (*batch, n, D), n even.
        y: samples of q (*batch, n, D).
        generator: of the random p-values.
        features: of the classifier.
    """
    if x.shape != y.shape or x.shape[-2] % 2:
        raise ValueError(f"x is {tuple(x.shape)} and y {tuple(y.shape)}; they must be equal, with an even size")
    m = x.shape[-2] // 2
    ratio = logistic_ratio(x[..., :m, :], y[..., :m, :], features)
    held = torch.cat([x[..., m:, :], y[..., m:, :]], -2)
    called = ratio.log_odds(held) > 0.0
    right = called[..., :m].sum(-1)
    drawn = called.sum(-1)
    # P(k right among those called p) for k = 0 .. m: C(m, k) C(m, drawn − k) / C(2 m, drawn)
    k = torch.arange(m + 1)
    other = drawn.unsqueeze(-1) - k
    log_p = _log_choose(m, k) + _log_choose(m, other) - _log_choose(2 * m, drawn).unsqueeze(-1)
    p = log_p.exp()
    above = (p * (k > right.unsqueeze(-1))).sum(-1)
    at = p.gather(-1, right.unsqueeze(-1)).squeeze(-1)
    uniform = torch.rand(right.shape, generator=generator, dtype=p.dtype)
    accuracy = (right + m - (drawn - right)) / (2.0 * m)
    return TestResult(accuracy, above + uniform * at)


def _log_choose(n: int, k: Tensor) -> Tensor:
    """log C(n, k), −inf outside 0 ≤ k ≤ n."""
    k = k.double()
    inside = (k >= 0) & (k <= n)
    c = k.clamp(0, n)
    value = math.lgamma(n + 1) - torch.lgamma(c + 1) - torch.lgamma(n - c + 1)
    return torch.where(inside, value, -math.inf)


def permutation_test(
    x: Tensor, y: Tensor, statistic: Statistic, generator: torch.Generator, permutations: int = 199
) -> TestResult:
    """Test by permuting the pooled sample: p = (1 + #{permuted ≥ observed}) / (1 + permutations) is at most too large.

    Args:
        x: samples of p (n, D).
        y: samples of q (m, D).
        statistic: of the pooled sample's pairwise distances and of masks of the first sample.
        generator: of the permutations.
        permutations: their number.
    """
    pooled = torch.cat([x, y])
    distances = torch.cdist(pooled, pooled)
    order = torch.rand(permutations, len(pooled), generator=generator).argsort(-1)
    masks = torch.cat([torch.arange(len(pooled)).unsqueeze(0), order]) < len(x)
    values = statistic(distances, masks.to(x.dtype))
    count = (values[1:] >= values[0] * (1.0 - 1e-6)).sum()
    return TestResult(values[0], (1.0 + count) / (1.0 + permutations))


def _energy(distances: Tensor, masks: Tensor) -> Tensor:
    """The squared energy distance of each split (V-statistic)."""
    n, m = masks.sum(-1), (1.0 - masks).sum(-1)
    to_x, to_y = masks @ distances, (1.0 - masks) @ distances
    between = (to_x * (1.0 - masks)).sum(-1) / (n * m)
    return 2.0 * between - (to_x * masks).sum(-1) / n**2 - (to_y * (1.0 - masks)).sum(-1) / m**2


def energy_test(x: Tensor, y: Tensor, generator: torch.Generator, permutations: int = 199) -> TestResult:
    """Permutation test of the energy distance, consistent against every alternative (Székely & Rizzo 2013)."""
    return permutation_test(x, y, _energy, generator, permutations)


def mmd_test(x: Tensor, y: Tensor, generator: torch.Generator, permutations: int = 199) -> TestResult:
    """Permutation test of the maximum mean discrepancy with a Gaussian kernel as wide as the median distance.

    Source: Gretton et al. 2012.
    """

    def discrepancy(distances: Tensor, masks: Tensor) -> Tensor:
        width = distances[distances > 0].median()
        return _energy(-torch.exp(-0.5 * (distances / width).square()), masks)

    return permutation_test(x, y, discrepancy, generator, permutations)
