"""Actor mappings Π: differentiable codes of a policy, through which the gradient of G reaches the actor.

`activations`  [o_t, last hidden layer, outputs] at the current observation (arXiv 2505.19867).
`probes`       the actor's action probabilities (or squashed means) at K learned probe observations, a "policy
               fingerprint" (Harb et al. 2020, arXiv 2002.11833; Faccio et al. 2022, arXiv 2207.01566).
`parameters`   the actor's flat parameter vector, for small actors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from daif.actor import Actor
from generative.names import unknown


class PolicyEncoding(nn.Module):
    """A map from an actor, at its inputs (batch, I), to its code π̂ (batch, size)."""

    size: int


class Activations(PolicyEncoding):
    """π̂ = [o_t, last hidden layer, outputs] at the current observation: what the paper uses."""

    def __init__(self, actor: Actor, observation_size: int) -> None:
        super().__init__()
        self.size = observation_size + actor.readout.in_features + actor.readout.out_features

    def forward(self, actor: Actor, observation: Tensor) -> Tensor:
        """Return [o, hidden, outputs], (batch, size)."""
        hidden, outputs = actor.hidden_and_outputs(observation)
        return torch.cat([observation, hidden, outputs], -1)


class Probes(PolicyEncoding):
    """π̂ = the actor's action distribution at K learned observations; it encodes the whole policy."""

    def __init__(self, actor: Actor, observation_size: int, count: int = 16) -> None:
        super().__init__()
        self.size = count * actor.action_size
        self.observations = nn.Parameter(torch.randn(count, observation_size))

    def forward(self, actor: Actor, observation: Tensor) -> Tensor:
        """Return the fingerprint, the same for each row, (batch, size)."""
        outputs = actor.hidden_and_outputs(self.observations)[1]
        fingerprint = (
            torch.softmax(actor.logits(outputs), -1) if actor.discrete else torch.tanh(outputs.chunk(2, -1)[0])
        )
        return fingerprint.flatten().expand(len(observation), -1)


class Parameters(PolicyEncoding):
    """π̂ = the actor's flat parameter vector."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.size = sum(parameter.numel() for parameter in actor.parameters())

    def forward(self, actor: Actor, observation: Tensor) -> Tensor:
        """Return the parameters, the same for each row, (batch, size)."""
        return torch.cat([parameter.flatten() for parameter in actor.parameters()]).expand(len(observation), -1)


class NoEncoding(PolicyEncoding):
    """An empty π̂, for a transition whose jump of one decision depends on its action alone."""

    size = 0

    def forward(self, actor: Actor, observation: Tensor) -> Tensor:
        """Return (batch, 0)."""
        return observation[..., :0]


ENCODINGS = ("activations", "probes", "parameters", "none")


def policy_encoding(name: str, actor: Actor, observation_size: int, probes: int) -> PolicyEncoding:
    """Return the encoding of that name; ValueError for an unknown one."""
    if name == "activations":
        return Activations(actor, observation_size)
    if name == "probes":
        return Probes(actor, observation_size, probes)
    if name == "parameters":
        return Parameters(actor)
    if name == "none":
        return NoEncoding()
    raise ValueError(unknown("policy_encoding", name, ENCODINGS))
