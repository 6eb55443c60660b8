"""Gaussian Markov random field: a Gaussian whose precision is zero outside a graph.

p(x) ∝ exp(−½ (x − μ)ᵀ Λ (x − μ)),  Λ_ij = 0 where i and j are no neighbours: x_i ⊥ x_j given the others.
Source: Rue & Held 2005; Mohamed's lecture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal
from torch.nn import functional as F

from generative.protocol import OfDistribution


class GaussianMRF(OfDistribution):
    """A Gaussian over a graph; Λ is kept positive definite by a dominant diagonal.

    Λ_ij = −A_ij (W_ij + W_ji) / 2,  Λ_ii = softplus(d_i) + Σ_j |Λ_ij|

    Args:
        adjacency: symmetric 0/1 matrix (D, D); its diagonal is ignored.
        mean: start of μ (D,); zero by default.
        scale: unit of each variable (D,), e.g. the data's standard deviation; one by default.
    """

    adjacency: Tensor
    scale: Tensor

    def __init__(self, adjacency: Tensor, *, mean: Tensor | None = None, scale: Tensor | None = None) -> None:
        super().__init__()
        D = len(adjacency)
        self.register_buffer("adjacency", (adjacency * (1.0 - torch.eye(D))).float())
        self.register_buffer("scale", torch.ones(D) if scale is None else scale.clone())
        self.location = nn.Parameter(torch.zeros(D) if mean is None else mean.clone())
        self.coupling = nn.Parameter(torch.zeros(D, D))
        self.diagonal = nn.Parameter(torch.full((D,), 0.5413))

    @property
    def precision(self) -> Tensor:
        """Λ (D, D) in the data's units."""
        off = -0.5 * self.adjacency * (self.coupling + self.coupling.T)
        unit = off + torch.diag(F.softplus(self.diagonal) + off.abs().sum(-1))
        return unit / self.scale / self.scale.unsqueeze(-1)

    def distribution(self) -> MultivariateNormal:
        """Return the Gaussian."""
        return MultivariateNormal(self.location, precision_matrix=self.precision, validate_args=False)

    def conditional(self, x: Tensor, i: int) -> Normal:
        """Return p(x_i given the others) = N(μ_i − Λ_ii⁻¹ Σ_(j ≠ i) Λ_ij (x_j − μ_j), Λ_ii⁻¹), (..., D) -> (...)."""
        row = self.precision[i]
        pull = (x - self.location) @ row - row[i] * (x[..., i] - self.location[i])
        return Normal(self.location[i] - pull / row[i], row[i].rsqrt(), validate_args=False)
