"""NADE and RNADE (one shared-weight hidden layer, updated variable by variable) and the order-agnostic Deep NADE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from generative.autoregressive.conditionals import Conditional, MixtureConditional
from generative.autoregressive.model import Autoregressive
from generative.nn import MLP, activation
from generative.protocol import Given, leading_shape


class NadeNetwork(nn.Module):
    """h_i = g(ρ_i (c + Σ_{j<i} W_j x_j)), parameters_i = b_i + V_i h_i, with W and c shared by every i.

    The sums over j < i are one cumulative sum, so all conditionals cost one pass. ρ is RNADE's rescaling, learned.
    Larochelle & Murray (2011); Uria et al., arXiv 1306.0186.
    """

    def __init__(
        self,
        features: int,
        conditional: Conditional,
        *,
        hidden: int = 128,
        context_features: int = 0,
        activation_name: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.into = nn.Parameter(torch.randn(features, conditional.num_inputs, hidden) / features**0.5)
        self.into_bias = nn.Parameter(torch.zeros(hidden))
        self.rescale = nn.Parameter(torch.ones(features, 1))
        self.out = nn.Parameter(torch.randn(features, hidden, conditional.num_parameters) / hidden**0.5)
        self.out_bias = nn.Parameter(torch.randn(features, conditional.num_parameters))
        self.activation = activation(activation_name)
        self.dropout = nn.Dropout(dropout)
        self.context = nn.Linear(context_features, hidden, bias=False) if context_features else None

    def forward(self, encoded: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, features, E) -> (batch, features, P)."""
        added = torch.einsum("bie,ieh->bih", encoded, self.into)
        before = added.cumsum(1) - added
        start = self.into_bias if self.context is None else self.into_bias + self.context(context).unsqueeze(1)
        units = self.dropout(self.activation(self.rescale * (before + start)))
        return torch.einsum("bih,ihp->bip", units, self.out) + self.out_bias


def nade(
    features: int,
    conditional: Conditional,
    *,
    hidden: int = 128,
    context_features: int = 0,
    activation_name: str = "relu",
    dropout: float = 0.0,
) -> Autoregressive:
    """NADE with any conditional; the paper's is Bernoulli with `activation_name="sigmoid"`."""
    network = NadeNetwork(
        features,
        conditional,
        hidden=hidden,
        context_features=context_features,
        activation_name=activation_name,
        dropout=dropout,
    )
    return Autoregressive(network, conditional, features)


def rnade(features: int, *, components: int = 10, hidden: int = 128, context_features: int = 0) -> Autoregressive:
    """RNADE: NADE whose conditionals are mixtures of Gaussians."""
    return nade(features, MixtureConditional(components), hidden=hidden, context_features=context_features)


class DeepNADE(nn.Module):
    """Order-agnostic Deep NADE: one perceptron gives p(x_i given any of the others) (Uria et al., arXiv 1310.1757).

    The network reads (m · x, m) for a 0/1 mask m of the known variables and gives parameters of all variables.
    `log_prob` is the exact density in the order of `order` (by default as the variables come), `loss` the training
    objective: E over orders and positions d of D / (D − d) Σ_{unknown i} −log p(x_i given known).

    Args:
        features: number of variables D.
        conditional: the distribution of one variable.
        hidden: widths of the hidden layers.
        context_features: size of the context, 0 for none.
        activation_name: of the hidden layers.
        dropout: of the hidden layers.
        order: a permutation of range(features) for `log_prob` and `sample`.

    `log_prob` costs one row of the network for each variable, `sample` one pass for each variable.
    """

    has: ClassVar[frozenset[str]] = frozenset({"log_prob", "sample"})
    order: Tensor

    def __init__(
        self,
        features: int,
        conditional: Conditional,
        *,
        hidden: Sequence[int] = (256, 256),
        context_features: int = 0,
        activation_name: str = "relu",
        dropout: float = 0.0,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        chosen = torch.arange(features) if order is None else torch.as_tensor(list(order))
        if sorted(chosen.tolist()) != list(range(features)):
            raise ValueError(f"order {chosen.tolist()} is not a permutation of 0 .. {features - 1}")
        self.register_buffer("order", chosen)
        self.features = features
        self.conditional = conditional
        self.network = MLP(
            features * (conditional.num_inputs + 1) + context_features,
            hidden,
            features * conditional.num_parameters,
            activation_name=activation_name,
            dropout=dropout,
        )

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the distribution given a context (..., context_features)."""
        return Given(self, context)

    def parameters_of(self, x: Tensor, known: Tensor, context: Tensor | None = None) -> Tensor:
        """Return parameters (..., D, P) of every variable given the known ones; x and the mask are (..., D)."""
        batch = torch.broadcast_shapes(x.shape[:-1], known.shape[:-1], () if context is None else context.shape[:-1])
        shape = (*batch, self.features)
        known = known.expand(shape)
        inputs = [(self.conditional.encode(x.expand(shape)) * known.unsqueeze(-1)).flatten(-2), known]
        if context is not None:
            inputs.append(context.expand(*batch, -1))
        return self.network(torch.cat(inputs, -1)).unflatten(-1, (self.features, -1))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x given context) in nats in this order, (..., features) -> (...)."""
        position = torch.empty_like(self.order)
        position[self.order] = torch.arange(self.features, device=self.order.device)
        known = (position[None, :] < position[:, None]).to(x.dtype)
        parameters = self.parameters_of(x.unsqueeze(-2), known, None if context is None else context.unsqueeze(-2))
        own = torch.diagonal(parameters, dim1=-3, dim2=-2).transpose(-1, -2)
        return self.conditional.log_prob(own, x).sum(-1)

    def loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return an unbiased sample of the mean over orders of −log p(x), (batch, features) -> scalar."""
        count = x.shape[0]
        rank = torch.rand(count, self.features, device=x.device).argsort(-1)
        d = torch.randint(self.features, (count, 1), device=x.device)
        known = (rank < d).to(x.dtype)
        log_p = self.conditional.log_prob(self.parameters_of(x, known, context), x)
        weight = self.features / (self.features - d.squeeze(-1)).to(x.dtype)
        return -(weight * ((1.0 - known) * log_p).sum(-1)).mean()

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, *batch, features), one variable after the other."""
        shape = leading_shape(sample_shape, context)
        first = next(self.parameters())
        x = torch.zeros(*shape, self.features, dtype=first.dtype, device=first.device)
        known = torch.zeros_like(x)
        for i in self.order.tolist():
            x[..., i] = self.conditional.sample(self.parameters_of(x, known, context)[..., i, :])
            known[..., i] = 1.0
        return x
