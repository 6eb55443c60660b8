"""Adaptation: a trained agent keeps learning while it runs, bounded and revertible.

A copy of the agent acts, keeps what its decisions brought in a fresh memory and learns from it by Algorithm 1 (lines 10
to 36), while the agent that was trained stays as it is. Two things keep the copy from going astray:

bounded      after each update the actor is projected onto mean KL(π_adapted ‖ π_trained) ≤ `max_divergence` nats at
             observed states: it goes back on the straight line to the trained parameters as far as is needed
revertible   every `reference_every`-th window the trained actor acts; where the window before it, of the adapted one,
             cost more by so many standard errors, the copy goes back to what was trained, optimisers included
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from daif.agent import DAIFAgent
from daif.algorithm import learn
from daif.interaction import Recorder
from daif.memory import Memory, Segment
from daif.preference import surprise

BISECTIONS = 8
"""Halvings in the search for how far an actor may go: the share of its way is found up to 2^-8."""


@dataclass(frozen=True)
class AdaptationConfig:
    """How an agent keeps learning."""

    learning_rate: float = 0.1
    """Learning rates, as a fraction of those at the start of training."""
    max_gradient_norm: float = 10.0
    """Norm at which the gradients are clipped."""
    policy_steps: int = 4
    """Policy steps (and as many of the critic) behind each segment of decisions."""
    batch: int = 256
    """Rows of the memory in each of them."""
    target_rate: float = 0.03
    """Rate at which the critic's target network follows it; there are fewer steps than in training."""
    memory: int = 200
    """Segments that the memory keeps: what is older is forgotten."""
    exploration: float = 0.05
    """Probability that a decision starts a random action."""
    max_divergence: float = 0.5
    """Bound of the mean KL divergence of the adapted policy from the trained one at observed states, in nats."""
    window: int = 50
    """Segments of a window; in the first one the trained actor acts and nothing is learned yet."""
    reference_every: int = 5
    """The trained actor acts in every so-manieth window, for comparison."""
    standard_errors: float = 2.0
    """How many standard errors more than in the trained actor's window a decision must cost to revert."""

    def __post_init__(self) -> None:
        """Refuse impossible settings in one sentence."""
        for name, least in (("policy_steps", 1), ("batch", 1), ("memory", 1), ("window", 2), ("reference_every", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("learning_rate", "max_gradient_norm"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("max_divergence", "standard_errors"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("target_rate", "exploration"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie from 0 to 1")


class AdaptiveAgent:
    """An agent that acts as a trained one does, and keeps learning in a task without episodes.

    `begin` starts it; then each `act` is followed by a `receive` of what it brought.

    Args:
        trained: the agent, which stays as it is; its present preference weights are those that costs are compared by.
        config: how it learns.

    ValueError for a preference whose cost cannot be observed.
    """

    def __init__(self, trained: DAIFAgent, config: AdaptationConfig) -> None:
        if not trained.weights.names and trained.preferred_column is None:
            raise ValueError(
                f"the preference {trained.config.preference!r} has no observed cost to compare the adapted agent by; "
                "allowed: the reward, outcomes, and a component of the observation"
            )
        self.observation_space, self.action_space = trained.observation_space, trained.action_space
        self.config = config
        self.agent = copy.deepcopy(trained, {id(trained.memory): Memory(config.memory)})
        self.agent.config = replace(
            trained.config, policy_steps=config.policy_steps, policy_batch=config.batch, model_batch=config.batch,
            target_rate=config.target_rate,
        )  # fmt: skip
        self.agent.scale_learning_rates(config.learning_rate)
        for optimiser in self.agent.optimisers.values():
            optimiser.max_norm = config.max_gradient_norm
        self.start = copy.deepcopy(self.agent.learned())
        self.trained = copy.copy(trained)
        self.trained.random = self.agent.random
        self.agent.exploration = self.trained.exploration = config.exploration
        self.decisions = 0
        self.reversions = 0
        self._windows = 0
        self._costs: list[float] = []
        self._adapted_costs: np.ndarray | None = None

    def begin(self, num_envs: int) -> None:
        """Start in environments that have just been reset; what has been learned stays."""
        self.recorder = Recorder(self.agent, num_envs)

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Choose actions for batched observations, by the adapted actor or, in its windows, the trained one."""
        flat = self.agent.codec.flatten(observations)
        relative = self.agent.run_time_weights.to(self.agent.device).expand(len(flat), -1)
        with self.agent.random.active():
            if self.recorder.full:
                self._take(self.recorder.segment(flat))
            acting = self.trained if self.is_reference else self.agent
            return self.recorder.act(acting, flat, relative, greedy=deterministic)

    def receive(self, rewards: np.ndarray, info: Mapping[str, Any]) -> None:
        """Take in what the latest actions brought: rewards (N,) and the entries of `info`, (N,) each."""
        self.recorder.receive(rewards, info, terminated=False, truncated=False)

    @property
    def is_reference(self) -> bool:
        """Whether the present window is one of the trained actor."""
        return self._windows % self.config.reference_every == 0

    def figures(self) -> dict[str, float]:
        """Return what adaptation did: decisions seen, reversions, and the divergence from the trained policy."""
        divergence = float(self.divergence(self._observed())) if len(self.agent.memory) else 0.0
        return {"decisions": self.decisions, "reversions": self.reversions, "divergence_nats": divergence}

    def _take(self, segment: Segment) -> None:
        self.agent.memory.add(segment)
        self.decisions += segment.actions[..., 0].size
        self._costs.append(self.cost(segment))
        if self._windows > 0:
            learn(self.agent)
            self.project()
        if len(self._costs) == self.config.window:
            self._end_window(np.array(self._costs))
            self._windows += 1
            self._costs = []

    def cost(self, segment: Segment) -> float:
        """Return the mean cost of a segment's decisions by the present preference: −log Ψ up to a constant, in nats."""
        weights, column = self.agent.weights, self.agent.preferred_column
        if not weights.names:
            return float(surprise(torch.from_numpy(segment.observations[1:, :, column])).mean())
        omega = (self.agent.run_time_weights * weights.reference()).numpy() / self.agent.config.outcome_scale
        return float((segment.outcomes * omega).sum(-1).mean())

    # Bounded

    @torch.no_grad()
    def divergence(self, features: Tensor) -> Tensor:
        """Return the mean of KL(π_adapted ‖ π_trained) at features (B, I), in nats."""
        return kl_divergence(self.agent.actor(features), self.trained.actor(features)).mean()

    @torch.no_grad()
    def project(self) -> None:
        """Take the actor back towards the trained one until its divergence is within the bound."""
        features = self._observed()
        divergence = self.divergence(features)
        if not divergence.isfinite():
            self.revert()
        elif divergence > self.config.max_divergence:
            adapted = [parameter.clone() for parameter in self.agent.actor.parameters()]
            within, beyond = 0.0, 1.0
            for _ in range(BISECTIONS):
                share = (within + beyond) / 2.0
                self._go(adapted, share)
                if self.divergence(features) <= self.config.max_divergence:
                    within = share
                else:
                    beyond = share
            self._go(adapted, within)

    def _go(self, adapted: list[Tensor], share: float) -> None:
        """Put the actor's parameters a share of the way from the trained to the adapted ones."""
        ends = zip(self.agent.actor.parameters(), self.trained.actor.parameters(), adapted, strict=True)
        for parameter, start, end in ends:
            parameter.copy_(torch.lerp(start, end, share))

    def _observed(self) -> Tensor:
        """Features (B, I) of states in the memory under the present preference."""
        observations = self.agent.observations(self.agent.config.policy_batch)
        relative = self.agent.run_time_weights.to(observations).expand(len(observations), -1)
        return self.agent.features(observations, relative)

    # Revertible

    def _end_window(self, costs: np.ndarray) -> None:
        if not self.is_reference:
            self._adapted_costs = costs
        elif self._adapted_costs is not None and worse(self._adapted_costs, costs, self.config.standard_errors):
            self.revert()

    def revert(self) -> None:
        """Go back to what was trained; the memory stays."""
        self.agent.load_learned(copy.deepcopy(self.start))
        self.reversions += 1


def worse(costs: np.ndarray, reference: np.ndarray, standard_errors: float) -> bool:
    """Return whether the mean of some costs is so many standard errors of the difference above a reference's."""
    error = math.sqrt(costs.var(ddof=1) / len(costs) + reference.var(ddof=1) / len(reference))
    return bool(costs.mean() - reference.mean() > standard_errors * error)
