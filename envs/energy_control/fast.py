"""One compiled plant: `gymnasium.make("daif/EnergyControl-v0", engine="fast")`."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from envs.energy_control.env import start_options
from envs.energy_control.vector import INFO_KEYS, CompiledPlants

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
        self._machines = [station.machines for station in self.plant.stations]
        self._line = len(self._machines) > 1
        self._observe_event = "event" in self.observation_space.spaces
        self._batch = self._plants.empty_batch()
        self._targets = np.zeros((1, len(self._machines)), dtype=np.int64)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start the plant, run its start phase, and return what is seen at the first decision after it."""
        super().reset(seed=seed)
        start, start_s = start_options(options)
        self._plants.seed([seed], self._one)
        self._batch = self._plants.start(self._one, start, start_s)
        observation, info, _, _ = self._look()
        return observation, info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Take the decision that is due and return what is seen at the next one."""
        if self._line:
            self._targets[0] = self._checked(action)
        else:
            self._targets[0, 0] = self._checked((action,))[0]
        if not self._plants.started:
            raise gymnasium.error.ResetNeeded("The environment has to be reset before its first step.")
        self._plants.step_into(self._batch, self._targets)
        observation, info, reward, truncated = self._look()
        return observation, reward, False, truncated, info

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that decides the future, random numbers included, as a dict of arrays."""
        return self._plants.get_state()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to what `get_state` of an environment with the same arguments returned."""
        self._plants.set_state(state)
        self._batch = self._plants.batch

    def _checked(self, action: Sequence[Any]) -> list[int]:
        """Machines to be on for each station; a ValueError for what is no action."""
        try:
            targets = [operator.index(n) for n in action]
        except TypeError:
            targets = []
        if len(targets) == len(self._machines):
            for n, machines in zip(targets, self._machines, strict=True):
                if not 0 <= n <= machines:
                    break
            else:
                return targets
        shown = action if self._line else action[0]
        raise ValueError(f"The action {shown!r} is not in {self.action_space}.")

    def _look(self) -> tuple[Observation, Info, float, bool]:
        """Observation, info, reward and whether the episode is over, in arrays of their own."""
        batch = self._batch
        values = batch.shown.item()
        reward, truncated = values[-2:]
        info = dict(zip(INFO_KEYS, values, strict=False))
        for key in ("energy_by_state_kj", "machines_by_state"):
            info[key] = info[key].copy()
        if self._line:
            observation: Observation = {key: value[0] for key, value in self._plants.observation(batch.copy()).items()}
            return observation, info, reward, truncated
        observation = {"buffer": batch.buffers[0, 0]}
        if self._observe_event:
            observation["event"] = info["event"]
        observation["machines"] = batch.machines[0].copy()
        observation["scores"] = batch.scores[0].copy()
        return observation, info, reward, truncated
