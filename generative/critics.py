"""Integral probability metrics and the critics that measure them: Lipschitz networks of normalised layers.

ρ_F(p, q) = sup over f in F of |E_p f − E_q f|:  Wasserstein-1 for ‖f‖_L ≤ 1, Dudley's metric for ‖f‖_∞ + ‖f‖_L ≤ 1.

A layer's weights are divided by their rows' norms, which bounds its slope exactly and at no cost: with rows of ℓ2 norm
at most 1 the first layer does not stretch (ℝⁿ, ℓ2) -> (ℝᵐ, ℓ∞), with rows of ℓ1 norm at most 1 the others do not
stretch in ℓ∞, and neither does MaxMin. Such networks are universal among 1-Lipschitz functions (Anil et al.,
arXiv 1811.05381). Source: Abbasnejad's lecture, "Lipschitz Neural Nets" and "Dudley GAN".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rows = Literal["l1", "l2"]


def _normalised(weight: Tensor, rows: Rows) -> Tensor:
    """Divide each row (the first dimension) by its norm where that is above 1."""
    norm = weight.flatten(1).abs().sum(1) if rows == "l1" else weight.flatten(1).square().sum(1).add(1e-12).sqrt()
    return weight / norm.clamp_min(1.0).reshape(-1, *(1,) * (weight.dim() - 1))


@torch.no_grad()
def _start(weight: Tensor, rows: Rows) -> None:
    """Start with rows of norm 1 that keep distances: random directions (l2), or nearly copies of one input (l1)."""
    weight.normal_()
    flat = weight.view(len(weight), -1)
    if rows == "l1":
        flat.mul_(0.1 / flat.shape[1])
        sign = 1.0 - 2.0 * torch.randint(2, (len(flat),), dtype=flat.dtype)
        place = torch.randperm(len(flat)) % flat.shape[1]
        flat[torch.arange(len(flat)), place] += sign
        flat.div_(flat.abs().sum(1, keepdim=True))
    else:
        flat.div_(flat.norm(dim=1, keepdim=True))


class NormalisedLinear(nn.Linear):
    """An affine map (..., in_features) -> (..., out_features) whose rows have norm at most 1.

    `rows="l2"`: slope at most 1 from ℓ2 to ℓ∞ (a first layer); `rows="l1"`: at most 1 from ℓ∞ to ℓ∞ (the others).
    """

    def __init__(self, in_features: int, out_features: int, rows: Rows = "l1") -> None:
        super().__init__(in_features, out_features)
        self.rows = rows
        _start(self.weight, rows)

    def forward(self, features: Tensor) -> Tensor:
        """Return the map's value."""
        return F.linear(features, _normalised(self.weight, self.rows), self.bias)


class NormalisedConv2d(nn.Conv2d):
    """A strided convolution whose kernels have norm at most 1: no output moves further than the patch that it sees."""

    def __init__(self, in_channels: int, out_channels: int, rows: Rows = "l1", *, stride: int = 2) -> None:
        super().__init__(in_channels, out_channels, 3, stride=stride, padding=1)
        self.rows = rows
        _start(self.weight, rows)

    def forward(self, images: Tensor) -> Tensor:
        """Return the convolution (batch, out_channels, height, width)."""
        return F.conv2d(images, _normalised(self.weight, self.rows), self.bias, self.stride, self.padding)


