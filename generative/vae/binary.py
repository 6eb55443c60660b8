"""Binary latent variables: the deep autoregressive network (DARN) and the sigmoid belief net.

    p(z) = ∏ Bern(z_i | z_<i),   q(z | x) = ∏ Bern(z_i | z_<i, x),   p(x | z) = ∏ Bern(x_i | x_<i, z)

Sources: Gregor et al. (arXiv 1310.8499); Neal 1992. With few latents every sum over z is exact, which is how bound,
evidence and gap are checked. The gradient through q is the score function's with a leave-one-out baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.nn import MLP
from generative.objectives import Terms
from generative.protocol import Given, join, leading_shape

MAX_ENUMERATED = 16


def binary_states(count: int, like: Tensor) -> Tensor:
    """Return every state of `count` binary variables, (2^count, count), in the dtype and on the device of a tensor."""
    if count > MAX_ENUMERATED:
        raise ValueError(f"there are {count} binary variables; enumeration takes at most {MAX_ENUMERATED}")
    numbers = torch.arange(2**count, device=like.device)
    return ((numbers.unsqueeze(-1) >> torch.arange(count, device=like.device)) & 1).to(like.dtype)


def bernoulli_log_prob(logits: Tensor, value: Tensor) -> Tensor:
    """log ∏ Bern(value; σ(logits)) in nats, summed over the last dimension."""
    return (value * F.logsigmoid(logits) + (1.0 - value) * F.logsigmoid(-logits)).sum(-1)


class AutoregressiveBernoulli(nn.Module):
    """∏ Bern(v_i | v_<i, features): logits = base(features) + v (strictly lower triangular weights).

    Args:
        features: number of binary variables.
        in_features: size of what the base logits are computed from; 0 for free biases.
        hidden: hidden widths of that map.
        autoregressive: whether a variable sees the ones before it.
    """

    def __init__(
        self, features: int, in_features: int, hidden: tuple[int, ...] = (), autoregressive: bool = True
    ) -> None:
        super().__init__()
        self.features = features
        self.bias = nn.Parameter(torch.zeros(features))
        self.base = MLP(in_features, hidden, features, activation_name="tanh") if in_features else None
        self.weight = nn.Parameter(0.01 * torch.ones(features, features).tril(-1)) if autoregressive else None

    def base_logits(self, given: Tensor) -> Tensor:
        """Return the logits without v's own part, (..., features)."""
        return self.bias.expand(*given.shape[:-1], -1) if self.base is None else self.base(given) + self.bias

    def log_prob(self, value: Tensor, given: Tensor) -> Tensor:
        """Return log P(value | given) in nats, (..., features) -> (...)."""
        logits = self.base_logits(given)
        if self.weight is not None:
            logits = logits + value @ self.weight.tril(-1).T
        return bernoulli_log_prob(logits, value)

    @torch.no_grad()
    def sample(self, given: Tensor) -> Tensor:
        """Return one sample for each row of given (..., in_features); one pass per variable where autoregressive."""
        logits = self.base_logits(given)
        if self.weight is None:
            return torch.bernoulli(torch.sigmoid(logits))
        value = torch.zeros_like(logits)
        for i in range(self.features):
            logit = logits[..., i] + value[..., :i] @ self.weight[i, :i]
            value[..., i] = torch.bernoulli(torch.sigmoid(logit))
        return value


