"""Reward of the workstation from its outcomes: parts lost and energy wasted since the last decision."""

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper


def outcome_reward(lost: np.ndarray, wasted_kj: np.ndarray, weight_kj: float, scale_kj: float) -> np.ndarray:
    """Return −(weight · parts lost + energy wasted) / scale, (N,)."""
    return -(weight_kj * lost + wasted_kj) / scale_kj


class OutcomeReward(VectorWrapper):
    """The reward `outcome_reward`, from the info keys `lost` and `wasted_kj`.

    The parts lost are those discarded, the energy wasted is what was not spent on busy machines. With the weight
    w − 1255.5 kJ (what a part takes on a busy machine) the long-run optimum is that of w · parts made − energy used, at
    a fraction of its noise.

    Args:
        env: a vector of workstations.
        weight_kj: of a lost part.
        scale_kj: what the sum is divided by.
    """

    def __init__(self, env: VectorEnv, weight_kj: float, scale_kj: float) -> None:
        super().__init__(env)
        self.weight_kj = weight_kj
        self.scale_kj = scale_kj

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step, with the reward replaced."""
        observations, _, terminated, truncated, info = self.env.step(actions)
        if "lost" not in info or "wasted_kj" not in info:
            raise ValueError("The signal 'outcomes' needs the workstation's info keys 'lost' and 'wasted_kj'.")
        lost, wasted_kj = self._of_step(info, "lost"), self._of_step(info, "wasted_kj")
        rewards = outcome_reward(lost, wasted_kj, self.weight_kj, self.scale_kj)
        return observations, rewards, terminated, truncated, info

    def _of_step(self, info: dict[str, Any], name: str) -> np.ndarray:
        """Return what the step itself brought, also where an episode ended and `info` is that of the next one."""
        values = np.array(info[name], dtype=float)
        final = info.get("final_info")
        if final is not None and "_final_info" in info:
            ended = np.flatnonzero(info["_final_info"])
            if isinstance(final, dict):
                values[ended] = np.asarray(final[name], dtype=float)[ended]
            else:
                values[ended] = [final[i][name] for i in ended]
        return values
