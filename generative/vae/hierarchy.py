"""Several layers of Gaussian latent variables: the deep latent Gaussian model and the ladder autoencoder.

    p(z_L) ∏ p(z_l | z_{l+1}) p(x | z_1)

Bottom-up inference (Rezende et al., arXiv 1401.4082): q(z_1 | x) ∏ q(z_{l+1} | z_l). Ladder inference (Sønderby et al.,
arXiv 1602.02282): a deterministic upward pass gives (μ̂_l, σ̂_l), and the downward pass merges them with the model's own
p(z_l | z_{l+1}): precisions add, means are weighted by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, kl_divergence

from generative.distributions import Head, gaussian, standard_normal
from generative.names import check_choices
from generative.objectives import Terms
from generative.protocol import Given, join, leading_shape
from generative.vae.core import Trunk, merge_gaussians
from generative.vae.likelihood import Likelihood

Inference = Literal["bottom-up", "ladder"]


@dataclass(frozen=True)
class HierarchyConfig:
    """Settings of a hierarchy of latent layers, listed from the data upwards."""

    latent_dims: tuple[int, ...] = (12, 6)
    """Sizes of z_1 … z_L."""
    widths: tuple[int, ...] = (256, 128)
    """Width of the hidden layer next to each of them, both ways."""
    inference: Inference = "ladder"
    """How q is built."""
    activation: str = "silu"
    """Activation of the hidden layers."""
    dropout: float = 0.0
    """Dropout probability of the hidden layers while training."""
    input_noise: float = 0.0
    """Standard deviation of the noise on the encoder's standardised input while training."""
    context_features: int = 0
    """Size of the context, which the encoder, the top prior and the decoder see."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        if not self.latent_dims or len(self.latent_dims) != len(self.widths):
            raise ValueError(f"latent_dims is {self.latent_dims}, widths {self.widths}; they need one entry a layer")
        check_choices(self)


class Layer(NamedTuple):
    """One layer of latent variables as it was inferred."""

    z: Tensor
    """The sample, z_l ~ q, (..., size)."""
    q: Independent
    """The posterior that it came from."""
    p: Independent
    """Its prior, given the sample of the layer above."""


class HierarchicalVAE(nn.Module):
    """Deep latent Gaussian model with bottom-up or ladder inference.

    Args:
        likelihood: the observation model; its `in_features` is `config.widths[0]`.
        config: the settings.
    """

    has = frozenset({"elbo", "sample"})

    def __init__(self, likelihood: Likelihood, config: HierarchyConfig) -> None:
        super().__init__()
        c = self.config = config
        self.likelihood = likelihood
        trunks, heads, downs = [], [], []
        width = likelihood.features + c.context_features
        for size, hidden in zip(c.latent_dims, c.widths, strict=True):
            trunks.append(Trunk(width, (hidden,), c.activation, c.dropout))
            heads.append(Head(hidden, 2 * size, gaussian))
            width = hidden if c.inference == "ladder" else size
        for lower, upper, hidden in zip(c.latent_dims[:-1], c.latent_dims[1:], c.widths[1:], strict=True):
            trunk = Trunk(upper, (hidden,), c.activation, c.dropout)
            downs.append(nn.Sequential(trunk, Head(hidden, 2 * lower, gaussian)))
        self.trunks, self.heads, self.downs = nn.ModuleList(trunks), nn.ModuleList(heads), nn.ModuleList(downs)
        self.decoder = Trunk(c.latent_dims[0] + c.context_features, (c.widths[0],), c.activation, c.dropout)
        self.top_prior = Head(c.context_features, 2 * c.latent_dims[-1], gaussian) if c.context_features else None

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x) or p(x | context), which has an `elbo` and a `sample`."""
        return Given(self, context)

    def prior(self, layer: int, above: Tensor, context: Tensor | None = None) -> Independent:
        """Return p(z_l | z_{l+1}), l counted from 0; at the top p(z_L | context), or N(0, I) shaped like `above`."""
        if layer + 1 < len(self.config.latent_dims):
            return self.downs[layer](above)
        return standard_normal(above) if self.top_prior is None else self.top_prior(context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """Return p(x | z_1, context), event shape (D,)."""
        return self.likelihood(self.decoder(join(z, context)))

    def infer(self, x: Tensor, context: Tensor | None = None) -> list[Layer]:
        """Draw every layer once from q(z_1 … z_L | x, context), listed from the data upwards."""
        self._check(context)
        scaled = self.likelihood.standardise(x)
        if self.training and self.config.input_noise > 0.0:
            scaled = scaled + self.config.input_noise * torch.randn_like(scaled)
        inputs = join(scaled, context)
        return self._ladder(inputs, context) if self.config.inference == "ladder" else self._up(inputs, context)

    def _ladder(self, inputs: Tensor, context: Tensor | None) -> list[Layer]:
        messages: list[Independent] = []
        for trunk, head in zip(self.trunks, self.heads, strict=True):
            inputs = trunk(inputs)
            messages.append(head(inputs))
        layers: list[Layer] = []
        above = messages[-1].mean
        for index in reversed(range(len(messages))):
            p = self.prior(index, above, context)
            q = merge_gaussians(messages[index], p) if layers else messages[index]
            above = q.rsample()
            layers.insert(0, Layer(above, q, p))
        return layers

    def _up(self, inputs: Tensor, context: Tensor | None) -> list[Layer]:
        drawn: list[tuple[Tensor, Independent]] = []
        for trunk, head in zip(self.trunks, self.heads, strict=True):
            q = head(trunk(inputs))
            inputs = q.rsample()
            drawn.append((inputs, q))
        above = [z for z, _ in (*drawn[1:], drawn[-1])]
        return [Layer(z, q, self.prior(index, above[index], context)) for index, (z, q) in enumerate(drawn)]

    def terms(self, x: Tensor, context: Tensor | None = None) -> Terms:
        """Draw every layer once; `kl_units` lists the layers from the data upwards.

        Going down the ladder each layer's KL is in closed form given the layer above. Going up only the top one is:
        under q a lower z_l and the z_{l+1} that its prior sees depend on each other, so log q − log p of the sample
        stands there.
        """
        layers = self.infer(x, context)
        closed = [self.config.inference == "ladder"] * (len(layers) - 1) + [True]
        units = tuple(_unit_kl(layer, exact) for layer, exact in zip(layers, closed, strict=True))
        log_q = torch.stack([layer.q.log_prob(layer.z) for layer in layers]).sum(0)
        log_p = torch.stack([layer.p.log_prob(layer.z) for layer in layers]).sum(0)
        log_likelihood = self.decode(layers[0].z, context).log_prob(x)
        return Terms(log_likelihood, log_p, log_q, torch.cat(units, -1).sum(-1), units)

    def elbo(self, x: Tensor, context: Tensor | None = None, beta: float = 1.0) -> Tensor:
        """One-sample E_q log p(x | z_1) − β KL in nats, (..., D) -> (...)."""
        return self.terms(x, context).elbo(beta)

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, ..., D) by going down the layers."""
        self._check(context)
        weight = self.likelihood.affine.weight
        z = weight.new_zeros(*leading_shape(sample_shape, context), self.config.latent_dims[-1])
        given = None if context is None else context.expand(*z.shape[:-1], -1)
        for layer in reversed(range(len(self.config.latent_dims))):
            z = self.prior(layer, z, given).sample()
        return self.decode(z, given).sample()

    def _check(self, context: Tensor | None) -> None:
        given = 0 if context is None else context.shape[-1]
        if given != self.config.context_features:
            raise ValueError(f"the context has {given} features; this model takes {self.config.context_features}")


def _unit_kl(layer: Layer, exact: bool) -> Tensor:
    """Return the KL of each unit in closed form, or log q − log p of its sample, (..., size)."""
    q, p = layer.q.base_dist, layer.p.base_dist
    return kl_divergence(q, p) if exact else q.log_prob(layer.z) - p.log_prob(layer.z)
