"""Uncertainty-aware GAN: generator and critic are random functions, and every loss is a Monte-Carlo average.

Source: Abbasnejad's lecture, "Uncertainty-aware GAN"; dropout as the posterior: Gal & Ghahramani, arXiv 1506.02142.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from generative.adversarial.gan import GAN
from generative.nn import MCDropout, sampled_theta
from generative.protocol import Given


class UncertainGAN(nn.Module):
    """A GAN whose players have dropout; each loss averages over `draws` pairs of functions (θ_G, θ_D).

    A fresh mask per draw, shared by the whole minibatch, is one function. The gradient's variance over the draws falls
    as 1/draws.

    Args:
        gan: a `GAN` without classes, blur or penalty, whose networks have `MCDropout` layers.
        draws: S, number of functions per loss.
    """

    has: ClassVar[frozenset[str]] = GAN.has
    critic_parts: ClassVar[tuple[str, ...]] = ("critic",)

    def __init__(self, gan: GAN, draws: int = 4) -> None:
        super().__init__()
        if not any(isinstance(layer, MCDropout) for layer in gan.critic.modules()):
            raise ValueError("the critic has no dropout, so it is no random function; build it with dropout above 0")
        self.critic = gan.critic
        gan.critic = nn.Identity()
        self.gan = gan
        self.draws = draws

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the sampler; each sample comes from its own function."""
        return Given(self, context)

    def rsample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, features), each with its own draw of the generator."""
        with sampled_theta(self.gan.generator, "element"):
            return self.gan.rsample(sample_shape)

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def scores(self, x: Tensor, draws: int | None = None) -> Tensor:
        """Return the critic's logits at x under several functions: (n, features) -> (draws, n), or (draws, n, features)
        -> (draws, n)."""
        count = draws or self.draws
        many = x if x.dim() == 3 else x.expand(count, *x.shape)
        with sampled_theta(self.critic, "fresh"):
            return self.critic((many - self.gan.mean) / self.gan.scale).squeeze(-1)

    @torch.no_grad()
    def score_with_error(self, x: Tensor, draws: int = 100) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation over the functions of the critic's logit at x, (n, features)."""
        scores = self.scores(x, draws)
        return scores.mean(0), scores.std(0)

    def score(self, x: Tensor) -> Tensor:
        """Return the mean over the functions of the critic's logit at data (n, features); (n,)."""
        return self.score_with_error(x)[0]

    def _fake(self, count: int) -> Tensor:
        """Return generated samples (draws, count, features), one function per draw."""
        with sampled_theta(self.gan.generator, "fresh"):
            return self.gan.rsample((self.draws, count))

    def critic_loss(self, x: Tensor) -> Tensor:
        """Return the critic's loss, averaged over the functions."""
        with torch.no_grad():
            fake = self._fake(len(x))
        return self.gan.objective.critic(self.scores(x), self.scores(fake))

    def generator_loss(self, x: Tensor) -> Tensor:
        """Return the generator's loss, averaged over the functions."""
        return self.gan.objective.generator(self.scores(x), self.scores(self._fake(len(x))))
