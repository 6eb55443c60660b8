"""The plain autoencoder min ‖x − x̂(x)‖², and the denoising one min ‖x − x̂(x + noise)‖² (Vincent et al. 2008).

A linear autoencoder spans the space of the first principal components. A denoising one learns the score: with noise of
variance σ² its optimum is x̂(y) = y + σ² ∇ log p_σ(y), p_σ being the density of the noisy data (Alain & Bengio,
arXiv 1211.4246; Miyasawa 1961).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generative.nn import MLP
from generative.protocol import Given, join


@dataclass(frozen=True)
class AutoencoderConfig:
    """Settings of an autoencoder."""

    latent_dim: int = 8
    """Size of the code."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the hidden layers of the encoder and, reversed, of the decoder; empty for a linear model."""
    activation: str = "silu"
    """Activation of the hidden layers."""
    dropout: float = 0.0
    """Dropout probability of the hidden layers while training."""
    noise: float = 0.0
    """Standard deviation of the noise on the standardised input while training; 0 for the plain autoencoder."""
    context_features: int = 0
    """Size of the context, which the encoder and the decoder see."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}; it must be at least 1")
        if self.noise < 0.0:
            raise ValueError(f"noise is {self.noise}; it must be 0 or more")


class Autoencoder(nn.Module):
    """Deterministic encoder and decoder; it is no density and has no `elbo`.

    Args:
        features: D, the number of variables.
        config: the settings.
        shift: mean of the data, scalar or (D,); None for 0.
        scale: unit of the data, scalar or (D,); None for 1. Losses are in squared units of it.
    """

    has = frozenset({"reconstruct"})
    shift: Tensor
    scale: Tensor

    def __init__(
        self, features: int, config: AutoencoderConfig, shift: Tensor | None = None, scale: Tensor | None = None
    ) -> None:
        super().__init__()
        c = self.config = config
        self.features = features
        self.register_buffer("shift", torch.zeros(features) if shift is None else shift.detach().clone())
        self.register_buffer("scale", torch.ones(features) if scale is None else scale.detach().clone())
        size = c.context_features
        self.encoder = MLP(features + size, c.hidden, c.latent_dim, activation_name=c.activation, dropout=c.dropout)
        self.decoder = MLP(
            c.latent_dim + size, c.hidden[::-1], features, activation_name=c.activation, dropout=c.dropout
        )

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the model with its context bound."""
        return Given(self, context)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the codes (..., latent_dim) of x (..., D)."""
        scaled = (x - self.shift) / self.scale
        if self.training and self.config.noise > 0.0:
            scaled = scaled + self.config.noise * torch.randn_like(scaled)
        return self.encoder(join(scaled, context))

    def decode(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """Return x̂ (..., D) of codes (..., latent_dim)."""
        return self.shift + self.scale * self.decoder(join(code, context))

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return x̂ (..., D) of x (..., D)."""
        return self.decode(self.encode(x, context), context)


def reconstruction_loss(model: Autoencoder, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Mean over the batch of ‖(x − x̂) / scale‖², summed over variables; with the input's noise while training."""
    return ((x - model.reconstruct(x, context)) / model.scale).square().sum(-1).mean()
