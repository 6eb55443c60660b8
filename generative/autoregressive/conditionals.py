"""The distribution of one variable given the ones before it: Bernoulli, grey levels, mixture of Gaussians.

Each has `num_parameters` P, `num_inputs` E (how a value enters the network), `encode`, `log_prob` and `sample`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from generative.names import unknown


class Conditional(Protocol):
    """One variable's distribution; parameters (..., P) in, values (...) out."""

    @property
    def num_parameters(self) -> int:
        """P: how many numbers the network gives for one variable."""

    @property
    def num_inputs(self) -> int:
        """E: how many numbers of one variable the network reads."""

    def encode(self, x: Tensor) -> Tensor:
        """Return what the network reads, (...) -> (..., E)."""

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log p(x) in nats, (..., P), (...) -> (...)."""

    def sample(self, parameters: Tensor) -> Tensor:
        """Return one value for each row of parameters, (..., P) -> (...)."""


@dataclass(frozen=True)
class BinaryConditional:
    """Bernoulli by its logit; values 0 and 1 enter the network as −1 and 1."""

    num_parameters: int = 1
    num_inputs: int = 1

    def encode(self, x: Tensor) -> Tensor:
        """(...) -> (..., 1)."""
        return (2.0 * x - 1.0).unsqueeze(-1)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return x log σ(a) + (1 − x) log σ(−a)."""
        logits, x = torch.broadcast_tensors(parameters[..., 0], x)
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")

    def sample(self, parameters: Tensor) -> Tensor:
        """Return 0 or 1."""
        return torch.bernoulli(torch.sigmoid(parameters[..., 0]))


@dataclass(frozen=True)
class LevelConditional:
    """Softmax over the integers 0 .. levels − 1, which enter the network scaled to [−1, 1]."""

    levels: int
    num_inputs: int = 1

    @property
    def num_parameters(self) -> int:
        """One logit a level."""
        return self.levels

    def encode(self, x: Tensor) -> Tensor:
        """(...) -> (..., 1)."""
        return (2.0 * x / (self.levels - 1) - 1.0).unsqueeze(-1)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the log-softmax at x."""
        shape = torch.broadcast_shapes(parameters.shape[:-1], x.shape)
        logits = torch.log_softmax(parameters, -1).expand(*shape, -1)
        return logits.gather(-1, x.expand(shape).long().unsqueeze(-1)).squeeze(-1)

    def sample(self, parameters: Tensor) -> Tensor:
        """Return a level as a float."""
        rows = torch.softmax(parameters, -1).reshape(-1, self.levels)
        return torch.multinomial(rows, 1).reshape(parameters.shape[:-1]).to(parameters.dtype)


@dataclass(frozen=True)
class MixtureConditional:
    """Mixture of Gaussians on the real line (RNADE, arXiv 1306.0186); parameters are (logits, means, raw scales)."""

    components: int = 10
    min_scale: float = 1e-3
    num_inputs: int = 1

    @property
    def num_parameters(self) -> int:
        """Weight, mean and scale of each component."""
        return 3 * self.components

    def encode(self, x: Tensor) -> Tensor:
        """(...) -> (..., 1)."""
        return x.unsqueeze(-1)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log Σ_k w_k N(x; μ_k, σ_k²)."""
        logits, mean, scale = self._parts(parameters)
        z = (x.unsqueeze(-1) - mean) / scale
        log_normal = -0.5 * z.square() - scale.log() - 0.5 * math.log(2.0 * math.pi)
        return torch.logsumexp(torch.log_softmax(logits, -1) + log_normal, -1)

    def sample(self, parameters: Tensor) -> Tensor:
        """Return a real number."""
        logits, mean, scale = self._parts(parameters)
        rows = torch.softmax(logits, -1).reshape(-1, self.components)
        chosen = torch.multinomial(rows, 1).reshape(*parameters.shape[:-1], 1)
        return (mean.gather(-1, chosen) + scale.gather(-1, chosen) * torch.randn_like(chosen, dtype=mean.dtype))[..., 0]

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, mean, raw = parameters.chunk(3, -1)
        return logits, mean, F.softplus(raw) + self.min_scale


def conditional_for(kind: str, levels: int = 0, components: int = 10) -> Conditional:
    """Return the conditional for a kind of data ("binary", "levels", "real"); ValueError for another one."""
    if kind == "binary":
        return BinaryConditional()
    if kind == "levels":
        if levels < 2:
            raise ValueError(f"levels is {levels}; it must be at least 2")
        return LevelConditional(levels)
    if kind == "real":
        return MixtureConditional(components)
    raise ValueError(unknown("kind of data", kind, ("binary", "levels", "real")))
