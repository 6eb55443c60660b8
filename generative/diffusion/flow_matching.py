"""Conditional flow matching (Lipman et al., arXiv 2210.02747): regress the velocity that carries noise to data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from generative.diffusion.networks import TimeField
from generative.distributions import standard_normal
from generative.protocol import Given, leading_shape

Field = Callable[[float, tuple[Tensor, ...]], tuple[Tensor, ...]]


def conditional_path(noise: Tensor, data: Tensor, t: Tensor, min_scale: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return x_t = (1 − (1 − σ) t) x_0 + t x_1 and its velocity u_t = x_1 − (1 − σ) x_0.

    Given x_1, x_t is N(t x_1, (1 − (1 − σ) t)²) and u_t = (x_1 − (1 − σ) x_t) / (1 − (1 − σ) t) (eqs. 20 to 23).

    Args:
        noise: x_0 (..., D).
        data: x_1 (..., D).
        t: times in [0, 1] (...).
        min_scale: σ, the scale of the noise left at t = 1.
    """
    shrink = 1.0 - min_scale
    t = t.unsqueeze(-1)
    return (1.0 - shrink * t) * noise + t * data, data - shrink * noise


class FlowMatching(nn.Module):
    """A continuous flow trained without simulation: L = E ‖v(t, x_t, context) − u_t‖².

    Args:
        features: number of variables.
        hidden: widths of the velocity network.
        context_features: size of the context, 0 for none.
        steps: Runge-Kutta steps (order 4) from noise to data, for samples and densities.
        min_scale: σ of `conditional_path`.
        mean: standardisation, subtracted from the data; zero by default.
        scale: standardisation, divides the data; one by default.
        velocity: the field v(t, x, context); by default a `TimeField`.

    `log_prob` integrates the exact divergence of the learned field: it is the density that `sample` draws from, up to
    the solver's error.
    """

    has: ClassVar[frozenset[str]] = frozenset({"log_prob", "sample", "rsample"})
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        features: int,
        *,
        hidden: Sequence[int] = (128, 128, 128),
        context_features: int = 0,
        steps: int = 40,
        min_scale: float = 0.0,
        mean: Tensor | None = None,
        scale: Tensor | None = None,
        velocity: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps is {steps}; it must be at least 1")
        self.features = features
        self.steps = steps
        self.min_scale = min_scale
        self.velocity = velocity or TimeField(features, hidden=hidden, context_features=context_features)
        self.register_buffer("mean", torch.zeros(features) if mean is None else mean.clone())
        self.register_buffer("scale", torch.ones(features) if scale is None else scale.clone())

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the distribution given a context (..., context_features)."""
        return Given(self, context)

    def loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean over the batch of ‖v − u_t‖² at random times and noise, (batch, features) -> scalar."""
        data = (x - self.mean) / self.scale
        t = torch.rand_like(data[..., 0])
        point, velocity = conditional_path(torch.randn_like(data), data, t, self.min_scale)
        return (self.velocity(t, point, context) - velocity).square().sum(-1).mean()

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, *batch, features) without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape, context)

    def rsample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples through which gradients flow."""
        x = torch.randn_like(self.mean.expand(*leading_shape(sample_shape, context), self.features))
        h = 1.0 / self.steps
        for step in range(self.steps):
            x = _runge_kutta(lambda t, y: (self._field(t, y[0], context),), step * h, (x,), h)[0]
        return x * self.scale + self.mean

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x given context) in nats: log N(x_0) − ∫ tr ∂v/∂x dt along the path back, (..., D) -> (...)."""
        if context is not None:
            x = x.expand(*torch.broadcast_shapes(x.shape[:-1], context.shape[:-1]), -1)
        point, divergence = (x - self.mean) / self.scale, torch.zeros_like(x[..., 0])
        h = -1.0 / self.steps
        for step in range(self.steps):
            point, divergence = _runge_kutta(
                lambda t, y: self._field_and_divergence(t, y[0], context), 1.0 + step * h, (point, divergence), h
            )
        return standard_normal(point).log_prob(point) + divergence - self.scale.log().sum()

    def _field(self, t: float, x: Tensor, context: Tensor | None) -> Tensor:
        return self.velocity(torch.full_like(x[..., 0], t), x, context)

    def _field_and_divergence(self, t: float, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            velocity = self._field(t, x, context)
            trace = torch.zeros_like(velocity[..., 0])
            for i in range(self.features):
                last = i == self.features - 1
                row = torch.autograd.grad(velocity[..., i].sum(), x, create_graph=graph, retain_graph=graph or not last)
                trace = trace + row[0][..., i]
        return (velocity, trace) if graph else (velocity.detach(), trace.detach())


def _runge_kutta(field: Field, t: float, y: tuple[Tensor, ...], h: float) -> tuple[Tensor, ...]:
    """One step of the classical Runge-Kutta method for a tuple of states."""

    def moved(slope: tuple[Tensor, ...], by: float) -> tuple[Tensor, ...]:
        return tuple(a + by * b for a, b in zip(y, slope, strict=True))

    k1 = field(t, y)
    k2 = field(t + 0.5 * h, moved(k1, 0.5 * h))
    k3 = field(t + 0.5 * h, moved(k2, 0.5 * h))
    k4 = field(t + h, moved(k3, h))
    return tuple(a + h / 6.0 * (b + 2.0 * c + 2.0 * d + e) for a, b, c, d, e in zip(y, k1, k2, k3, k4, strict=True))
