"""A small denoising diffusion model (Ho et al., arXiv 2006.11239) with the cosine schedule (arXiv 2102.09672)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from generative.diffusion.networks import TimeField
from generative.protocol import Given, leading_shape


def cosine_schedule(steps: int, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """Return β_1 .. β_T with ᾱ_t ∝ cos²(π/2 (t/T + s)/(1 + s)), each at most `largest`; float64 (steps,)."""
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    level = torch.cos(0.5 * math.pi * (t + offset) / (1.0 + offset)).square()
    return (1.0 - level[1:] / level[:-1]).clamp(max=largest)


class DDPM(nn.Module):
    """q(x_t given x_{t−1}) = N(√(1 − β_t) x_{t−1}, β_t); a network finds the ε of x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε.

    Args:
        features: number of variables.
        steps: T, number of noise levels.
        hidden: widths of the noise network.
        context_features: size of the context, 0 for none.
        mean: standardisation, subtracted from the data; zero by default.
        scale: standardisation, divides the data; one by default.
        noise: the predictor ε(t / T, x_t, context); by default a `TimeField`.

    `loss` is the simplified objective E ‖ε − ε̂‖²; `elbo` the variational bound. The reverse
    steps have variance β_t, the right one where the density is smooth (the other choice, β̃_t, is for isolated points).
    """

    has: ClassVar[frozenset[str]] = frozenset({"elbo", "sample"})
    mean: Tensor
    scale: Tensor
    alpha: Tensor
    level: Tensor

    def __init__(
        self,
        features: int,
        *,
        steps: int = 100,
        hidden: Sequence[int] = (128, 128, 128),
        context_features: int = 0,
        mean: Tensor | None = None,
        scale: Tensor | None = None,
        noise: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if steps < 2:
            raise ValueError(f"steps is {steps}; it must be at least 2")
        self.features = features
        self.steps = steps
        self.noise = noise or TimeField(features, hidden=hidden, context_features=context_features)
        alpha = 1.0 - cosine_schedule(steps)
        dtype = torch.get_default_dtype()
        # Index 0 is the data: α_0 = ᾱ_0 = 1, so that x_t is at index t.
        self.register_buffer("alpha", torch.cat([torch.ones(1), alpha]).to(dtype))
        self.register_buffer("level", torch.cat([torch.ones(1), alpha.cumprod(0)]).to(dtype))
        self.register_buffer("mean", torch.zeros(features) if mean is None else mean.clone())
        self.register_buffer("scale", torch.ones(features) if scale is None else scale.clone())

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the distribution given a context (..., context_features)."""
        return Given(self, context)

    def noised(self, data: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε of standardised data (..., D) at integer times (...)."""
        level = self.level[t].unsqueeze(-1)
        return level.sqrt() * data + (1.0 - level).sqrt() * noise

    def posterior(self, data: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (..., D) and variance (..., 1) of q(x_{t−1} given x_t, x_0) (eqs. 6 and 7)."""
        alpha, level, before = (values.unsqueeze(-1) for values in (self.alpha[t], self.level[t], self.level[t - 1]))
        mean = (before.sqrt() * (1.0 - alpha) * data + alpha.sqrt() * (1.0 - before) * x) / (1.0 - level)
        return mean, (1.0 - alpha) * (1.0 - before) / (1.0 - level)

    def loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean over the batch of ‖ε − ε̂(x_t)‖² at random times, (batch, features) -> scalar."""
        data = (x - self.mean) / self.scale
        t = torch.randint(1, self.steps + 1, data.shape[:-1], device=data.device)
        noise = torch.randn_like(data)
        return (self._noise(self.noised(data, t, noise), t, context) - noise).square().sum(-1).mean()

    def elbo(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return one noisy estimate of the bound on log p(x given context), in nats, (..., features) -> (...).

        E_q[log p(x_0 given x_1)] − Σ_{t>1} KL(q(x_{t−1} given x_t, x_0) ‖ p(x_{t−1} given x_t))
        − KL(q(x_T given x_0) ‖ N(0, 1)), each reverse step of variance β_t. Costs T passes.
        """
        data = (x - self.mean) / self.scale
        last = self.level[self.steps]
        prior = 0.5 * (last * data.square() - last - torch.log1p(-last)).sum(-1)
        bound = -prior - self.scale.log().sum()
        for step in range(1, self.steps + 1):
            t = torch.full(data.shape[:-1], step, device=data.device)
            noised = self.noised(data, t, torch.randn_like(data))
            guess, variance = self._step(noised, t, context)
            if step == 1:
                log_p = -0.5 * ((data - guess).square() / variance + variance.log() + math.log(2.0 * math.pi))
                bound = bound + log_p.sum(-1)
            else:
                mean, narrow = self.posterior(data, noised, t)
                ratio = narrow / variance
                bound = bound - 0.5 * ((mean - guess).square() / variance + ratio - 1.0 - ratio.log()).sum(-1)
        return bound

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, *batch, features): T ancestral steps."""
        x = torch.randn_like(self.mean.expand(*leading_shape(sample_shape, context), self.features))
        with torch.no_grad():
            for step in range(self.steps, 0, -1):
                t = torch.full(x.shape[:-1], step, device=x.device)
                mean, variance = self._step(x, t, context)
                x = mean + variance.sqrt() * torch.randn_like(x) if step > 1 else mean
        return x * self.scale + self.mean

    def _noise(self, x: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        return self.noise(t.to(x.dtype) / self.steps, x, context)

    def _step(self, x: Tensor, t: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the mean of p(x_{t−1} given x_t), the posterior's at the predicted data, and its variance β_t."""
        level = self.level[t].unsqueeze(-1)
        data = (x - (1.0 - level).sqrt() * self._noise(x, t, context)) / level.sqrt()
        return self.posterior(data, x, t)[0], (1.0 - self.alpha[t]).unsqueeze(-1)
