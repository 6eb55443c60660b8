"""Observation model of a variational autoencoder in which each variable sees those before it.

    p(x | z) = ∏ p(x_i | x_<i, z)

The other half of the lecture's "autoregressive networks in encoder and decoder", an autoregressive posterior
q(z | x) = ∏ N(z_i; μ_i(z_<i, x), σ_i²(z_<i, x)), is `FlowPosteriorVAE` with one inverse autoregressive step: z_<i and
the noise ε_<i that it came from determine each other. A decoder that can do without z will (its KL falls to 0), so use
one with a short memory, or `FreeBitsLoss` (Chen et al., arXiv 1611.02731).
"""

from __future__ import annotations

from torch import Tensor, nn

from generative.autoregressive.model import Autoregressive
from generative.protocol import Given


class AutoregressiveLikelihood(nn.Module):
    """An autoregressive model whose context is a decoder's features (..., in_features).

    Args:
        model: built with `context_features` equal to the decoder's width.
    """

    has_mean = False

    def __init__(self, model: Autoregressive) -> None:
        super().__init__()
        self.model = model
        self.features = model.features

    def standardise(self, x: Tensor) -> Tensor:
        """Return data as its conditional scales it; the shape of x (..., D)."""
        return self.model.conditional.encode(x)[..., 0]

    def forward(self, features: Tensor) -> Given:
        """Return p(x given features), which has a `log_prob` and a `sample`."""
        return self.model(features)
