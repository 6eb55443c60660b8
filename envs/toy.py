"""Tiny environments whose optimum is known in closed form, for learning tests in seconds."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.checks import number, whole


class IdentityEnv(gymnasium.Env[Any, Any]):
    """A contextual bandit: the observation is the best action.

    Observation and action `Discrete(actions)`; the next observation is drawn uniformly, whatever the action. Reward 1
    for the action that equals the observation, else 0. Truncated after `steps` steps; best return `steps`, that of
    random actions `steps / actions` on average.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's attribute

    def __init__(self, *, actions: int = 4, steps: int = 100) -> None:
        self._steps = whole(steps, "The number of steps", 1, 10**9)
        self._actions = whole(actions, "The number of actions", 2, 10_000)
        self.action_space = spaces.Discrete(actions)
        self.observation_space = spaces.Discrete(actions)
        self.optimal_return = float(steps)
        """Return of the best policy."""
        self._best = self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Draw the first observation."""
        super().reset(seed=seed)
        self._step = 0
        return self._draw(), {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Compare the action with the observation, then draw the next one."""
        reward = float(action == self._best)
        self._step += 1
        return self._draw(), reward, False, self._step >= self._steps, {}

    def _draw(self) -> int:
        self._best = int(self.np_random.integers(self._actions))
        return self._best


class IdentityContinuousEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A contextual bandit with real actions: the observation is the best action.

    Observation and action `Box(-1, 1, (dimensions,))`; the next observation is drawn uniformly, whatever the action.
    Reward -(mean over dimensions of (action - observation)²), at most 0. Truncated after `steps` steps; best return 0,
    that of the action 0 `-steps / 3` on average, of uniform actions `-2 · steps / 3`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's attribute

    def __init__(self, *, dimensions: int = 1, steps: int = 100) -> None:
        self._steps = whole(steps, "The number of steps", 1, 10**9)
        shape = (whole(dimensions, "The number of dimensions", 1, 10_000),)
        self.action_space = spaces.Box(-1.0, 1.0, shape, np.float32)
        self.observation_space = spaces.Box(-1.0, 1.0, shape, np.float32)
        self.optimal_return = 0.0
        """Return of the best policy."""
        self._best = np.zeros(shape, np.float32)
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw the first observation."""
        super().reset(seed=seed)
        self._step = 0
        return self._draw(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Compare the action with the observation, then draw the next one."""
        reward = -float(np.mean((np.asarray(action, np.float64) - self._best) ** 2))
        self._step += 1
        return self._draw(), reward, False, self._step >= self._steps, {}

    def _draw(self) -> np.ndarray:
        self._best = self.np_random.uniform(-1.0, 1.0, self._best.shape).astype(np.float32)
        return self._best.copy()


class ChainEnv(gymnasium.Env[Any, Any]):
    """A chain with a reward at its far end: patience against a small reward at once.

    Observation `Discrete(length)`: the place, from 0. Action `Discrete(2)`: 0 leaves at once for the reward `small`, 1
    goes on to the next place without reward; reaching the last place pays 1. Both ends terminate. Best return 1 after
    `length - 1` steps; with a discount γ going on is worth γ^(length - 2 - place), more than leaving while that
    exceeds `small`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's attribute

    def __init__(self, *, length: int = 8, small: float = 0.2) -> None:
        self.length = whole(length, "The length of the chain", 2, 10_000)
        self.small = number(small, "The small reward", 0.0, 1.0)
        self.action_space = spaces.Discrete(2)
        self.observation_space = spaces.Discrete(length)
        self.optimal_return = 1.0
        """Return of the best policy."""
        self._place = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Go back to the first place."""
        super().reset(seed=seed)
        self._place = 0
        return self._place, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Leave, or go on."""
        if not action:
            return self._place, self.small, True, False, {}
        self._place += 1
        arrived = self._place == self.length - 1
        return self._place, float(arrived), arrived, False, {}
