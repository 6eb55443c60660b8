"""Distribution heads: modules that map features to a `torch.distributions.Distribution`.

Every head names its parameters' number (`num_parameters`) and turns a tensor (..., num_parameters) into a
distribution; `Head` puts an affine map in front. Parameters are valid by construction, so argument validation is off.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    Distribution,
    Independent,
    Normal,
    OneHotCategoricalStraightThrough,
)
from torch.nn import functional as F


def bounded_gaussian(parameters: Tensor, max_variance: float = 1.5) -> Independent:
    """Diagonal Gaussian with its mean in (-1, 1) and its variance in (0, max_variance).

    Parameters (..., 2 D): a mean through tanh and a variance through a sigmoid (the state distribution of
    arXiv 2505.19867, whose λ_s is `max_variance`). Event shape (D,).
    """
    mean, variance = parameters.chunk(2, dim=-1)
    scale = (max_variance * torch.sigmoid(variance)).clamp_min(1e-8).sqrt()
    return Independent(Normal(torch.tanh(mean), scale, validate_args=False), 1, validate_args=False)


def gaussian(parameters: Tensor, min_scale: float = 1e-3) -> Independent:
    """Diagonal Gaussian with free mean and scale softplus(raw) + min_scale; parameters (..., 2 D), event shape (D,)."""
    mean, raw = parameters.chunk(2, dim=-1)
    return Independent(Normal(mean, F.softplus(raw) + min_scale, validate_args=False), 1, validate_args=False)


def standard_normal(like: Tensor) -> Independent:
    """N(0, 1) of the shape, dtype and device of a tensor; the last dimension is the event."""
    return Independent(
        Normal(torch.zeros_like(like), torch.ones_like(like), validate_args=False), 1, validate_args=False
    )


def categorical(logits: Tensor) -> OneHotCategoricalStraightThrough:
    """One-hot categorical over the last dimension; `rsample` passes gradients straight through (Bengio et al. 2013)."""
    return OneHotCategoricalStraightThrough(logits=logits, validate_args=False)


def bernoulli(logits: Tensor) -> Independent:
    """Independent Bernoulli variables; logits (..., D), event shape (D,)."""
    return Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)


def unit_interval(logits: Tensor) -> Independent:
    """Independent continuous Bernoulli variables on [0, 1] (Loaiza-Ganem & Cunningham 2019), finite at both ends.

    Logits (..., D) are clamped to ±30, where the density's mean is within 1/30 of an end. Event shape (D,).
    """
    return Independent(
        ContinuousBernoulli(logits=logits.clamp(-30.0, 30.0), validate_args=False), 1, validate_args=False
    )


class Head(nn.Module):
    """An affine map in front of a distribution: features (..., in_features) -> distribution.

    Args:
        in_features: size of the features.
        num_parameters: what the family reads from its last dimension.
        family: one of this module's functions, or any function of a parameter tensor.
    """

    def __init__(self, in_features: int, num_parameters: int, family: Callable[[Tensor], Distribution]) -> None:
        super().__init__()
        self.affine = nn.Linear(in_features, num_parameters)
        self.family = family

    def forward(self, features: Tensor) -> Distribution:
        """Return the distribution at these features."""
        return self.family(self.affine(features))


def gaussian_entropy(scale: Tensor) -> Tensor:
    """Entropy in nats of each Gaussian dimension: ½ log(2πe σ²); the shape of `scale`."""
    return 0.5 * math.log(2.0 * math.pi * math.e) + scale.log()