@dataclass(frozen=True)
class DARNConfig:
    """Settings of a deep autoregressive network."""

    latent_dim: int = 8
    """Number of binary latent variables H."""
    hidden: tuple[int, ...] = (64,)
    """Hidden widths of encoder and decoder; empty for a sigmoid belief net's affine maps."""
    autoregressive_latents: bool = True
    """Whether z_i sees z_<i in the prior and in the posterior; without it p(z) and q(z | x) factorise."""
    autoregressive_visible: bool = False
    """Whether x_i sees x_<i in the decoder."""
    samples: int = 4
    """Samples of z for each x in `elbo`; at least 2, for the leave-one-out baseline."""
    context_features: int = 0
    """Size of the context, which prior, encoder and decoder see."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}; it must be at least 1")
        if self.samples < 2:
            raise ValueError(f"samples is {self.samples}; the baseline needs at least 2")


class DARN(nn.Module):
    """Deep autoregressive network over binary data, a binary latent-variable autoencoder.

    Args:
        features: D, the number of binary variables.
        config: the settings.
    """

    has = frozenset({"elbo", "sample"})

    def __init__(self, features: int, config: DARNConfig) -> None:
        super().__init__()
        c = self.config = config
        self.features = features
        chain, extra = c.autoregressive_latents, c.context_features
        self.prior = AutoregressiveBernoulli(c.latent_dim, extra, (), chain)
        self.encoder = AutoregressiveBernoulli(c.latent_dim, features + extra, c.hidden, chain)
        self.decoder = AutoregressiveBernoulli(features, c.latent_dim + extra, c.hidden, c.autoregressive_visible)

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x) or p(x | context), which has an `elbo` and a `sample`."""
        return Given(self, context)

    def joint_log_prob(self, x: Tensor, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x, z) in nats."""
        given = z[..., :0] if context is None else context
        return self.prior.log_prob(z, given) + self.decoder.log_prob(x, join(z, context))

    def terms(self, x: Tensor, context: Tensor | None = None) -> Terms:
        """Draw z ~ q(z | x) once; differentiable in the densities, not through z."""
        given = join(x, context)
        z = self.encoder.sample(given)
        log_q = self.encoder.log_prob(z, given)
        log_p = self.prior.log_prob(z, z[..., :0] if context is None else context)
        return Terms(self.decoder.log_prob(x, join(z, context)), log_p, log_q, log_q - log_p)

    def elbo(self, x: Tensor, context: Tensor | None = None, beta: float = 1.0) -> Tensor:
        """Return the bound averaged over the configured samples, (..., D) -> (...), in nats.

        Its gradient is unbiased: the likelihood-ratio term of each sample has the others' mean as its baseline.
        """
        count = self.config.samples
        terms = self.terms(
            x.expand(count, *x.shape), None if context is None else context.expand(count, *context.shape)
        )
        value = terms.elbo(beta)
        signal = value.detach()
        advantage = signal - (signal.sum(0) - signal) / (count - 1)
        score = advantage * (terms.log_posterior - terms.log_posterior.detach())
        return (value + score).mean(0)

    def exact_log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x) in nats by the sum over every z, (..., D) -> (...)."""
        states, many, given = self._enumerated(x, context)
        return torch.logsumexp(self.joint_log_prob(many, states, given), 0)

    def exact_elbo(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the bound in nats with the expectation over q taken exactly, (..., D) -> (...)."""
        states, many, given = self._enumerated(x, context)
        log_q = self.encoder.log_prob(states, join(many, given))
        return (log_q.exp() * (self.joint_log_prob(many, states, given) - log_q)).sum(0)

    def exact_gap(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return KL[q(z | x) ‖ p(z | x)] in nats, (..., D) -> (...), from the exact posterior."""
        states, many, given = self._enumerated(x, context)
        log_q = self.encoder.log_prob(states, join(many, given))
        log_posterior = torch.log_softmax(self.joint_log_prob(many, states, given), 0)
        return (log_q.exp() * (log_q - log_posterior)).sum(0)

    def _enumerated(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        states = binary_states(self.config.latent_dim, x)
        count = len(states)
        states = states.reshape(count, *(1,) * (x.dim() - 1), -1).expand(count, *x.shape[:-1], -1)
        given = None if context is None else context.expand(count, *context.shape)
        return states, x.expand(count, *x.shape), given

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return binary samples (*sample_shape, ..., D)."""
        shape = leading_shape(sample_shape, context)
        given = self.prior.bias.new_zeros(*shape, 0) if context is None else context.expand(*shape, -1)
        z = self.prior.sample(given)
        return self.decoder.sample(join(z, None if context is None else given))
