"""Generative adversarial density estimator: an exponential family whose normaliser a generator bounds.

p(x | w) = exp(s(x) − A),  A = sup_q E_q[s(x)] + H(q) = log ∫ exp(s(x)) dx,  s = wᵀφ

The generator climbs to A from below, A − A_q = KL(q ‖ p); at the saddle E_data[φ] = E_q[φ].
Source: Abbasnejad et al., "A generative adversarial density estimator", CVPR 2019; Abbasnejad's lecture.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from generative.flows import Flow
from generative.protocol import Given


class GADE(nn.Module):
    """An energy network and an invertible generator, whose entropy is exact; a `Game`.

    The lecture's generator has an entropy of its latent space and its curvature; an invertible one has both exactly,
    which makes A_q a bound without a caveat.

    Args:
        potential: s without its base measure, (..., features) -> (..., 1).
        generator: a flow with `rsample` and `log_prob`, in the data's units.
        mean: of the data (features,).
        scale: of the data (features,).
        base_scale: s has −½ ‖(x − mean) / (base_scale · scale)‖² added, so that A is finite whatever the network.
        penalty: weight of E s² in the critic's loss, which keeps the potential from drifting.
    """

    has: ClassVar[frozenset[str]] = frozenset({"sample", "rsample"})
    critic_parts: ClassVar[tuple[str, ...]] = ("potential",)
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        potential: nn.Module,
        generator: Flow,
        mean: Tensor,
        scale: Tensor,
        *,
        base_scale: float = 2.0,
        penalty: float = 1e-3,
    ) -> None:
        super().__init__()
        self.potential = potential
        self.generator = generator
        self.base_scale = base_scale
        self.penalty = penalty
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", scale.clone())

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the sampler q; the density is `log_density`, whose normaliser is a bound."""
        if context is not None:
            raise ValueError("GADE takes no context")
        return Given(self)

    def score(self, x: Tensor) -> Tensor:
        """Return s(x) = wᵀφ(x), the log density without its normaliser, (..., features) -> (...)."""
        standardised = (x - self.mean) / self.scale
        base = 0.5 * standardised.square().sum(-1) / self.base_scale**2
        return self.potential(standardised).squeeze(-1) - base

    def normaliser_bound(self, samples: int = 1000) -> Tensor:
        """Return A_q = E_q[s(x)] + H(q) ≤ A from fresh samples of the generator; scalar, nats."""
        x = self.generator.rsample((samples,))
        return (self.score(x) - self.generator.log_prob(x)).mean()

    def log_density(self, x: Tensor, normaliser: Tensor) -> Tensor:
        """Return s(x) − normaliser in nats, (..., features) -> (...); with A_q it is at least log p(x)."""
        return self.score(x) - normaliser

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return the generator's samples (*sample_shape, features) without gradients."""
        return self.generator.sample(sample_shape)

    def rsample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return the generator's samples through which gradients flow."""
        return self.generator.rsample(sample_shape)

    def critic_loss(self, x: Tensor) -> Tensor:
        """Return −(E_data[s] − E_q[s]): the likelihood's gradient, with the generator in the place of p."""
        real, fake = self.score(x), self.score(self.generator.sample((len(x),)))
        drift = self.penalty * (real.square().mean() + fake.square().mean())
        return fake.mean() - real.mean() + drift

    def generator_loss(self, x: Tensor) -> Tensor:
        """Return −A_q = KL(q ‖ p) − A."""
        return -self.normaliser_bound(len(x))
