"""Autoregressive models of sequences: the Markov model N-AR(p) and the recurrent next-step predictor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.autoregressive.conditionals import Conditional, MixtureConditional
from generative.autoregressive.model import Autoregressive
from generative.nn import MLP


class LagNetwork(nn.Module):
    """Parameters at i from the `order` values before it by one perceptron shared by every i (stationary).

    Values before the first one are zero. `positions` adds a one-hot position to the inputs, which ends stationarity.
    """

    def __init__(
        self,
        features: int,
        conditional: Conditional,
        order: int,
        *,
        hidden: Sequence[int] = (64,),
        context_features: int = 0,
        positions: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if order < 1:
            raise ValueError(f"order is {order}; it must be at least 1")
        self.order = order
        self.positions = features if positions else 0
        size = order * conditional.num_inputs + context_features + self.positions
        self.network = MLP(size, hidden, conditional.num_parameters, dropout=dropout)

    def forward(self, encoded: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, features, E) -> (batch, features, P)."""
        batch, features, _ = encoded.shape
        padded = F.pad(encoded, (0, 0, self.order, 0))[:, :-1]
        inputs = [padded.unfold(1, self.order, 1).flatten(2)]
        if context is not None:
            inputs.append(context.unsqueeze(1).expand(-1, features, -1))
        if self.positions:
            one_hot = torch.eye(features, dtype=encoded.dtype, device=encoded.device)
            inputs.append(one_hot.expand(batch, -1, -1))
        return self.network(torch.cat(inputs, -1))


class RecurrentNetwork(nn.Module):
    """Parameters at i from a GRU that has read the values before i; the context enters at every step."""

    def __init__(
        self,
        conditional: Conditional,
        *,
        hidden: int = 128,
        context_features: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cell = nn.GRU(conditional.num_inputs + context_features, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(hidden, conditional.num_parameters)

    def forward(self, encoded: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, features, E) -> (batch, features, P)."""
        before = F.pad(encoded, (0, 0, 1, 0))[:, :-1]
        if context is not None:
            before = torch.cat([before, context.unsqueeze(1).expand(-1, before.shape[1], -1)], -1)
        states, _ = self.cell(before)
        return self.readout(self.dropout(states))


def n_ar(
    features: int,
    order: int,
    conditional: Conditional | None = None,
    *,
    hidden: Sequence[int] = (64,),
    context_features: int = 0,
    positions: bool = False,
    dropout: float = 0.0,
) -> Autoregressive:
    """N-AR(p): x_i given x_{i−p..i−1} is Normal with mean and scale from a shared network (hidden=() is the linear AR).

    The default conditional is one Gaussian (deck S, "Normal means, continuous Markov models"); any other one works.
    """
    conditional = conditional or MixtureConditional(components=1)
    network = LagNetwork(
        features,
        conditional,
        order,
        hidden=hidden,
        context_features=context_features,
        positions=positions,
        dropout=dropout,
    )
    return Autoregressive(network, conditional, features)


def rnn(
    features: int,
    conditional: Conditional,
    *,
    hidden: int = 128,
    context_features: int = 0,
    dropout: float = 0.0,
) -> Autoregressive:
    """RNN next-step predictor: p(x_i given x_<i) from the state of a GRU."""
    network = RecurrentNetwork(conditional, hidden=hidden, context_features=context_features, dropout=dropout)
    return Autoregressive(network, conditional, features)
