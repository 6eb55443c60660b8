"""Rewards that come late."""

from __future__ import annotations

from collections import deque
from typing import Any, SupportsFloat

import gymnasium

from envs.checks import whole


class DelayedReward(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Pays each reward `delay` steps later or, with `accumulate`, the sum of them every `delay` steps.

    What is still owed when an episode ends is paid with its last step, so that the undiscounted return is unchanged.
    A delay of 0 (or of 1 with `accumulate`) changes nothing. The reward of the step itself is in
    `info["undelayed_reward"]`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], delay: int, accumulate: bool = False) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, delay=delay, accumulate=accumulate)
        gymnasium.Wrapper.__init__(self, env)
        self._delay = whole(delay, "The delay of the reward", 1 if accumulate else 0, 10**9)
        self._accumulate = accumulate
        self._owed: deque[float] = deque()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Forget what is owed."""
        self._owed.clear()
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step and pay what is due."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._owed.append(float(reward))
        paid = 0.0
        if terminated or truncated or (self._accumulate and len(self._owed) == self._delay):
            paid = sum(self._owed)
            self._owed.clear()
        elif not self._accumulate and len(self._owed) > self._delay:
            paid = self._owed.popleft()
        return observation, paid, terminated, truncated, {**info, "undelayed_reward": float(reward)}
