"""The autoregressive model: log p(x) = Σ_i log p(x_i given x_<i), whatever network gives the conditionals."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from generative.autoregressive.conditionals import Conditional
from generative.protocol import Given, leading_shape


class Autoregressive(nn.Module):
    """A network of conditionals as a distribution over vectors (..., features).

    Args:
        network: `network(encoded, context)` maps (batch, features, E), and (batch, context_features) or None, to
            parameters (batch, features, P), whose row i depends on rows < i only (a test takes the Jacobian).
        conditional: the distribution of one variable.
        features: number of variables.

    Sampling costs one pass of the network for each variable.
    """

    has: ClassVar[frozenset[str]] = frozenset({"log_prob", "sample"})

    def __init__(self, network: nn.Module, conditional: Conditional, features: int) -> None:
        super().__init__()
        self.network = network
        self.conditional = conditional
        self.features = features

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the distribution given a context (..., context_features)."""
        return Given(self, context)

    def parameters_of(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters of every conditional, (..., features) -> (..., features, P)."""
        shape = x.shape[:-1] if context is None else torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
        rows = x.expand(*shape, self.features).reshape(-1, self.features)
        if context is not None:
            context = context.expand(*shape, context.shape[-1]).reshape(-1, context.shape[-1])
        return self.network(self.conditional.encode(rows), context).reshape(*shape, self.features, -1)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x given context) in nats, (..., features) -> (...)."""
        return self.conditional.log_prob(self.parameters_of(x, context), x).sum(-1)

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, *batch, features), one variable after the other."""
        shape = leading_shape(sample_shape, context)
        first = next(self.parameters())
        x = torch.zeros(*shape, self.features, dtype=first.dtype, device=first.device)
        for i in range(self.features):
            x[..., i] = self.conditional.sample(self.parameters_of(x, context)[..., i, :])
        return x
