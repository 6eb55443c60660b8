"""The observation models of the variational autoencoders: from a decoder's features to p(x given z)."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from generative.data import Dataset
from generative.distributions import DiscretisedLogistics, LevelCategorical, bernoulli, gaussian
from generative.names import unknown

LikelihoodName = Literal["gaussian", "isotropic", "bernoulli", "levels", "categorical"]
"""gaussian: mean and scale of each variable; isotropic: one scale for all; bernoulli: 0 and 1; levels: a mixture of
discretised logistics on 0 .. levels - 1; categorical: free probabilities of each level."""

LIKELIHOODS: tuple[str, ...] = get_args(LikelihoodName)


class ObservationModel(Protocol):
    """What an autoencoder needs of p(x given features): `Likelihood`, or an autoregressive model."""

    features: int
    """D, the number of observed variables."""
    has_mean: bool
    """Whether p(x given features) has a `mean`."""

    def standardise(self, x: Tensor) -> Tensor:
        """Return data scaled to about unit size, the shape of x (..., D)."""

    def __call__(self, features: Tensor) -> Any:
        """Return p(x given features), with `log_prob` and `sample`."""


class Likelihood(nn.Module):
    """An affine map in front of an observation model: features (..., in_features) -> p(x given features), event (D,).

    Args:
        in_features: size of the decoder's features; None where they are the parameters themselves, (..., D n) with the
            n parameters of one variable side by side (for `gaussian` all means before all scales).
        features: D, the number of observed variables.
        name: one of `LIKELIHOODS`.
        levels: number of values of one variable, for `levels` and `categorical`.
        components: logistics of each variable, for `levels`.
        shift: mean of the data (D,), where the real-valued likelihoods start; None for 0.
        scale: standard deviation of the data (D,), half of which is where `isotropic` starts; None for 1.
    """

    has_mean = True
    affine: Any
    log_scale: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        in_features: int | None,
        features: int,
        name: str = "gaussian",
        *,
        levels: int = 0,
        components: int = 3,
        shift: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        if name not in LIKELIHOODS:
            raise ValueError(unknown("likelihood", name, LIKELIHOODS))
        if name in ("levels", "categorical") and levels < 2:
            raise ValueError(f"levels is {levels}; the {name} likelihood needs at least 2")
        self.name, self.features, self.levels, self.components = name, features, levels, components
        self.each = {"gaussian": 2, "isotropic": 1, "bernoulli": 1, "levels": 3 * components, "categorical": levels}[
            name
        ]
        """Number of parameters of one variable."""
        self.affine = nn.Identity() if in_features is None else nn.Linear(in_features, self.each * features)
        self.register_buffer("shift", torch.zeros(features) if shift is None else shift.detach().clone())
        self.register_buffer("scale", torch.ones(features) if scale is None else scale.detach().clone())
        if name == "isotropic":
            self.log_scale = nn.Parameter((0.5 * self.scale).log().mean() if scale is not None else torch.zeros(()))
        if name == "levels" and in_features is not None:
            with torch.no_grad():  # means spread over the range, so that the components are not alike
                self.affine.bias.view(features, 3, components)[:, 1] += torch.linspace(-1.0, 1.0, components + 2)[1:-1]

    @property
    def discrete(self) -> bool:
        """Whether p(x given z) is a probability (never above 1) rather than a density."""
        return self.name in ("bernoulli", "levels", "categorical")

    def standardise(self, x: Tensor) -> Tensor:
        """Return data scaled to about unit size, as encoders take it; the shape of x (..., D)."""
        if self.name in ("levels", "categorical"):
            return 2.0 * x / (self.levels - 1) - 1.0
        if self.name == "bernoulli":
            return 2.0 * x - 1.0
        return (x - self.shift) / self.scale

    def forward(self, features: Tensor) -> Distribution:
        """Return p(x given features), batch shape (...), event shape (D,)."""
        parameters = self.affine(features)
        if self.name == "bernoulli":
            return bernoulli(parameters)
        if self.name == "levels":
            return DiscretisedLogistics(parameters, self.levels, self.components)
        if self.name == "categorical":
            return LevelCategorical(parameters, self.levels)
        if self.name == "isotropic":
            mean = self.shift + self.scale * parameters
            return Independent(Normal(mean, self.log_scale.exp().expand_as(mean), validate_args=False), 1)
        base = gaussian(parameters, min_scale=1e-2).base_dist
        shifted = Normal(self.shift + self.scale * base.loc, self.scale * base.scale, validate_args=False)
        return Independent(shifted, 1, validate_args=False)


def likelihood_for(data: Dataset, in_features: int) -> Likelihood:
    """Return the observation model that fits a data set: gaussian, bernoulli or levels."""
    if data.kind == "binary":
        return Likelihood(in_features, data.features, "bernoulli")
    if data.kind == "levels":
        return Likelihood(in_features, data.features, "levels", levels=data.levels)
    shift, scale = data.train.mean(0), data.train.std(0)
    return Likelihood(in_features, data.features, "gaussian", shift=shift, scale=scale)


def log_standard_normal(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, summed over the last dimension."""
    return -0.5 * (z.square() + math.log(2.0 * math.pi)).sum(-1)
