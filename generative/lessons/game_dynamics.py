"""min_x max_y x y: the smallest game, on which gradient descent-ascent spirals away from its only equilibrium, 0.

One step of each method is a linear map of (x, y), so its radius changes by a known factor:

simultaneous   (x − η y, y + η x)                 radius × √(1 + η²)            away
alternating    x' = x − η y, then y + η x'        determinant 1                 circles for η < 2
extragradient  a step from the midpoint's slope   radius × √(1 − η² + η⁴)       inwards for η < 1

Source: Abbasnejad's lecture, "non-convergence"; Korpelevich 1976; Mescheder et al., arXiv 1801.04406.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from generative.names import unknown

Step = Callable[[Tensor, float], Tensor]


def _slope(point: Tensor) -> Tensor:
    """(−∂/∂x, +∂/∂y) of x y: the direction in which both players move, (..., 2) -> (..., 2)."""
    x, y = point.unbind(-1)
    return torch.stack([-y, x], -1)


def _simultaneous(point: Tensor, rate: float) -> Tensor:
    return point + rate * _slope(point)


def _alternating(point: Tensor, rate: float) -> Tensor:
    x, y = point.unbind(-1)
    x = x - rate * y
    return torch.stack([x, y + rate * x], -1)


def _extragradient(point: Tensor, rate: float) -> Tensor:
    return point + rate * _slope(point + rate * _slope(point))


METHODS: dict[str, Step] = {
    "simultaneous": _simultaneous,
    "alternating": _alternating,
    "extragradient": _extragradient,
}


def spiral(method: str, rate: float = 0.1, steps: int = 200) -> Tensor:
    """Return the path (steps + 1, 2) of (x, y) from (1, 0) under a method of `METHODS`; ValueError for another."""
    if method not in METHODS:
        raise ValueError(unknown("method", method, METHODS))
    path = [torch.tensor([1.0, 0.0], dtype=torch.float64)]
    for _ in range(steps):
        path.append(METHODS[method](path[-1], rate))
    return torch.stack(path)
