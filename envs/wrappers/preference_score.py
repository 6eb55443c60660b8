"""A preference score as the reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsFloat

import gymnasium

Score = Callable[[Any, dict[str, Any]], float]


def composite(observation: Any, info: dict[str, Any]) -> float:
    """The workstation's own composite score, the last of its three."""
    return float(observation["scores"][2])


class PreferenceScore(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Replaces the reward by a score of what is seen: how well (observation, info) agrees with what is preferred.

    By default the workstation's composite score. The reward proper is in `info["reward"]`, the score, at reset too,
    in `info["preference_score"]`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], score: Score = composite) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, score=score)
        gymnasium.Wrapper.__init__(self, env)
        if not callable(score):
            raise ValueError(f"The score must be a function of observation and info, not {score!r}.")
        self._score = score

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, with the score in `info`."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "preference_score": float(self._score(observation, info))}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, with the score as the reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        score = float(self._score(observation, info))
        return observation, score, terminated, truncated, {**info, "reward": float(reward), "preference_score": score}
