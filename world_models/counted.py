"""Outcomes of a jump of which some are counted, such as parts lost: their likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, Poisson
from torch.nn import functional as F


class CountedAndGaussian(Distribution):
    """Independent outcomes: Poisson with rate exp(·) where they are counted, Gaussian as `gaussian` where they are not.

    What is rare has hardly any weight in a Gaussian likelihood, whose error is absolute; a Poisson's is relative to the
    rate. Values need not be whole: log_prob is a quasi-likelihood then, of the same mean (McCullagh and Nelder 1989).

    Args:
        parameters: (..., 2 C), the C logarithms of rates or means, then C raw scales, of which those of counted
            outcomes are not used.
        counted: indices of the counted outcomes.
        min_scale: least standard deviation of a Gaussian.
    """

    arg_constraints = {}  # noqa: RUF012, declared so by torch
    has_rsample = False

    def __init__(self, parameters: Tensor, counted: Sequence[int], min_scale: float) -> None:
        location, raw = parameters.chunk(2, dim=-1)
        self._counted = torch.zeros(location.shape[-1], dtype=torch.bool, device=location.device)
        self._counted[list(counted)] = True
        self._poisson = Poisson(location.masked_fill(~self._counted, 0.0).exp(), validate_args=False)
        self._gaussian = Normal(location, F.softplus(raw) + min_scale, validate_args=False)
        super().__init__(location.shape[:-1], location.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Expected outcomes (..., C)."""
        return torch.where(self._counted, self._poisson.rate, self._gaussian.loc)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw outcomes (..., C)."""
        shape = torch.Size(sample_shape)
        return torch.where(self._counted, self._poisson.sample(shape), self._gaussian.sample(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of outcomes (..., C) in nats, (...)."""
        counts = self._poisson.log_prob(value.masked_fill(~self._counted, 0.0))
        return torch.where(self._counted, counts, self._gaussian.log_prob(value)).sum(-1)
