"""Disjoint supports: against the optimal critic the saturating generator learns nothing, against an IPM it does.

Data N(0, s²) and a generator N(θ, s²), θ far from 0. The optimal discriminator's logit is log p/q, of slope −θ/s²,
and the generator's gradient is taken with the critic fixed, as the game does:

saturating       d/dθ E log(1 − D(θ + s z)) = −E[σ(logit) · slope]           about 0
non-saturating   d/dθ −E log D(θ + s z)     = −E[(1 − σ(logit)) · slope]     θ/s²: large, and unbounded as s falls
Wasserstein-1    d/dθ −E f(θ + s z), f = −x                                  1, at any distance
Dudley           the same with slope 2 / (2 + d) for points d apart          falls, but does not vanish

Source: Arjovsky & Bottou, arXiv 1701.04862; Abbasnejad's lecture, "Problems with GANs".
"""

from __future__ import annotations

import torch
from torch import Tensor

from generative.adversarial.objectives import objective


def generator_slopes(distance: Tensor, noise: float = 0.1, nodes: int = 2001) -> dict[str, Tensor]:
    """Return |d loss / dθ| of each generator at its optimal critic, by quadrature over the generator's noise.

    Args:
        distance: θ > 0 (n,).
        noise: s.
        nodes: quadrature nodes over ±8 standard deviations.

    Returns:
        By objective, (n,): "saturating" and "non-saturating" (with D* = p/(p + q)), "wasserstein" and "dudley" (with
        the critics of two point masses at this distance).
    """
    z = torch.linspace(-8.0, 8.0, nodes, dtype=torch.float64)
    weight = torch.softmax(-0.5 * z.square(), 0)
    theta = distance.double().unsqueeze(-1)
    slope = -theta / noise**2
    slopes = {}
    for name in ("saturating", "non-saturating"):
        logit = (slope * (theta + noise * z - 0.5 * theta)).requires_grad_()
        # the mean over all entries times their number: the gradient at each entry is that of its own loss
        total = objective(name).generator(logit, logit) * logit.numel()
        gradient = torch.autograd.grad(total, logit)[0]
        slopes[name] = (weight * gradient * slope).sum(-1).abs().detach()
    slopes["wasserstein"] = torch.ones_like(distance, dtype=torch.float64)
    slopes["dudley"] = 2.0 / (2.0 + distance.double())
    return slopes
