"""Interaction of an agent with parallel environments: segments of consecutive decisions (Algorithm 1, lines 4 to 8)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from daif.memory import Segment

if TYPE_CHECKING:
    from daif.agent import DAIFAgent


class Interaction:
    """Runs an agent's actor in a vector environment with same-step autoreset, one segment at a time.

    Args:
        envs: the environments; a finished one is reset within the same step.
        agent: whose settings say how long a segment is and what is collected per decision: rewards (as the cost
            −reward) or entries of `info`.
        seed: of the reset.
        options: of the reset.
    """

    def __init__(self, envs: VectorEnv, agent: DAIFAgent, seed: int, options: dict[str, Any]) -> None:
        self.envs = envs
        self.length = agent.config.segment or agent.config.horizon
        self.outcomes = agent.weights.names
        self.observations, _ = envs.reset(seed=seed, options=options or None)
        self._held = np.zeros(envs.num_envs, dtype=np.int64)
        self._holding: torch.Tensor | None = None
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        self._episodes: deque[tuple[float, int]] = deque(maxlen=100)
        self._reward = 0.0
        self._steps = 0

    @torch.no_grad()
    def run(self, agent: DAIFAgent) -> Segment:
        """Run `length` decisions of the actor as it is now; return them with the code π̂ at their start(s)."""
        n, t = self.envs.num_envs, self.length
        observations = np.empty((t + 1, n, agent.codec.size), dtype=np.float32)
        actions = np.empty((t, n, 1 if agent.actor.discrete else agent.actor.action_size), dtype=np.float32)
        outcomes = np.zeros((t, n, len(self.outcomes)), dtype=np.float32)
        terminated, truncated = np.empty((t, n), dtype=bool), np.empty((t, n), dtype=bool)
        codes: list[np.ndarray] = []
        relative = agent.weights.sample(n).to(agent.device)
        flat = agent.codec.flatten(self.observations)
        for tau in range(t):
            observations[tau] = flat
            features = agent.features(torch.from_numpy(flat).to(agent.device), relative)
            if tau + agent.config.shortest_jump <= t:
                codes.append(agent.encoding(agent.actor, features).cpu().numpy())
            action = self._explore(agent, agent.actor.draw(features))
            actions[tau] = action.reshape(n, -1).cpu().numpy()
            self.observations, rewards, terminated[tau], truncated[tau], info = self.envs.step(
                agent.actor.to_environment(action)
            )
            for i, name in enumerate(self.outcomes):
                outcomes[tau, :, i] = -rewards if name == "reward" else info[name]
            self._count(rewards, terminated[tau] | truncated[tau])
            flat = agent.codec.flatten(self.observations)
        observations[t] = flat
        agent.codec.update(torch.from_numpy(observations[:-1].reshape(-1, agent.codec.size)))
        agent.decisions += n * t
        return Segment(observations, actions, outcomes, terminated, truncated, np.stack(codes))

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
