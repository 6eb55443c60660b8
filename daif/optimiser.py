"""An Adam optimiser that steps exactly the parameters it owns along the gradient of a loss."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class OwnedAdam:
    """Adam over some parameters; gradients of all others are not even computed.

    Args:
        parameters: what it steps.
        learning_rate: Adam's step size.
        max_norm: the gradient's norm is clipped here; None for no clipping.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, max_norm: float | None = None) -> None:
        self.parameters = list(parameters)
        self.max_norm = max_norm
        self.adam = torch.optim.Adam(self.parameters, lr=learning_rate, foreach=True)

    def differentiate(self, loss: Tensor, *, retain_graph: bool = False) -> None:
        """Compute the gradient of a scalar loss, for `apply`."""
        gradients = torch.autograd.grad(loss, self.parameters, retain_graph=retain_graph, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    def apply(self) -> None:
        """Take one step along minus the gradient that `differentiate` computed."""
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        self.adam.step()
        self.adam.zero_grad()

    def step(self, loss: Tensor) -> None:
        """Differentiate a scalar loss and apply its gradient."""
        self.differentiate(loss)
        self.apply()

    def set_learning_rate(self, learning_rate: float) -> None:
        """Change the step size."""
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
