"""The exact optimum of the workstation as an agent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces


@dataclass(frozen=True)
class OptimalSettings:
    """Settings of the optimal agent."""

    weight: float = 8000.0
    """Worth of a part in kJ: mean power − weight · throughput is minimised."""

    def __post_init__(self) -> None:
        if not self.weight >= 0.0:
            raise ValueError(f"weight is {self.weight}; it must be at least 0 kJ per part.")


class OptimalAgent:
    """Acts by the exact optimal policy of a plant; its environment is made with `observe_event=True`.

    Args:
        observation_space: of a single plant, with the part `event`.
        action_space: of a single plant.
        settings: the weight.
        env_kwargs: arguments of the environment, of which the plant counts.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        settings: OptimalSettings,
        *,
        env_kwargs: Mapping[str, Any],
    ) -> None:
        from envs.energy_control.optimal import solve

        if not isinstance(observation_space, spaces.Dict) or "event" not in observation_space.spaces:
            raise ValueError(
                "The optimal agent needs the kind of decision: a workstation made with observe_event=True."
            )
        self.observation_space: spaces.Space = observation_space
        self.action_space = action_space
        self.solution = solve(env_kwargs.get("plant", "paper"), settings.weight)

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return the optimal number of machines, one per plant."""
        return np.asarray(self.solution.policy.act(observations))
