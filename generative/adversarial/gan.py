"""Generative adversarial network, conditional or not, over any objective and any critic.

min_G max_D E log D(x) + E log(1 − D(G(z))),  D* = p / (p + q),  max_D V = 2 JSD(p ‖ q) − log 4

Source: Goodfellow et al., arXiv 1406.2661; Mirza & Osindero, arXiv 1411.1784 (conditional); Mescheder et al.,
arXiv 1801.04406 (gradient penalty); Abbasnejad's lecture.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.adversarial.objectives import objective
from generative.protocol import Given, join


class GAN(nn.Module):
    """A generator G(z, y) and a critic of (x, y), both in standardised units; a `Game`.

    Args:
        generator: (..., latent_dim + classes) -> (..., features).
        critic: (..., features + classes) -> (..., 1).
        latent_dim: size of z ~ N(0, I).
        classes: number of classes that both players see as a one-hot; 0 for none.
        objective_name: one of `OBJECTIVES`.
        gradient_penalty: γ of (γ/2) E‖∇_x critic‖², over real and over fake samples (R1 and R2); 0 for none. A pair
            (first, last) falls geometrically over the training (arXiv 2501.05441): a smooth critic spreads the samples
            over all modes before a steep one sharpens them.
        mean: standardisation (features,), subtracted from the data; zero by default.
        scale: standardisation (features,), divides the data; one by default.
    """

    has: ClassVar[frozenset[str]] = frozenset({"sample", "rsample"})
    critic_parts: ClassVar[tuple[str, ...]] = ("critic",)
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        latent_dim: int,
        features: int,
        *,
        classes: int = 0,
        objective_name: str = "non-saturating",
        gradient_penalty: float | tuple[float, float] = 0.0,
        mean: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.latent_dim = latent_dim
        self.classes = classes
        self.objective = objective(objective_name)
        self.gradient_penalty = gradient_penalty
        self.begin_step(0.0)
        self.register_buffer("mean", torch.zeros(features) if mean is None else mean.clone())
        self.register_buffer("scale", torch.ones(features) if scale is None else scale.clone())

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the sampler given one-hot classes (..., classes); without them the classes are drawn uniformly."""
        return Given(self, context)

    def begin_step(self, progress: float) -> None:
        """Set γ for a share of the training done, in [0, 1]."""
        pair = self.gradient_penalty
        first, last = pair if isinstance(pair, tuple) else (pair, pair)
        self.penalty = first * (last / first) ** progress if first else 0.0

    def score(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the critic's free output at data (..., features): the logit of D, or the value of f; (...).

        A conditional critic without a context gives its mean over the classes.
        """
        standardised = (x - self.mean) / self.scale
        if context is None and self.classes:
            every = self.one_hot(torch.arange(self.classes, device=x.device))
            return self._critic(standardised.unsqueeze(-2), every).mean(-1)
        return self._critic(standardised, context)

    def rsample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, *batch, features) through which gradients flow."""
        shape = torch.Size(sample_shape) + (context.shape[:-1] if context is not None else torch.Size())
        if context is None and self.classes:
            context = self.one_hot(torch.randint(self.classes, shape, device=self.mean.device))
        return self._generate(shape, context) * self.scale + self.mean

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, *batch, features) without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape, context)

    def one_hot(self, labels: Tensor) -> Tensor:
        """Return class numbers (...) as a context (..., classes)."""
        return F.one_hot(labels, self.classes).to(self.mean.dtype)

    def critic_loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the critic's loss of data (batch, features), labels (batch,) where it is conditional."""
        context = None if labels is None else self.one_hot(labels)
        real = (x - self.mean) / self.scale
        with torch.no_grad():
            fake = self._generate(x.shape[:1], context)
        loss = self.objective.critic(self._critic(real, context), self._critic(fake, context))
        if self.penalty:
            slopes = self._squared_slope(real, context) + self._squared_slope(fake, context)
            loss = loss + 0.5 * self.penalty * slopes
        return loss

    def generator_loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the generator's loss; the real samples matter to relativistic objectives only."""
        context = None if labels is None else self.one_hot(labels)
        fake = self._critic(self._generate(x.shape[:1], context), context)
        return self.objective.generator(self._critic((x - self.mean) / self.scale, context), fake)

    def _generate(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        """Return standardised samples (*shape, features)."""
        z = torch.randn(*shape, self.latent_dim, dtype=self.mean.dtype, device=self.mean.device)
        return self.generator(join(z, context))

    def _critic(self, standardised: Tensor, context: Tensor | None) -> Tensor:
        return self.critic(join(standardised, context)).squeeze(-1)

    def _squared_slope(self, standardised: Tensor, context: Tensor | None) -> Tensor:
        """E‖∇_x critic‖², a scalar."""
        gradient = torch.func.grad(lambda points: self._critic(points, context).sum())(standardised)
        return gradient.square().sum(-1).mean()
