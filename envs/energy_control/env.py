"""The Gymnasium environment of the energy-controlled workstation, on SimPy."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

from envs.energy_control.config import ASSIGNMENTS, BUSY, DAY_S, IDLE, Plant, _choice, _number, _whole, load_plant
from envs.energy_control.preference import Preference
from envs.energy_control.spaces import action_space, observation_space
from envs.energy_control.workstation import PlantSimulation

STARTS: tuple[str, ...] = ("all-on", "random", "empty")

Observation = dict[str, Any]
Info = dict[str, Any]


def start_options(options: Mapping[str, Any] | None) -> tuple[str, float]:
    """The start phase asked for in `reset(options=...)`: its kind and its length in seconds."""
    options = dict(options or {})
    for key in options:
        if key not in ("start", "start_s"):
            close = difflib.get_close_matches(str(key), ("start", "start_s"), n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"The reset option {key!r} is unknown{hint}; allowed: start, start_s.")
    start = _choice(options.get("start", "all-on"), "The start", STARTS)
    start_s = _number(options.get("start_s", 0.0 if start == "empty" else DAY_S), "The length start_s", 0.0, 1e9)
    if start == "empty" and start_s > 0.0:
        raise ValueError(f"The start 'empty' has no start phase, so start_s must be 0, not {start_s:g}.")
    return start, start_s


class EnergyControlEnv(gymnasium.Env[Observation, Any]):
    """SPEC"""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human", "rgb_array", "ansi"], "render_fps": 10}

    def __init__(
        self,
        *,
        plant: str | Path | Plant | Mapping[str, Any] = "paper",
        assignment: str | None = None,
        observe_event: bool = False,
        reward: str = "score",
        phi: float = 0.95,
        weight_kj_per_part: float = 8000.0,
        reward_scale: float | None = None,
        score: str = "sigmoid",
        window_s: float = 28_800.0,
        score_average: str = "window",
        episode_decisions: int | None = None,
        episode_s: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.plant = load_plant(plant)
        self.assignment = _choice(assignment or self.plant.assignment, "The assignment", ASSIGNMENTS)
        self.preference = Preference.for_plant(
            self.plant,
            reward=reward,
            phi=phi,
            weight_kj_per_part=weight_kj_per_part,
            reward_scale=reward_scale,
            score=score,
            window_s=window_s,
            score_average=score_average,
        )
        if episode_decisions is not None:
            _whole(episode_decisions, "The length episode_decisions", 1, 10**12)
        if episode_s is not None:
            _number(episode_s, "The length episode_s", 0.0, 1e12, above=True)
        if render_mode is not None:
            _choice(render_mode, "The render mode", self.metadata["render_modes"])
        self.render_mode = render_mode
        self.observation_space = observation_space(self.plant, observe_event)
        self.action_space = action_space(self.plant)
        self._observe_event = observe_event
        self._episode_decisions = episode_decisions or math.inf
        self._episode_s = episode_s or math.inf
        self._composite = self.preference.sigmoid if score == "sigmoid" else self.preference.linear
        self._machines = [station.machines for station in self.plant.stations]
        self._line = len(self._machines) > 1
        self._simulation: PlantSimulation | None = None
        self._decisions = 0

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start a plant of its own, run its start phase, and return what is seen at the first decision after it."""
        super().reset(seed=seed)
        start, start_s = start_options(options)
        plant_rng, start_rng = self.np_random.spawn(2)
        simulation = self._simulation = PlantSimulation(self.plant, self.assignment, plant_rng, start_s)
        average = self._average = self.preference.average(-start_s)
        simulation.run_to_decision()
        while simulation.clock.now < 0.0:
            average.update(simulation.clock.now, sum(simulation.energy_by_state_kj()), simulation.parts_made)
            if start == "random":
                simulation.decide([int(start_rng.integers(n + 1)) for n in self._machines])
            else:
                simulation.decide(self._machines)
            simulation.run_to_decision()
        average.rebase(simulation.start_energy_kj, simulation.start_parts)
        self._decisions = 0
        self._time_s = self._energy_kj = self._busy_kj = 0.0
        self._made = self._lost = 0
        observation, info, _ = self._look()
        if self.render_mode == "human":
            self.render()
        return observation, info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Take the decision that is due and return what is seen at the next one."""
        simulation = self._simulation
        if simulation is None:
            raise gymnasium.error.ResetNeeded("The environment has to be reset before its first step.")
        simulation.decide(self._targets(action))
        simulation.run_to_decision()
        self._decisions += 1
        observation, info, reward = self._look()
        truncated = self._decisions >= self._episode_decisions or self._time_s >= self._episode_s
        if self.render_mode == "human":
            self.render()
        return observation, reward, False, truncated, info

    def _targets(self, action: Any) -> list[int]:
        """Machines to be on for each station; a ValueError for what is no action."""
        try:
            targets = [operator.index(n) for n in action] if self._line else [operator.index(action)]
        except TypeError:
            targets = []
        if len(targets) != len(self._machines) or any(
            not 0 <= n <= m for n, m in zip(targets, self._machines, strict=True)
        ):
            raise ValueError(f"The action {action!r} is not in {self.action_space}.")
        return targets

    def _observation(self, simulation: PlantSimulation) -> Observation:
        """Buffers, the kind of decision and machines; the keys are in the order of the space."""
        stations = simulation.stations
        if not self._line:
            observation: Observation = {"buffer": stations[0].parts}
        else:
            observation = {f"buffer_{i}": station.parts for i, station in enumerate(stations, 1)}
        if self._observe_event:
            observation["event"] = simulation.event
        if not self._line:
            observation["machines"] = np.array(stations[0].states)
        else:
            observation |= {f"machines_{i}": np.array(station.states) for i, station in enumerate(stations, 1)}
        return observation

    def _look(self) -> tuple[Observation, Info, float]:
        """Observation, info and reward at the decision that is due."""
        simulation = self._simulation
        assert simulation is not None
        preference, average = self.preference, self._average
        time_s = simulation.clock.now
        by_state_kj = simulation.energy_by_state_kj()
        energy_kj = sum(by_state_kj)
        parts_made, parts_discarded = simulation.parts_made, simulation.parts_discarded
        made, lost = parts_made - self._made, parts_discarded - self._lost
        used_kj = energy_kj - self._energy_kj
        wasted_kj = used_kj - (by_state_kj[BUSY] - self._busy_kj)

        average.update(time_s, energy_kj, parts_made)
        r_prod, r_energy = preference.scores(average.parts_per_min, average.mean_kw)
        composite = self._composite(r_prod, r_energy)
        if preference.reward == "score":
            reward = composite
        elif preference.reward == "score-linear":
            reward = preference.linear(r_prod, r_energy)
        else:
            reward = preference.increment(made, used_kj)

        observation = self._observation(simulation)
        observation["scores"] = np.array((r_prod, r_energy, composite), np.float32)
        info: Info = {
            "time_s": time_s,
            "elapsed_s": time_s - self._time_s,
            "parts_made": parts_made,
            "parts_discarded": parts_discarded,
            "parts_arrived": simulation.parts_arrived,
            "energy_kj": energy_kj,
            "energy_by_state_kj": np.array(by_state_kj),
            "made": made,
            "lost": lost,
            "used_kj": used_kj,
            "wasted_kj": wasted_kj,
            "machines_by_state": np.array(simulation.machines_by_state()),
            "window_parts_per_min": average.parts_per_min,
            "window_kw": average.mean_kw,
            "event": simulation.event,
        }
        self._time_s, self._energy_kj, self._busy_kj = time_s, energy_kj, by_state_kj[BUSY]
        self._made, self._lost = parts_made, parts_discarded
        return observation, info, reward
