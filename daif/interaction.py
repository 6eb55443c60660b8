"""Interaction of an agent with parallel environments: segments of consecutive decisions (Algorithm 1, lines 4 to 8)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from daif.memory import Segment
from daif.perturbation import PerturbedActors

if TYPE_CHECKING:
    from daif.agent import DAIFAgent


class Recorder:
    """Draws an agent's actions in parallel environments, explores, and keeps what the decisions brought.

    Each decision is a call of `act`, then one of `receive`; after `length` of them `segment` gives them away.

    Args:
        agent: whose settings say how long a segment is and what is collected per decision: rewards (as the cost
            −reward) or entries of `info`.
        num_envs: N, the number of environments.
        actor_noise: of the copies of the actor that decide, see `daif.perturbation`; 0 for the actor itself.
    """

    def __init__(self, agent: DAIFAgent, num_envs: int, *, actor_noise: float = 0.0) -> None:
        self.length = agent.config.segment or agent.config.horizon
        self.outcomes = agent.weights.names
        t, n, width = self.length, num_envs, 1 if agent.actor.discrete else agent.actor.action_size
        self._shapes = {"observations": (t + 1, n, agent.codec.size), "actions": (t, n, width)}
        self._shapes["outcomes"] = (t, n, len(self.outcomes))
        self._held = np.zeros(n, dtype=np.int64)
        self._holding: torch.Tensor | None = None
        self._actor_noise = actor_noise
        self._copies: PerturbedActors | None = None
        self._begin()

    def _begin(self) -> None:
        self._tau = 0
        arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in self._shapes.items()}
        self._observations, self._actions, self._outcomes = arrays.values()
        self._terminated, self._truncated = np.zeros((2, *self._actions.shape[:2]), dtype=bool)
        self._codes: list[np.ndarray] = []

    @property
    def full(self) -> bool:
        """Whether a segment is complete but for the observation behind it."""
        return self._tau == self.length

    @torch.no_grad()
    def act(self, agent: DAIFAgent, flat: np.ndarray, relative: torch.Tensor, *, greedy: bool = False) -> np.ndarray:
        """Decide at flattened observations (N, O) under relative weights (N, C); return the environment's actions."""
        self._observations[self._tau] = flat
        features = agent.features(torch.from_numpy(flat).to(agent.device), relative)
        if self._actor_noise and self._tau == 0:  # departure: a perturbed actor for each environment and segment
            self._copies = PerturbedActors(agent.actor, agent.encoding, len(flat), self._actor_noise)
        copies = self._copies
        if self._tau + agent.config.shortest_jump <= self.length:
            code = agent.encoding(agent.actor, features) if copies is None else copies.codes(features)
            self._codes.append(code.cpu().numpy())
        outputs = agent.actor.hidden_and_outputs(features)[1] if copies is None else copies.outputs(features)
        action = agent.actor.distribution(outputs).mode if greedy else agent.actor.draw_from(outputs)
        action = self._explore(agent, action)
        self._actions[self._tau] = action.reshape(len(flat), -1).cpu().numpy()
        return agent.actor.to_environment(action)

    def receive(
        self, rewards: np.ndarray, info: Mapping[str, Any], terminated: np.ndarray | bool, truncated: np.ndarray | bool
    ) -> None:
        """Take in what the latest actions brought."""
        for i, name in enumerate(self.outcomes):
            self._outcomes[self._tau, :, i] = -rewards if name == "reward" else info[name]
        self._terminated[self._tau], self._truncated[self._tau] = terminated, truncated
        self._tau += 1

    def segment(self, flat: np.ndarray) -> Segment:
        """Return the decisions with the observations (N, O) behind them, and begin anew."""
        self._observations[self.length] = flat
        arrays = self._observations, self._actions, self._outcomes, self._terminated, self._truncated
        segment = Segment(*arrays, np.stack(self._codes))
        self._begin()
        return segment

    def _explore(self, agent: DAIFAgent, action: torch.Tensor) -> torch.Tensor:
        """departure: replace some actions by random ones, each held for a while, so that its effect can be seen."""
        rate = 1.0 if agent.warming_up else agent.exploration
        if rate == 0.0 and not self._held.any():
            return action
        generator = agent.random.numpy
        random = agent.actor.random_actions(len(action), generator).to(action)
        if self._holding is None:
            self._holding = random
        starts = (self._held == 0) & (generator.random(len(action)) < rate)
        self._holding = torch.where(_rows(starts, action), random, self._holding)
        self._held[starts] = generator.integers(1, agent.config.max_hold + 1, size=int(starts.sum()))
        held = self._held > 0
        self._held[held] -= 1
        return torch.where(_rows(held, action), self._holding, action)


class Interaction:
    """Runs an agent's actor in a vector environment with same-step autoreset, one segment at a time.

    Args:
        envs: the environments; a finished one is reset within the same step.
        agent: whose settings say how long a segment is and what is collected.
        seed: of the reset.
        options: of the reset.
    """

    def __init__(self, envs: VectorEnv, agent: DAIFAgent, seed: int, options: dict[str, Any]) -> None:
        self.envs = envs
        self.observations, _ = envs.reset(seed=seed, options=options or None)
        self.recorder = Recorder(agent, envs.num_envs, actor_noise=agent.config.actor_noise)
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        self._episodes: deque[tuple[float, int]] = deque(maxlen=100)
        self._reward = 0.0
        self._steps = 0

    def run(self, agent: DAIFAgent) -> Segment:
        """Run `length` decisions of the actor as it is now; return them with the code π̂ at their start(s)."""
        relative = agent.weights.sample(self.envs.num_envs).to(agent.device)
        flat = agent.codec.flatten(self.observations)
        while not self.recorder.full:
            actions = self.recorder.act(agent, flat, relative)
            self.observations, rewards, terminated, truncated, info = self.envs.step(actions)
            self.recorder.receive(rewards, info, terminated, truncated)
            self._count(rewards, terminated | truncated)
            flat = agent.codec.flatten(self.observations)
        segment = self.recorder.segment(flat)
        agent.codec.update(torch.from_numpy(segment.observations[:-1].reshape(-1, agent.codec.size)))
        agent.decisions += segment.actions[..., 0].size
        return segment

    def _count(self, rewards: np.ndarray, done: np.ndarray) -> None:
        self._returns += rewards
        self._lengths += 1
        self._reward += float(rewards.mean())
        self._steps += 1
        for i in np.flatnonzero(done):
            self._episodes.append((float(self._returns[i]), int(self._lengths[i])))
            self._returns[i], self._lengths[i] = 0.0, 0

    def metrics(self) -> dict[str, float]:
        """Return the mean reward of a decision, and the return and length of the latest finished episodes, if any."""
        metrics = {"rollout/reward_mean": self._reward / max(self._steps, 1)}
        if self._episodes:
            metrics["rollout/ep_rew_mean"] = float(np.mean([episode[0] for episode in self._episodes]))
            metrics["rollout/ep_len_mean"] = float(np.mean([episode[1] for episode in self._episodes]))
        return metrics


def _rows(mask: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """A mask over the batch, shaped to select rows of `like`."""
    return torch.from_numpy(mask).to(like.device).reshape(-1, *(1,) * (like.dim() - 1))
