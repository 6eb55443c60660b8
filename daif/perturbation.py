"""Perturbed actors: each parallel environment is run by its own copy of the actor, with noise on its parameters.

The transition learns how the future depends on the policy from rows of different policies. One actor for all
environments gives the codes `probes` and `parameters` no variety within a segment; perturbed ones do (parameter-space
noise: Plappert et al. 2018, arXiv 1706.01905).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from daif.actor import Actor
from daif.policy_encoding import PolicyEncoding


class PerturbedActors:
    """Copies of an actor with noise on their parameters; copy i decides in environment i, and has its own code π̂_i.

    Args:
        actor: in the middle of the copies; it stays as it is.
        encoding: Π.
        copies: N, the number of copies.
        noise: standard deviation of the Gaussian noise, relative to the root mean square of each parameter tensor.
    """

    def __init__(self, actor: Actor, encoding: PolicyEncoding, copies: int, noise: float) -> None:
        self._coded = _CodedActor(actor, encoding)
        self.parameters = {name: _perturbed(value, copies, noise) for name, value in actor.named_parameters()}
        """Of all copies by name, each (N, ...)."""

    def outputs(self, features: Tensor) -> Tensor:
        """The copies' outputs, each at its row of the features: (N, I) -> (N, outputs)."""
        return self._each(features, coded=False)

    def codes(self, features: Tensor) -> Tensor:
        """The codes π̂ of the copies, each at its row of the features: (N, I) -> (N, P)."""
        return self._each(features, coded=True)

    def _each(self, features: Tensor, *, coded: bool) -> Tensor:
        def one(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
            own = {f"actor.{name}": value for name, value in parameters.items()}
            result: Tensor = functional_call(self._coded, own, (row.unsqueeze(0), coded))
            return result.squeeze(0)

        return torch.vmap(one)(self.parameters, features)


class _CodedActor(nn.Module):
    """An actor and its code as one module: features (batch, I) -> outputs or π̂."""

    def __init__(self, actor: Actor, encoding: PolicyEncoding) -> None:
        super().__init__()
        self.actor = actor
        self.encoding = encoding

    def forward(self, features: Tensor, coded: bool) -> Tensor:
        return self.encoding(self.actor, features) if coded else self.actor.hidden_and_outputs(features)[1]


def _perturbed(value: Tensor, copies: int, noise: float) -> Tensor:
    """Copies (N, ...) of a parameter tensor with noise."""
    value = value.detach()
    drawn = torch.randn(copies, *value.shape, dtype=value.dtype, device=value.device)
    return value + noise * value.square().mean().sqrt() * drawn
