"""The Gaussian variational autoencoder.

    p(z) = N(0, I) or p(z | c),    p(x | z, c) by a likelihood,    q(z | x, c) = N(μ(x, c), diag σ²(x, c))

Sources: Kingma & Welling (arXiv 1312.6114), Rezende et al. (arXiv 1401.4082); β-VAE: Higgins et al. (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from generative.distributions import Head, gaussian, standard_normal
from generative.nn import MLP, activation
from generative.objectives import Terms, sampled_terms
from generative.protocol import Given, join, leading_shape
from generative.vae.likelihood import Likelihood, ObservationModel


@dataclass(frozen=True)
class VAEConfig:
    """Sizes and regularisation of a variational autoencoder."""

    latent_dim: int = 8
    """Number of latent variables."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the hidden layers of the encoder and, reversed, of the decoder; empty for a linear model."""
    activation: str = "silu"
    """Activation of the hidden layers."""
    dropout: float = 0.0
    """Dropout probability of the hidden layers while training."""
    input_noise: float = 0.0
    """Standard deviation of the noise on the encoder's standardised input while training (q stays a posterior)."""
    context_features: int = 0
    """Size of the context c; 0 for an unconditional model."""
    conditional_prior: bool = True
    """Whether the prior is learned as p(z | c) where there is a context; else it stays N(0, I)."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}; it must be at least 1")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden is {self.hidden}; every width must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")
        if self.context_features < 0:
            raise ValueError(f"context_features is {self.context_features}; it must be 0 or more")


class Trunk(nn.Sequential):
    """Hidden layers with an activation after the last one: (..., in_features) -> (..., out_features).

    With no hidden layers it is the identity, and `out_features` equals `in_features`.
    """

    def __init__(self, in_features: int, hidden: tuple[int, ...], activation_name: str, dropout: float = 0.0) -> None:
        self.out_features = hidden[-1] if hidden else in_features
        layers: list[nn.Module] = []
        if hidden:
            mlp = MLP(in_features, hidden[:-1], hidden[-1], activation_name=activation_name, dropout=dropout)
            layers = [*mlp, activation(activation_name)]
            if dropout > 0.0:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers)


class GaussianVAE(nn.Module):
    """Variational autoencoder with a Gaussian posterior; with a context, its prior, encoder and decoder see it.

    Args:
        likelihood: the observation model; its `in_features` is `decoder_width(config)`.
        config: the settings.
        encoder: (..., D + context_features) -> (..., `encoder.out_features`) in place of the multilayer perceptron.
        decoder: (..., latent_dim + context_features) -> what the likelihood takes, likewise.
    """

    has = frozenset({"elbo", "sample", "mean", "reconstruct"})
    encoder: Any

    def __init__(
        self,
        likelihood: ObservationModel,
        config: VAEConfig,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        c = self.config = config
        self.likelihood = likelihood
        if not likelihood.has_mean:
            self.has = GaussianVAE.has - {"mean", "reconstruct"}
        if encoder is None:
            encoder = Trunk(likelihood.features + c.context_features, c.hidden, c.activation, c.dropout)
        if decoder is None:
            decoder = Trunk(c.latent_dim + c.context_features, c.hidden[::-1], c.activation, c.dropout)
        self.encoder, self.decoder = encoder, decoder
        width: Any = encoder.out_features
        self.posterior_head = Head(width, 2 * c.latent_dim, gaussian)
        self.prior_net: nn.Module | None = None
        if c.context_features and c.conditional_prior:
            trunk = Trunk(c.context_features, c.hidden[::-1], c.activation, c.dropout)
            self.prior_net = nn.Sequential(trunk, Head(trunk.out_features, 2 * c.latent_dim, gaussian))

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x) or p(x | context), which has an `elbo` and a `sample`."""
        return Given(self, context)

    def prior(self, context: Tensor | None, like: Tensor) -> Distribution:
        """Return p(z) or p(z | context); `like` (..., latent_dim) gives shape, dtype and device of the former."""
        if self.prior_net is None:
            return standard_normal(like)
        return self.prior_net(context)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the encoder's features (..., F) of x (..., D)."""
        self._check(context)
        scaled = self.likelihood.standardise(x)
        if self.training and self.config.input_noise > 0.0:
            scaled = scaled + self.config.input_noise * torch.randn_like(scaled)
        return self.encoder(join(scaled, context))

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Independent:
        """Return q(z | x, context), event shape (latent_dim,)."""
        return self.posterior_head(self.encode(x, context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """Return p(x | z, context), event shape (D,)."""
        return self.likelihood(self.decoder(join(z, context)))

    def terms(self, x: Tensor, context: Tensor | None = None) -> Terms:
        """Draw z ~ q(z | x, context) once; the terms of the bound, with the KL in closed form."""
        q = self.posterior(x, context)
        z = q.rsample()
        return sampled_terms(self.decode(z, context).log_prob(x), z, q, self.prior(context, z))

    def elbo(self, x: Tensor, context: Tensor | None = None, beta: float = 1.0) -> Tensor:
        """One-sample E_q log p(x | z) − β KL[q ‖ p] in nats, (..., D) -> (...)."""
        return self.terms(x, context).elbo(beta)

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z) at the posterior's mean, (..., D)."""
        return self.decode(self.posterior(x, context).mean, context).mean

    def mean(self, context: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z, context) at the prior's mean, (..., D)."""
        return self.decode(self.prior(context, self._latent_like((), context)).mean, context).mean

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, ..., D)."""
        return self.predict(sample_shape, context).sample()

    def predict(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Distribution:
        """Draw z from the prior and return p(x | z, context), batch shape (*sample_shape, ...)."""
        self._check(context)
        if self.prior_net is None:
            z = torch.randn_like(self._latent_like(sample_shape, context))
        else:
            z = self.prior_net(context).rsample(torch.Size(sample_shape))
        return self.decode(z, context)

    def _latent_like(self, sample_shape: tuple[int, ...] | torch.Size, context: Tensor | None) -> Tensor:
        weight = self.posterior_head.affine.weight
        return weight.new_zeros(*leading_shape(sample_shape, context), self.config.latent_dim)

    def _check(self, context: Tensor | None) -> None:
        wanted = self.config.context_features
        given = 0 if context is None else context.shape[-1]
        if given != wanted:
            raise ValueError(f"the context has {given} features; this model takes {wanted}")


def decoder_width(config: VAEConfig) -> int:
    """Return the number of features that the decoder of `GaussianVAE` hands to its likelihood."""
    return config.hidden[0] if config.hidden else config.latent_dim + config.context_features


def linear_vae_log_likelihood(model: GaussianVAE, x: Tensor) -> Tensor:
    """Exact log p(x) in nats of a linear VAE with an isotropic likelihood: N(shift + scale b, W Wᵀ + σ² I).

    The model is probabilistic PCA, so the evidence has a closed form. (..., D) -> (...).
    """
    out = model.likelihood
    if model.config.hidden or not isinstance(out, Likelihood) or out.name != "isotropic":
        raise ValueError(f"hidden is {model.config.hidden}; the exact evidence needs () and an isotropic Likelihood")
    loading = out.scale.unsqueeze(-1) * out.affine.weight
    noise = torch.exp(2.0 * out.log_scale) * torch.eye(out.features, dtype=loading.dtype, device=loading.device)
    mean = out.shift + out.scale * out.affine.bias
    return torch.distributions.MultivariateNormal(mean, loading @ loading.T + noise, validate_args=False).log_prob(x)


def merge_gaussians(first: Independent, second: Independent) -> Independent:
    """Return the normalised product of two diagonal Gaussians: precisions add, means are precision-weighted."""
    a, b = first.base_dist, second.base_dist
    precision_a, precision_b = a.scale.pow(-2), b.scale.pow(-2)
    precision = precision_a + precision_b
    mean = (precision_a * a.loc + precision_b * b.loc) / precision
    return Independent(torch.distributions.Normal(mean, precision.rsqrt(), validate_args=False), 1)
