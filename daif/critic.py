"""The critic: expected outcomes and epistemic value beyond the first decision (the actor-critic variant of DAIF).

Algorithm 1 scores a policy by G at one horizon. The critic predicts, for each first action, the discounted sums of
outcomes Y(o, a) that follow under the policy, and of the epistemic terms E(o, a) of G; then

    G(o, a) = ω · Y(o, a) / scale + E(o, a)          the preference's weights ω are applied after the prediction
    Y(o, a) ← y + γ Σ_a' π(a' | o') Y(o', a')        likewise E, with G2 and G3 of the world model in the place of y

so that any past row teaches it about the current policy, and any ω (Millidge 2020, arXiv 1907.03876, bootstraps the
expected free energy in the same way; vector-valued prediction as in Abels et al. 2019, arXiv 1809.07803).

Rare outcomes, such as lost parts: how much of them is to come ranges over orders of magnitude. Squared errors see the
states next to a loss and little else, but a large ω makes it decisive what an action changes far from one. So their Y
is exp(·) of the network's output, which actions change by factors, and learned by relative error: a quasi-likelihood
with variance ∝ mean², whose minimum is the mean (McCullagh and Nelder 1989, chapter 9).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from generative.nn import EnsembleLinear, average_
from world_models.images import ImageReader
from world_models.likelihood import Part

EPISTEMIC = 2
"""The components behind the outcomes: state and parameter uncertainty."""
LEAST = 0.01
"""Where less of a rare outcome is to come, in nats at the reference weight, its error is measured relative to this."""


class EnsembleMLP(nn.Module):
    """Independent perceptrons behind one reader of images: (batch, inputs) -> (members, batch, outputs)."""

    def __init__(
        self, members: int, inputs: int, hidden: tuple[int, ...], outputs: int, images: Sequence[Part] = ()
    ) -> None:
        super().__init__()
        self.reader = ImageReader(images, inputs, hidden[0])
        sizes = [self.reader.size, *hidden, outputs]
        self.members = members
        maps = [EnsembleLinear(members, a, b) for a, b in pairwise(sizes)]
        nn.init.zeros_(maps[-1].weight)
        self.layers = nn.ModuleList(maps)

    def forward(self, features: Tensor) -> Tensor:
        """Evaluate every member on the same batch."""
        seen = self.reader(features)
        values = seen.expand(self.members, *seen.shape)
        for layer in self.layers[:-1]:
            values = torch.relu(layer(values))
        return self.layers[-1](values)


class Critic(nn.Module):
    """Ensemble that predicts (Y, E_state, E_parameter) for each first action, in nats at the reference weights.

    Args:
        inputs: size of the features of an observation (and of the preference's weights).
        action_size: number of discrete actions, or dimensions of a continuous one.
        discrete: which of the two.
        outcomes: C, number of outcomes; the two epistemic terms are two more components.
        hidden: widths of the hidden layers.
        members: size of the ensemble.
        images: parts of the features that convolutions read.
        rare: indices of the outcomes that are rare and never negative.
    """

    def __init__(
        self, inputs: int, action_size: int, discrete: bool, outcomes: int, hidden: tuple[int, ...], members: int,
        images: Sequence[Part] = (), rare: Sequence[int] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.rare = list(rare)
        self.discrete = discrete
        self.action_size = action_size
        self.components = outcomes + EPISTEMIC
        if discrete:
            self.online = EnsembleMLP(members, inputs, hidden, (1 + action_size) * self.components, images)
        else:
            self.online = EnsembleMLP(members, inputs + action_size, hidden, self.components, images)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, features: Tensor, action: Tensor | None = None, *, target: bool = False) -> Tensor:
        """Predict for all discrete actions (members, batch, A, C + 2), or for a given one (members, batch, C + 2)."""
        network = self.target if target else self.online
        if self.discrete:
            outputs = network(features).unflatten(-1, (1 + self.action_size, self.components))
            level, advantage = outputs[..., :1, :], outputs[..., 1:, :]
            values = level + advantage - advantage.mean(-2, keepdim=True)  # dueling heads (Wang et al. 2016)
        else:
            assert action is not None
            values = network(torch.cat([features, action], -1))
        if not self.rare:
            return values
        columns = values.unbind(-1)
        return torch.stack([y.exp() if i in self.rare else y for i, y in enumerate(columns)], -1)

    def error(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Squared errors (members, batch, C + 2), relative ones of rare outcomes, summed: (members, batch)."""
        error = predicted - target
        if self.rare:
            unit = torch.ones_like(error)
            unit[..., self.rare] = predicted[..., self.rare].detach() + LEAST
            error = error / unit
        return error.square().sum(-1)

    def update_target(self, rate: float) -> None:
        """Move the target network towards the online one."""
        average_(self.target, self.online, rate)


def weigh(values: Tensor, relative: Tensor) -> Tensor:
    """G = ω · Y / scale + E: (members, batch, [A,] C + 2) and relative weights (batch, C) -> (members, batch, [A])."""
    if values.dim() == 4:
        relative = relative.unsqueeze(1)
    return (values[..., :-EPISTEMIC] * relative).sum(-1) + values[..., -EPISTEMIC:].sum(-1)


def combine(values: Tensor, relative: Tensor, pessimistic: bool) -> Tensor:
    """Reduce (members, batch, [A,] C + 2) to (batch, [A,] C + 2): the mean, or the member with the largest G."""
    if not pessimistic:
        return values.mean(0)
    worst = weigh(values, relative).argmax(0, keepdim=True).unsqueeze(-1)
    return values.gather(0, worst.expand(1, *values.shape[1:])).squeeze(0)