class MaxMin(nn.Module):
    """Sorts neighbouring pairs of units: 1-Lipschitz in ℓ∞, and its slope is a permutation (Anil et al. 2019).

    Args:
        dim: the dimension of the units, of even size; −1 for vectors, 1 for images.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: Tensor) -> Tensor:
        """Return the sorted pairs, of the same shape."""
        first, second = features.unflatten(self.dim, (2, -1)).unbind(self.dim - (self.dim < 0))
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], self.dim)


def lipschitz_network(features: int, hidden: Sequence[int] = (64, 64), out_features: int = 1) -> nn.Sequential:
    """A network (..., features) -> (..., out_features) with |f_i(x) − f_i(y)| ≤ ‖x − y‖₂ for every output i.

    ValueError where a hidden width is odd.
    """
    if not hidden or any(width % 2 for width in hidden):
        raise ValueError(f"hidden is {tuple(hidden)}; it must hold one or more even widths")
    layers: list[nn.Module] = []
    rows: Rows = "l2"
    width = features
    for units in hidden:
        layers += [NormalisedLinear(width, units, rows), MaxMin()]
        width, rows = units, "l1"
    return nn.Sequential(*layers, NormalisedLinear(width, out_features))


class LipschitzConv(nn.Module):
    """A convolutional critic (..., pixels) -> (..., 1) with |f(x) − f(y)| ≤ ‖x − y‖₂; each layer halves the image.

    ValueError where a number of channels is odd.
    """

    def __init__(self, image_shape: tuple[int, int, int], channels: Sequence[int] = (32, 64)) -> None:
        super().__init__()
        if not channels or any(units % 2 for units in channels):
            raise ValueError(f"channels is {tuple(channels)}; it must hold one or more even numbers")
        self.image_shape = image_shape
        layers: list[nn.Module] = []
        depth, height, width = image_shape
        rows: Rows = "l2"
        for units in channels:
            layers += [NormalisedConv2d(depth, units, rows), MaxMin(1)]
            depth, height, width, rows = units, (height + 1) // 2, (width + 1) // 2, "l1"
        self.convolutions = nn.Sequential(*layers)
        self.readout = NormalisedLinear(depth * height * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the critic's value at flattened images."""
        images = x.reshape(-1, *self.image_shape)
        return self.readout(self.convolutions(images).flatten(1)).reshape(*x.shape[:-1], 1)


class _Clamp(torch.autograd.Function):
    """clamp(h, −α, α) whose backward pass also lets through, outside, a gradient that pulls h back inside.

    The plain clamp's gradient is zero there: a critic that starts outside on both samples would never move.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, bound: Tensor) -> Tensor:
        return torch.clamp(value, -bound, bound)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        value, bound = ctx.saved_tensors
        outside = (value > bound).to(value.dtype) - (value < -bound).to(value.dtype)
        passes = (outside == 0) | (outside * gradient > 0)
        return gradient * passes, (gradient * outside).sum()


class BoundedLipschitz(nn.Module):
    """A critic with ‖f‖_∞ + ‖f‖_L ≤ 1: f = clamp((1 − α) h(x), −α, α), h 1-Lipschitz, α in (0, 1) learnt.

    Args:
        network: a 1-Lipschitz module (..., features) -> (..., 1).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.bound_logit = nn.Parameter(torch.zeros(()))

    @property
    def bound(self) -> Tensor:
        """α, the bound on |f|; 1 − α bounds its slope."""
        return self.bound_logit.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return the critic's value."""
        bound = self.bound
        return _Clamp.apply((1.0 - bound) * self.network(x), bound)


def mean_difference(critic: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """E_p f − E_q f from samples x (n, D) of p and y (m, D) of q: at most the metric of the critic's class; scalar."""
    return critic(x).mean() - critic(y).mean()


def critic_loss(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """−(E_p f − E_q f): minimised over a class of critics it gives the negative of their metric; for `training.fit`."""
    return -mean_difference(critic, x, y)


def wasserstein_1d(x: Tensor, y: Tensor) -> Tensor:
    """Wasserstein-1 distance ∫ |F_x − F_y| of one-dimensional samples (n,), (m,) of any sizes; exact, scalar."""
    values = torch.cat([x, y]).sort().values
    below_x = torch.searchsorted(x.sort().values, values[:-1], right=True) / len(x)
    below_y = torch.searchsorted(y.sort().values, values[:-1], right=True) / len(y)
    return ((below_x - below_y).abs().to(values.dtype) * values.diff()).sum()
