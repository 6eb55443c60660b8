"""The protocol of every model: an `nn.Module` that, given a context, is distribution-like and says what it has.

`model()` or `model(context)` returns a `Given` (or a `torch.distributions.Distribution` with a `has`); one family can
be swapped for another by name, because the caller reads `has` instead of the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

ABILITIES = ("log_prob", "elbo", "sample", "rsample", "entropy", "mean", "reconstruct")
"""What a model may have. `log_prob` is exact; `elbo` is a lower bound on it, possibly a noisy one."""


@dataclass(frozen=True)
class Given:
    """A model with its context bound.

    The model has `has: frozenset[str]` and takes `context` in each method: `log_prob(x, context)`, `elbo(x, context)`,
    `sample(sample_shape, context)`, `rsample(sample_shape, context)`, `entropy(context)`.
    """

    model: nn.Module
    """The model that does the work."""
    context: Tensor | None = None
    """Context (..., context_features), or None for an unconditional model."""

    @property
    def has(self) -> frozenset[str]:
        """Names of what this distribution honestly has."""
        return self.model.has  # type: ignore[return-value]

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x given context) in nats, (..., features) -> (...)."""
        return self._method("log_prob")(x, self.context)

    def elbo(self, x: Tensor, **settings: Any) -> Tensor:
        """Return a lower bound on log p(x given context) in nats, (..., features) -> (...)."""
        return self._method("elbo")(x, self.context, **settings)

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = ()) -> Tensor:
        """Return samples (*sample_shape, *batch, features) without gradients."""
        with torch.no_grad():
            return self._method("sample")(sample_shape, self.context)

    def rsample(self, sample_shape: tuple[int, ...] | torch.Size = ()) -> Tensor:
        """Return samples through which gradients flow."""
        return self._method("rsample")(sample_shape, self.context)

    def entropy(self) -> Tensor:
        """Return the entropy in nats, of the batch shape."""
        return self._method("entropy")(self.context)

    def _method(self, name: str) -> Any:
        if name not in self.has:
            owned = ", ".join(sorted(self.has))
            raise NotImplementedError(f"{type(self.model).__name__} has no {name}; it has {owned}")
        return getattr(self.model, name)


class OfDistribution(nn.Module):
    """An unconditional model that is one `torch` distribution over x (..., D), from which all it has follows."""

    has: ClassVar[frozenset[str]] = frozenset({"log_prob", "sample", "rsample", "entropy", "mean"})

    def distribution(self) -> Distribution:
        """Return the distribution, of event shape (D,)."""
        raise NotImplementedError

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x); ValueError for a context, which the model does not take."""
        if context is not None:
            raise ValueError(f"{type(self).__name__} takes no context")
        return Given(self)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x) in nats, (..., D) -> (...)."""
        return self.distribution().log_prob(x)

    def entropy(self, context: Tensor | None = None) -> Tensor:
        """Return the entropy in nats, a scalar."""
        return self.distribution().entropy()

    def mean(self, context: Tensor | None = None) -> Tensor:
        """Return E[x] (D,)."""
        return self.distribution().mean

    def rsample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return differentiable samples (*sample_shape, D)."""
        return self.distribution().rsample(torch.Size(sample_shape))

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, D)."""
        return self.rsample(sample_shape)


def join(x: Tensor, context: Tensor | None) -> Tensor:
    """Concatenate x (..., D) and its context (..., C), broadcast over leading dimensions; x itself without one."""
    if context is None:
        return x
    shape = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
    return torch.cat([x.expand(*shape, -1), context.expand(*shape, -1)], -1)


def leading_shape(sample_shape: tuple[int, ...] | torch.Size, context: Tensor | None) -> torch.Size:
    """Return (*sample_shape, *batch) of samples given a context."""
    return torch.Size(sample_shape) + (torch.Size() if context is None else context.shape[:-1])
