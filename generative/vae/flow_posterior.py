"""Variational autoencoder whose posterior is a normalising flow of the encoder's Gaussian.

    z_0 ~ N(μ(x), diag σ²(x)),  z_K = f_K ∘ … ∘ f_1(z_0),  log q(z_K | x) = log q(z_0 | x) − Σ log |det ∂f_k/∂z|

Sources: Rezende & Mohamed (planar, radial; arXiv 1505.05770), Kingma et al. (inverse autoregressive; arXiv 1606.04934).
The flows see the encoder's features, and come from `generative.flows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from generative.flows.flow import Flow
from generative.flows.library import iaf, planar, radial
from generative.names import check_choices
from generative.objectives import Terms
from generative.protocol import Given
from generative.vae.core import GaussianVAE, VAEConfig
from generative.vae.likelihood import ObservationModel

FlowName = Literal["planar", "radial", "iaf"]


@dataclass(frozen=True)
class FlowPosteriorConfig:
    """Settings of a posterior flow."""

    flow: FlowName = "iaf"
    """Family of the flow."""
    transforms: int = 2
    """Number of its steps K."""
    hidden: tuple[int, ...] = (64,)
    """Hidden widths of an inverse autoregressive step."""
    context_features: int = 16
    """Size of the encoder's message to the flow."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        check_choices(self)
        if self.transforms < 1:
            raise ValueError(f"transforms is {self.transforms}; it must be at least 1")


class FlowPosteriorVAE(nn.Module):
    """A Gaussian VAE whose samples of z go through a flow; prior, encoder and decoder stay as they are.

    Args:
        likelihood: the observation model.
        config: settings of the Gaussian VAE.
        flow: settings of the flow.
    """

    has = frozenset({"elbo", "sample", "mean"})

    def __init__(self, likelihood: ObservationModel, config: VAEConfig, flow: FlowPosteriorConfig) -> None:
        super().__init__()
        self.vae = GaussianVAE(likelihood, config)
        self.has = FlowPosteriorVAE.has & self.vae.has
        self.message = nn.Linear(self.vae.encoder.out_features, flow.context_features)
        self.flow = _posterior_flow(config.latent_dim, flow)

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x) or p(x | context), which has an `elbo` and a `sample`."""
        return Given(self, context)

    def terms(self, x: Tensor, context: Tensor | None = None) -> Terms:
        """Draw z_K ~ q once; its KL is that sample's log q − log p."""
        features = self.vae.encode(x, context)
        base = self.vae.posterior_head(features)
        z, log_q = self.flow.rsample_and_log_prob((), self.message(features), base)
        log_p = self.vae.prior(context, z).log_prob(z)
        return Terms(self.vae.decode(z, context).log_prob(x), log_p, log_q, log_q - log_p)

    def elbo(self, x: Tensor, context: Tensor | None = None, beta: float = 1.0) -> Tensor:
        """One-sample E_q log p(x | z) − β KL[q ‖ p] in nats, (..., D) -> (...)."""
        return self.terms(x, context).elbo(beta)

    def sample(self, sample_shape: tuple[int, ...] = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, ..., D)."""
        return self.vae.sample(sample_shape, context)

    def mean(self, context: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z, context) at the prior's mean."""
        return self.vae.mean(context)


def _posterior_flow(features: int, config: FlowPosteriorConfig) -> Flow:
    size = config.context_features
    if config.flow == "iaf":
        return iaf(features, transforms=config.transforms, hidden=config.hidden, context_features=size)
    build = planar if config.flow == "planar" else radial
    return build(features, transforms=config.transforms, context_features=size, generative=True)
