"""A trained DQN that keeps learning while it acts: the peer of an adapting agent, in tasks without episodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.utils import polyak_update

from baselines.outcome_reward import outcome_reward
from baselines.sb3 import DQNSettings, SB3Learner, global_generators


class ContinualDQN:
    """A copy of a trained DQN that goes on as in training: from its replay memory, with as many updates a decision.

    `begin` starts it; then each `act` is followed by a `receive` of what it brought. Acting greedily it explores
    nothing, otherwise it does so as at the end of training.

    Args:
        trained: the learner, which stays as it is; ValueError for another algorithm than DQN.
    """

    def __init__(self, trained: SB3Learner) -> None:
        if not isinstance(trained.settings, DQNSettings):
            raise ValueError("Of the agents of Stable-Baselines3 only DQN keeps learning while it runs.")
        self.settings: DQNSettings = trained.settings
        self.observation_space, self.action_space = trained.observation_space, trained.action_space
        self.learner = SB3Learner(
            trained.observation_space, trained.action_space, trained.settings,
            seed=trained.seed, device=str(trained.model.device),
        )  # fmt: skip
        self.learner.load_state(*trained.state())
        self.decisions = 0
        self._updates = 0
        self._copies = 0
        self._done: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @property
    def model(self) -> DQN:
        """The networks and their optimiser."""
        model = self.learner.model
        assert isinstance(model, DQN)
        return model

    def begin(self, num_envs: int) -> None:
        """Start in environments that have just been reset: the replay memory is shaped for as many."""
        self._done = None
        old = self.model.replay_buffer
        assert old is not None
        new = ReplayBuffer(
            self.settings.buffer_size, old.observation_space, old.action_space, self.model.device, n_envs=num_envs,
            optimize_memory_usage=False,
        )  # fmt: skip
        filled = old.buffer_size if old.full else old.pos
        steps = min(filled * old.n_envs // num_envs, new.buffer_size)
        for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
            kept, target = getattr(old, name)[:filled], getattr(new, name)
            kept = np.roll(kept, -old.pos, axis=0) if old.full else kept  # the oldest first
            rows = kept.reshape(-1, *kept.shape[2:])[-steps * num_envs :]
            target[:steps] = rows.reshape(steps, num_envs, *kept.shape[2:])
        new.pos, new.full = steps % new.buffer_size, steps == new.buffer_size
        self.model.replay_buffer = new

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Choose actions for batched observations; learn from what the actions before them brought."""
        flat = self.learner.flatten(observations)
        if self._done is not None:
            self._learn(*self._done, flat)
        actions = self.learner.act(observations, deterministic=deterministic)
        self._acted = flat, actions - getattr(self.action_space, "start", 0)
        return actions

    def receive(self, rewards: np.ndarray, info: Mapping[str, Any]) -> None:
        """Take in what the latest actions brought: rewards (N,) and the entries of `info`, (N,) each."""
        s = self.settings
        if s.signal == "outcomes":
            rewards = outcome_reward(info["lost"], info["wasted_kj"], s.lost_kj, s.outcome_scale)
        self._done = (*self._acted, rewards)

    def figures(self) -> dict[str, float]:
        """Return what happened: decisions learned from, and gradient steps."""
        return {"decisions": self.decisions, "gradient_steps": self._updates * max(self.settings.gradient_steps, 1)}

    def _learn(self, seen: np.ndarray, actions: np.ndarray, rewards: np.ndarray, behind: np.ndarray) -> None:
        """Store N transitions; train and copy to the target network as often a decision as training did."""
        s, model, count = self.settings, self.model, len(rewards)
        assert model.replay_buffer is not None
        model.replay_buffer.add(seen, behind, actions, rewards, np.zeros(count), [{} for _ in range(count)])
        self.decisions += count
        decisions_per_update = s.train_freq * s.num_envs
        if self.decisions // decisions_per_update > self._updates:
            self._updates += 1
            with global_generators(self.learner.epoch_seed(self.learner.epochs + self._updates)):
                model.train(s.gradient_steps if s.gradient_steps > 0 else decisions_per_update, s.batch_size)
        if self.decisions // s.target_update_interval > self._copies:
            self._copies += 1
            polyak_update(model.q_net.parameters(), model.q_net_target.parameters(), model.tau)
