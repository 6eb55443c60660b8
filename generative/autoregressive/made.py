"""MADE, and logistic autoregression (the fully visible sigmoid belief net) as its case without a hidden layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.autoregressive.conditionals import Conditional
from generative.autoregressive.model import Autoregressive
from generative.nn import activation


class MaskedLinear(nn.Linear):
    """An affine map whose weights are multiplied by a fixed 0/1 mask (out_features, in_features)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return F.linear(inputs, self.mask * self.weight, self.bias)


class MaskedNetwork(nn.Module):
    """Masked multilayer perceptron: parameter row i sees inputs j < i only (Germain et al., arXiv 1502.03509).

    Unit k of a hidden layer has a degree m_k in 1 .. features − 1; it sees units of degree ≤ m_k, and output i sees
    units of degree < i + 1. A context is added to the first layer without a mask, and so is a bias to the outputs.
    """

    def __init__(
        self,
        features: int,
        conditional: Conditional,
        *,
        hidden: Sequence[int] = (256,),
        context_features: int = 0,
        activation_name: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.features = features
        degrees = torch.arange(1, features + 1).repeat_interleave(conditional.num_inputs)
        outputs = torch.arange(1, features + 1).repeat_interleave(conditional.num_parameters)
        layers: list[nn.Module] = []
        for units in hidden:
            following = torch.arange(units) % max(features - 1, 1) + 1
            layers.append(MaskedLinear(following[:, None] >= degrees[None, :]))
            layers += [activation(activation_name), nn.Dropout(dropout)]
            degrees = following
        layers.append(MaskedLinear(outputs[:, None] > degrees[None, :]))
        self.layers = nn.ModuleList(layers)
        width = hidden[0] if hidden else len(outputs)
        self.context = nn.Linear(context_features, width, bias=False) if context_features else None

    def forward(self, encoded: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, features, E) -> (batch, features, P)."""
        units = self.layers[0](encoded.flatten(1))
        if self.context is not None:
            units = units + self.context(context)
        for layer in self.layers[1:]:
            units = layer(units)
        return units.unflatten(-1, (self.features, -1))


def made(
    features: int,
    conditional: Conditional,
    *,
    hidden: Sequence[int] = (256,),
    context_features: int = 0,
    activation_name: str = "relu",
    dropout: float = 0.0,
) -> Autoregressive:
    """MADE: all conditionals in one pass of a masked perceptron. No hidden layer gives logistic autoregression."""
    network = MaskedNetwork(
        features,
        conditional,
        hidden=hidden,
        context_features=context_features,
        activation_name=activation_name,
        dropout=dropout,
    )
    return Autoregressive(network, conditional, features)
