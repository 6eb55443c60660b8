"""Noise-contrastive estimation: an unnormalised model and its log Z, learnt by telling data from noise.

log p(x) ≈ f(x) − c;  maximise E_data log σ(G(x)) + ν E_noise log σ(−G(x)),  G = f − c − log noise(x) − log ν

Source: Gutmann & Hyvärinen 2010, 2012; Mohamed's lecture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from generative.protocol import Given


def nce_objective(data_log_ratio: Tensor, noise_log_ratio: Tensor, noise_per_sample: float = 1.0) -> Tensor:
    """Return −E_data log σ(r − log ν) − ν E_noise log σ(−(r − log ν)) for r = log model − log noise; scalar, nats."""
    shift = torch.tensor(noise_per_sample, dtype=data_log_ratio.dtype).log().to(data_log_ratio)
    data = F.softplus(shift - data_log_ratio).mean()
    return data + noise_per_sample * F.softplus(noise_log_ratio - shift).mean()


class NoiseContrastive(nn.Module):
    """An energy network with a learnt normaliser, contrasted with a Gaussian as wide as the data.

    `log_density` estimates log p without being normalised exactly, so it is no `log_prob`; samples are noise resampled
    by the estimated ratio.

    Args:
        network: f, (..., D) -> (..., 1) or (...).
        mean: of the noise (D,).
        covariance: of the noise (D, D).
        noise_per_sample: ν.
    """

    has = frozenset({"sample"})
    noise_mean: Tensor
    noise_root: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, covariance: Tensor, noise_per_sample: int = 4) -> None:
        super().__init__()
        self.network = network
        self.log_normaliser = nn.Parameter(torch.zeros(()))
        self.noise_per_sample = noise_per_sample
        self.register_buffer("noise_mean", mean.clone())
        self.register_buffer("noise_root", torch.linalg.cholesky(covariance))

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the model; it takes no context."""
        if context is not None:
            raise ValueError("noise-contrastive estimation takes no context")
        return Given(self)

    def noise(self) -> MultivariateNormal:
        """Return the noise distribution."""
        return MultivariateNormal(self.noise_mean, scale_tril=self.noise_root, validate_args=False)

    def unnormalised(self, x: Tensor) -> Tensor:
        """Return f(x), (..., D) -> (...)."""
        return self.network(x).reshape(x.shape[:-1])

    def log_density(self, x: Tensor) -> Tensor:
        """Return f(x) − c, the estimate of log p(x) in nats, (..., D) -> (...)."""
        return self.unnormalised(x) - self.log_normaliser

    def loss(self, x: Tensor) -> Tensor:
        """Return the objective of a batch (batch, D), with fresh noise; scalar."""
        noise = self.noise()
        y = noise.sample((len(x) * self.noise_per_sample,))
        ratio = [self.log_density(points) - noise.log_prob(points) for points in (x, y)]
        return nce_objective(ratio[0], ratio[1], self.noise_per_sample)

    @torch.no_grad()
    def sample(
        self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None, proposals: int = 64
    ) -> Tensor:
        """Return samples (*sample_shape, D): one of `proposals` noise points each, weighted by the density ratio."""
        noise = self.noise()
        points = noise.sample((*sample_shape, proposals))
        log_weight = self.log_density(points) - noise.log_prob(points)
        chosen = torch.distributions.Categorical(logits=log_weight, validate_args=False).sample()
        return points.gather(-2, chosen[..., None, None].expand(*chosen.shape, 1, points.shape[-1])).squeeze(-2)
