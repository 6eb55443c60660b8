"""Distribution heads: modules that map features to a `torch.distributions.Distribution`.

Every head names its parameters' number (`num_parameters`) and turns a tensor (..., num_parameters) into a
distribution; `Head` puts an affine map in front. Parameters are valid by construction, so argument validation is off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Distribution,
    Independent,
    Normal,
    OneHotCategoricalStraightThrough,
    constraints,
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


class OneHot(OneHotCategoricalStraightThrough):
    """Torch's one-hot categorical, whose inner categorical does not look at its parameters' values either."""

    def __init__(self, logits: Tensor) -> None:
        self._categorical = Categorical(logits=logits, validate_args=False)
        Distribution.__init__(self, self._categorical.batch_shape, logits.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Distribution | None = None) -> OneHot:
        """Return the distribution with another batch shape."""
        return OneHot(self.logits.expand(*batch_shape, *self.event_shape))


def categorical(logits: Tensor) -> OneHot:
    """One-hot categorical over the last dimension; `rsample` passes gradients straight through (Bengio et al. 2013)."""
    return OneHot(logits)


def bernoulli(logits: Tensor) -> Independent:
    """Independent Bernoulli variables; logits (..., D), event shape (D,)."""
    return Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)


class UnitInterval(ContinuousBernoulli):
    """Continuous Bernoulli variables whose variance holds in single precision.

    Torch's closed form cancels near λ = ½ and gives anything from −1.4 to 0.25 there; here its expansion serves a wider
    window, within 1e-5 of the exact value.
    """

    @property
    def variance(self) -> Tensor:
        """The variance, between 0 and 1 / 12."""
        x = (self.probs - 0.5).square()
        expansion = 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x
        return torch.where(x < 0.05**2, expansion, super().variance)


def unit_interval(logits: Tensor) -> Independent:
    """Independent continuous Bernoulli variables on [0, 1] (Loaiza-Ganem & Cunningham 2019), finite at both ends.

    Logits (..., D) are clamped to ±30, where the density's mean is within 1/30 of an end. Event shape (D,).
    """
    return Independent(UnitInterval(logits=logits.clamp(-30.0, 30.0), validate_args=False), 1, validate_args=False)


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


class DiscretisedLogistics(Distribution):
    """Mixture of logistics for integers 0 .. levels − 1: P(x) = Σ_k π_k [σ((x + ½ − μ_k)/s_k) − σ((x − ½ − μ_k)/s_k)].

    The first and the last level take the tails, so the probabilities sum to 1 (Salimans et al., arXiv 1701.05517).

    Args:
        parameters: (..., 3 K D): mixture logits, means in units of half the range about its centre, log scales.
        levels: number of values of one variable.
        components: K, the number of logistics of each variable.
    """

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, parameters: Tensor, levels: int, components: int) -> None:
        parts = parameters.unflatten(-1, (-1, 3 * components)).chunk(3, -1)
        self.log_weights = torch.log_softmax(parts[0], -1)
        self.means = parts[1]
        self.log_scales = parts[2].clamp(-7.0, 7.0)
        self.levels = levels
        shape = self.means.shape[:-1]
        super().__init__(shape[:-1], shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Expected value (..., D), by the sum over the levels."""
        values = torch.arange(self.levels, dtype=self.means.dtype, device=self.means.device)
        return (self.level_log_probs().exp() * values).sum(-1)

    def level_log_probs(self) -> Tensor:
        """Return log P of every level, (..., D, levels)."""
        values = torch.arange(self.levels, dtype=self.means.dtype, device=self.means.device)
        shape = (self.levels,) + (1,) * (self.means.dim() - 1)
        return torch.movedim(self._log_probs(values.reshape(shape)), 0, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P(x) in nats, summed over the D variables."""
        return self._log_probs(value).sum(-1)

    def _log_probs(self, value: Tensor) -> Tensor:
        half = 0.5 * (self.levels - 1)
        centred = (value.unsqueeze(-1) - half) / half
        inverse = torch.exp(-self.log_scales)
        above = (centred + 0.5 / half - self.means) * inverse
        below = (centred - 0.5 / half - self.means) * inverse
        upper = F.logsigmoid(above)
        upper = torch.where(value.unsqueeze(-1) > self.levels - 1.5, torch.zeros_like(upper), upper)
        # log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − e^(b − a)) keeps its digits in both tails
        middle = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(below - above))
        top = F.logsigmoid(-below)
        inner = torch.where(value.unsqueeze(-1) > self.levels - 1.5, top, middle)
        return torch.logsumexp(self.log_weights + torch.where(value.unsqueeze(-1) < 0.5, upper, inner), -1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Return integers (as floats) of shape (*sample_shape, ..., D)."""
        with torch.no_grad():
            table = torch.distributions.Categorical(logits=self.level_log_probs(), validate_args=False)
            return table.sample(torch.Size(sample_shape)).to(self.means.dtype)


class LevelCategorical(Distribution):
    """Independent categorical variables on 0 .. levels - 1 with free probabilities; logits (..., D levels)."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor, levels: int) -> None:
        self.logits = torch.log_softmax(logits.unflatten(-1, (-1, levels)), -1)
        self.levels = levels
        super().__init__(self.logits.shape[:-2], self.logits.shape[-2:-1], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Expected value (..., D)."""
        values = torch.arange(self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return (self.logits.exp() * values).sum(-1)

    def level_log_probs(self) -> Tensor:
        """Return log P of every level, (..., D, levels)."""
        return self.logits

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P(x) in nats, summed over the D variables."""
        shape = torch.broadcast_shapes(value.shape, self.logits.shape[:-1])
        index = value.long().expand(shape).unsqueeze(-1)
        return self.logits.expand(*shape, self.levels).gather(-1, index).squeeze(-1).sum(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Return integers (as floats) of shape (*sample_shape, ..., D)."""
        with torch.no_grad():
            table = torch.distributions.Categorical(logits=self.logits, validate_args=False)
            return table.sample(torch.Size(sample_shape)).to(self.logits.dtype)
