"""A diagonal Gaussian that a normalising flow bends: a transition with more than one peak, or with a curved one.

    s = f(z; c),  z ~ N(μ, diag σ²),  log p(s) = log N(z; μ, σ²) + log |det ∂z/∂s|

A Gaussian has one peak, but H decisions later a machine has failed or it has not. Source of the change of variables:
Rezende & Mohamed 2015, arXiv 1505.05770.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints, register_kl

if TYPE_CHECKING:
    from generative.flows.flow import Flow


class FlowedGaussian(Distribution):
    """The distribution of f(z; context) for a diagonal Gaussian z.

    Args:
        base: of z, with batch shape (...) and event shape (S,).
        flow: f, which maps noise to data; its standardisation counts.
        context: of the flow, (..., C).
    """

    has_rsample = True
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, base: Independent, flow: Flow, context: Tensor) -> None:
        self.base = base
        self.flow = flow
        self.context = context
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def bend(self, z: Tensor) -> Tensor:
        """f(z; context) of draws z of the base, (*sample_shape, ..., S)."""
        return self.flow.to_data(z, self.context)[0]

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw states (*sample_shape, ..., S) through which gradients pass."""
        return self.bend(self.base.rsample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(s) in nats, (*sample_shape, ...)."""
        z, log_det = self.flow.to_noise(value, self.context)
        log_prob: Tensor = self.base.log_prob(z) + log_det
        return log_prob

    def entropy(self) -> Tensor:
        """Entropy (...) in nats: that of z exactly, and E log |det ∂s/∂z| by one draw."""
        log_det = self.flow.to_data(self.base.rsample(), self.context)[1]
        entropy: Tensor = self.base.entropy() + log_det
        return entropy


@register_kl(Independent, FlowedGaussian)
def _kl(q: Independent, p: FlowedGaussian) -> Tensor:
    """KL[q ‖ p] by one draw of q, with q's entropy in closed form; without bias."""
    cross: Tensor = p.log_prob(q.rsample())
    return -q.entropy() - cross
