"""A normalising flow: a chain of invertible maps between data and noise, as a distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from generative.distributions import standard_normal
from generative.protocol import Given, leading_shape

ALPHA = 0.05
"""Margin of the logit transform of pixels (RealNVP's)."""


class Step(Protocol):
    """One invertible map of a chain: a `torch.distributions.Transform` that gives its log-determinant on the way."""

    @property
    def inv(self) -> Step:
        """The inverse map."""

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image (..., features) and log |det| (...)."""


class Flow(nn.Module):
    """Change of variables: log p(x) = log N(z; 0, 1) + log |det ∂z/∂x| with z the image of x.

    Args:
        features: number of variables.
        transforms: modules that map a context to a `torch.distributions.Transform` of one event dimension.
        generative: whether the transforms map noise to data (cheap samples; a posterior) or, by default, data to noise
            (cheap densities). Both directions work wherever the transforms have an inverse.
        mean: standardisation, subtracted from the data; zero by default.
        scale: standardisation, divides the data; one by default.

    Samples are (*sample_shape, *batch, features); densities are in nats.
    """

    has: ClassVar[frozenset[str]] = frozenset({"log_prob", "sample", "rsample"})
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        features: int,
        transforms: Sequence[nn.Module],
        *,
        generative: bool = False,
        mean: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.transforms = nn.ModuleList(transforms)
        self.generative = generative
        self.register_buffer("mean", torch.zeros(features) if mean is None else mean.clone())
        self.register_buffer("scale", torch.ones(features) if scale is None else scale.clone())
        if not bool((self.scale > 0).all()):
            raise ValueError(f"scale holds {float(self.scale.min())}; every entry must be positive")

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the distribution given a context (..., context_features)."""
        return Given(self, context)

    def to_noise(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and log |det ∂z/∂x|, (..., features) -> (..., features), (...)."""
        z, log_det = (x - self.mean) / self.scale, -self.scale.log().sum().expand(x.shape[:-1])
        chain = self._chain(context)
        return _apply([step.inv for step in reversed(chain)] if self.generative else chain, z, log_det)

    def to_data(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and log |det ∂x/∂z|, (..., features) -> (..., features), (...)."""
        chain = self._chain(context)
        steps = chain if self.generative else [step.inv for step in reversed(chain)]
        x, log_det = _apply(steps, z, self.scale.log().sum().expand(z.shape[:-1]))
        return x * self.scale + self.mean, log_det

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x given context) in nats, (..., features) -> (...)."""
        if context is not None:
            x = x.expand(*torch.broadcast_shapes(x.shape[:-1], context.shape[:-1]), -1)
        z, log_det = self.to_noise(x, context)
        return standard_normal(z).log_prob(z) + log_det

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape, context)

    def rsample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples through which gradients flow."""
        return self.rsample_and_log_prob(sample_shape, context)[0]

    def rsample_and_log_prob(
        self,
        sample_shape: tuple[int, ...] | torch.Size = (),
        context: Tensor | None = None,
        base: Distribution | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return samples and their log-density: log q_K = log q_0 − Σ_k log |det ∂f_k| (arXiv 1505.05770, eq. 13).

        Args:
            sample_shape: in front of the batch.
            context: (*batch, context_features) or None.
            base: q_0 over (*batch, features); N(0, 1) by default. A posterior flow gives the encoder's Gaussian.
        """
        if base is None:
            like = self.mean.expand(*leading_shape(sample_shape, context), self.features)
            base = standard_normal(like)
            z = base.rsample()
        else:
            z = base.rsample(torch.Size(sample_shape))
        x, log_det = self.to_data(z, context)
        return x, base.log_prob(z) - log_det

    def _chain(self, context: Tensor | None) -> list[Step]:
        return [transform(context) for transform in self.transforms]


def _apply(steps: Sequence[Step], x: Tensor, log_det: Tensor) -> tuple[Tensor, Tensor]:
    """Run transforms one after the other and add up their log-determinants."""
    for step in steps:
        x, added = step.call_and_ladj(x)
        log_det = log_det + added
    return x, log_det


class Dequantised(nn.Module):
    """A continuous flow as a model of integer levels 0 .. levels − 1.

    With y = x + u, u uniform on [0, 1)^D: log P(x) ≥ E_u log p(y) (Theis et al., arXiv 1511.01844). The flow sees
    logit(α + (1 − 2 α) y / levels) as RealNVP does (arXiv 1605.08803), whose log-determinant is included, so the bound
    is in nats per image and comparable with a softmax model's.

    Args:
        flow: over the D logits.
        levels: number of levels.
        alpha: keeps the logit finite.
    """

    has: ClassVar[frozenset[str]] = frozenset({"elbo", "sample"})

    def __init__(self, flow: Flow, levels: int, alpha: float = ALPHA) -> None:
        super().__init__()
        self.flow = flow
        self.levels = levels
        self.alpha = alpha

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the distribution given a context."""
        return Given(self, context)

    def elbo(self, x: Tensor, context: Tensor | None = None, samples: int = 1) -> Tensor:
        """Return E_u log p(x + u given context) over fresh noise, (..., features) -> (...)."""
        y = x.expand(samples, *x.shape)
        y = y + torch.rand_like(y)
        logits, log_det = to_logits(y, self.levels, self.alpha)
        return (self.flow.log_prob(logits, context) + log_det).mean(0)

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return levels as floats."""
        unit = torch.sigmoid(self.flow.sample(sample_shape, context))
        y = (unit - self.alpha) / (1.0 - 2.0 * self.alpha) * self.levels
        return y.floor().clamp(0.0, self.levels - 1.0)


def to_logits(y: Tensor, levels: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Return logit(α + (1 − 2 α) y / levels) and its log |det|, (..., D) -> (..., D), (...)."""
    unit = alpha + (1.0 - 2.0 * alpha) * y / levels
    log_det = math.log((1.0 - 2.0 * alpha) / levels) - torch.log(unit) - torch.log1p(-unit)
    return torch.logit(unit), log_det.sum(-1)
