"""The network of flow matching and of the diffusion model: a vector field over (time, x, context)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative.nn import MLP
from generative.protocol import join


class TimeField(nn.Module):
    """A perceptron (t, x, context) -> (..., features); t in [0, 1] enters as sines and cosines of octaves."""

    octaves: Tensor

    def __init__(
        self,
        features: int,
        *,
        hidden: Sequence[int] = (128, 128, 128),
        context_features: int = 0,
        frequencies: int = 6,
    ) -> None:
        super().__init__()
        self.register_buffer("octaves", math.pi * 2.0 ** torch.arange(frequencies))
        inputs = features + 2 * frequencies + context_features
        self.network = MLP(inputs, hidden, features, activation_name="silu")

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the vector at time t (...) and point x (..., features)."""
        phase = t.unsqueeze(-1) * self.octaves
        time = torch.cat([phase.sin(), phase.cos()], -1)
        return self.network(join(join(x, time), context))
