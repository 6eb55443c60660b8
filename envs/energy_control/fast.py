"""One compiled plant: `gymnasium.make("daif/EnergyControl-v0", engine="fast")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from envs.energy_control.env import start_options
from envs.energy_control.vector import INFO_KEYS, Batch, CompiledPlants

Observation = dict[str, Any]
Info = dict[str, Any]


class FastEnergyControlEnv(gymnasium.Env[Observation, Any]):
    """`EnergyControlEnv` on the compiled engine; keyword arguments, spaces, rewards and info keys are the same.

    It has no render modes. Many plants in one `EnergyControlVectorEnv` are far faster than many of these.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        if render_mode is not None:
            raise ValueError(f"The fast engine has no render modes, so not {render_mode!r}: use engine='simpy'.")
        self.render_mode = None
        self._plants = CompiledPlants(1, **settings)
        self.plant = self._plants.plant
        self.preference = self._plants.preference
        self.observation_space = self._plants.observation_space
        self.action_space = self._plants.action_space
        self._one = np.ones(1, dtype=np.bool_)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start the plant, run its start phase, and return what is seen at the first decision after it."""
        super().reset(seed=seed)
        start, start_s = start_options(options)
        self._plants.seed([seed], self._one)
        return self._look(self._plants.start(self._one, start, start_s))

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Take the decision that is due and return what is seen at the next one."""
        batch, _ = self._plants.step(np.asarray(action)[np.newaxis])
        observation, info = self._look(batch)
        shown = batch.shown[0]
        return observation, float(shown["reward"]), False, bool(shown["truncated"]), info

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that decides the future, random numbers included, as a dict of arrays."""
        return self._plants.get_state()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to what `get_state` of an environment with the same arguments returned."""
        self._plants.set_state(state)

    def _look(self, batch: Batch) -> tuple[Observation, Info]:
        observation = {key: value[0] for key, value in self._plants.observation(batch).items()}
        shown = batch.shown[0]
        return observation, {key: shown[key] if shown[key].shape else shown[key].item() for key in INFO_KEYS}
