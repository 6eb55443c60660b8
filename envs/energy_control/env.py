"""The Gymnasium environment of the energy-controlled workstation, on SimPy."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.checks import SettingError, choice, closest, number, whole
from envs.energy_control.config import ASSIGNMENTS, DAY_S, Plant, load_plant
from envs.energy_control.preference import Preference
from envs.energy_control.render import PlantView, StationView, Window, draw_rgb, draw_text
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
            hint = closest(key, ("start", "start_s"))
            raise SettingError(f"The reset option {key!r} is unknown{hint}; allowed: start, start_s.")
    start = choice(options.get("start", "all-on"), "The start", STARTS)
    start_s = number(options.get("start_s", 0.0 if start == "empty" else DAY_S), "The length start_s", 0.0, 1e9)
    if start == "empty" and start_s > 0.0:
        raise SettingError(f"The start 'empty' has no start phase, so start_s must be 0, not {start_s:g}.")
    return start, start_s


class EnergyControlEnv(gymnasium.Env[Observation, Any]):
    """Machines in parallel behind a buffer; decide how many to keep on, for little energy without losing production.

    ## Description

    Parts arrive at random and wait in a buffer for one of the machines; a part that finds the buffer full is lost.
    A machine in standby saves power, but takes time and energy to start up. At every arrival and every departure the
    controller says how many machines are to be on. Plant `paper`, of arXiv 2505.19867 and 2406.09322: 6 machines,
    10 places, a part every 20 s, jobs of 83.7 s, start-ups of 30 s, failures after 3600 s of work, repairs of 30 s;
    busy 15 kW, idle 9.3, start-up 10, standby and failed 0. `envs.energy_control.workstation` states exactly what
    happens in which order at one instant; `plant` gives other plants.

    ## Action Space

    `Discrete(machines + 1)`: the number n of machines to be on, in force until the next decision.

    | Num | Action |
    |-----|---|
    | 0   | all machines off |
    | n   | n machines on |
    | 6   | all machines on (paper) |

    More than n on: idle machines are switched off, highest index first; a job is never interrupted, a start-up that
    is surplus ends in standby. Fewer than n on: standby machines start up, lowest index first, at arrivals (accepted
    or discarded) only. With `assignment="index"` the machines with index below n are kept on; the others go off when
    idle, and at the end of their start-up or of their job.
    A line of several stations has `MultiDiscrete`, one such number for each station; start-ups then happen at every
    station when a part arrives at the plant, and at a station that is handed a part by the one before.

    ## Observation Space

    A `Dict`; `gymnasium.wrappers.FlattenObservation` makes it the paper's 44 numbers (11 + 30 + 3). All keys are seen
    after the part has arrived or left and before machines take parts.

    | Key        | Space                    | Meaning |
    |------------|--------------------------|---|
    | `buffer`   | `Discrete(places + 1)`   | parts that wait |
    | `event`    | `Discrete(3)`            | with `observe_event`: 0 arrival, 1 departure, 2 discard |
    | `machines` | `MultiDiscrete([5] * m)` | each machine: 0 standby, 1 start-up, 2 idle, 3 busy, 4 failed |
    | `scores`   | `Box(0, 1, (3,))`        | production, energy, composite score over the recent past (see Rewards) |

    A line has `buffer_1`, `buffer_2`, ... and `machines_1`, ...; machines with a station downstream have the sixth
    state 5, blocked (job done, no room downstream, idle power).

    ## Rewards

    Over the past `window_s` (sliding window, or exponential average with that time constant):
    r_prod = throughput / 3.0 parts/min, at most 1; r_energy = 1 - mean power / 90 kW. (Another plant: its nominal
    arrival rate, and its power with every machine in its hungriest state.) Composite: sigmoid = r_prod ·
    σ(20 · r_energy), or linear = φ · r_prod + (1 - φ) · r_energy.

    | `reward`       | Reward of a decision |
    |----------------|---|
    | `score`        | the composite that `score` names, at the next decision; 0 to 1 |
    | `score-linear` | the linear composite, at the next decision; 0 to 1 |
    | `increment`    | scale · (`weight_kj_per_part` · parts made - kJ used) until the next decision; unbounded |

    The window makes the scores slow: one decision moves them by about 1/3000. The long-run optimum of `increment` is a
    point of the exact front of production loss against energy saving.

    ## Starting State

    All machines idle and the buffer empty; then the plant runs through a start phase of `start_s` simulated seconds
    (default one day with all machines on) before the clock and the meter begin at 0. The first observation is the
    first decision at or after 0; the scores remember the start phase.

    ## Episode End

    Never terminated: the plant goes on. Truncated after `episode_decisions` decisions or at the first decision at or
    after `episode_s` simulated seconds, if given.

    ## Information

    | Key                                                 | Meaning |
    |-----------------------------------------------------|---|
    | `time_s`, `elapsed_s`                               | clock; seconds since the last decision (at reset: since 0) |
    | `parts_arrived`, `parts_made`, `parts_discarded`    | since clock 0 |
    | `energy_kj`, `energy_by_state_kj` (5,)              | since clock 0; states in the order of `machines` |
    | `made`, `lost`, `used_kj`, `wasted_kj`              | since the last decision; wasted: not by busy machines |
    | `machines_by_state` (5,)                            | machines in each state (blocked ones count as idle) |
    | `window_parts_per_min`, `window_kw`                 | throughput and mean power that the scores are made of |
    | `event`                                             | kind of the decision that is due, as in the observation |

    ## Arguments

    ```python
    gymnasium.make("envs:daif/EnergyControl-v0", plant="paper", engine="simpy")
    ```

    | Argument             | Default      | Meaning |
    |----------------------|--------------|---|
    | `plant`              | `"paper"`    | name (`config.plant_names()` lists them), YAML file, mapping or `Plant` |
    | `engine`             | `"simpy"`    | `"simpy"` or `"fast"` (compiled); `make_vec` takes the latter by default |
    | `assignment`         | the plant's  | `"pooled"` or `"index"` |
    | `observe_event`      | `False`      | observe the kind of decision |
    | `reward`             | `"score"`    | see Rewards |
    | `phi`                | `0.95`       | φ of the linear composite |
    | `weight_kj_per_part` | `8000.0`     | increment reward: energy that a part is worth |
    | `reward_scale`       | `None`       | increment reward: factor; default 1 / (90 kW · 20 s) for the paper's plant |
    | `score`              | `"sigmoid"`  | composite in the observation: `"sigmoid"` or `"linear"` |
    | `window_s`           | `28800.0`    | seconds that the scores look back |
    | `score_average`      | `"window"`   | `"window"` or `"exponential"` |
    | `episode_decisions`  | `None`       | truncate after so many decisions |
    | `episode_s`          | `None`       | truncate after so many simulated seconds |

    `reset(options=...)`: `start` is `"all-on"` (default), `"random"` (a uniformly random number of machines at each
    decision of the start phase) or `"empty"` (no start phase); `start_s` is its length, default 86400.

    Errors: bad arguments, options and actions raise a `ValueError` of one sentence.

    ## Version History

    * v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "ansi"], "render_fps": 10}  # noqa: RUF012

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
        self.assignment = choice(assignment or self.plant.assignment, "The assignment", ASSIGNMENTS)
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
            whole(episode_decisions, "The length episode_decisions", 1, 10**12)
        if episode_s is not None:
            number(episode_s, "The length episode_s", 0.0, 1e12, above=True)
        if render_mode is not None:
            choice(render_mode, "The render mode", self.metadata["render_modes"])
        self.render_mode = render_mode
        self.observation_space = observation_space(self.plant, observe_event)
        self.action_space = action_space(self.plant)
        self._observe_event = observe_event
        self._episode_decisions = episode_decisions or math.inf
        self._episode_s = episode_s or math.inf
        self._reward_is_score = reward == "score"
        self._reward_is_increment = reward == "increment"
        self._machines = [station.machines for station in self.plant.stations]
        self._line = len(self._machines) > 1
        self._simulation: PlantSimulation | None = None
        self._window: Window | None = None
        self._decisions = 0
        self._last = (0.0, 0.0, 0.0, 0, 0)  # time, energy, busy energy, parts made and discarded at the last decision

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
        self._last = (0.0, 0.0, 0.0, 0, 0)
        observation, info, _ = self._look(simulation)
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
        observation, info, reward = self._look(simulation)
        truncated = self._decisions >= self._episode_decisions or self._last[0] >= self._episode_s
        if self.render_mode == "human":
            self.render()
        return observation, reward, False, truncated, info

    def _targets(self, action: Any) -> Sequence[int]:
        """Machines to be on for each station; a ValueError for what is no action."""
        try:
            if self._line:
                targets = tuple(map(operator.index, action))
                if len(targets) == len(self._machines) and all(
                    0 <= n <= m for n, m in zip(targets, self._machines, strict=True)
                ):
                    return targets
            else:
                n = operator.index(action)
                if 0 <= n <= self._machines[0]:
                    return (n,)
        except TypeError:
            pass
        raise ValueError(f"The action {action!r} is not in {self.action_space}.")

    def _observation(self, simulation: PlantSimulation, scores: tuple[float, float, float]) -> Observation:
        """What is observed at the decision that is due; the keys are in the order of the space."""
        seen = np.array(scores, np.float32)
        if not self._line:
            station = simulation.stations[0]
            if not self._observe_event:
                return {"buffer": station.parts, "machines": station.states_array.copy(), "scores": seen}
            return {
                "buffer": station.parts,
                "event": simulation.event,
                "machines": station.states_array.copy(),
                "scores": seen,
            }
        observation: Observation = {f"buffer_{s.index + 1}": s.parts for s in simulation.stations}
        if self._observe_event:
            observation["event"] = simulation.event
        observation |= {f"machines_{s.index + 1}": s.states_array.copy() for s in simulation.stations}
        observation["scores"] = seen
        return observation

    def _look(self, simulation: PlantSimulation) -> tuple[Observation, Info, float]:
        """Observation, info and reward at the decision that is due."""
        time_s = simulation.clock.now
        by_state_kj = simulation.energy_by_state_kj()
        standby_kj, start_up_kj, idle_kj, busy_kj, failed_kj = by_state_kj
        energy_kj = standby_kj + start_up_kj + idle_kj + busy_kj + failed_kj
        parts_made, parts_discarded = simulation.parts_made, simulation.parts_discarded
        last_s, last_kj, last_busy_kj, last_made, last_discarded = self._last
        self._last = (time_s, energy_kj, busy_kj, parts_made, parts_discarded)
        made = parts_made - last_made
        used_kj = energy_kj - last_kj

        average = self._average
        average.update(time_s, energy_kj, parts_made)
        preference = self.preference
        scores = preference.scores(average.parts_per_min, average.mean_kw)
        if self._reward_is_score:
            reward = scores[2]
        elif self._reward_is_increment:
            reward = preference.increment(made, used_kj)
        else:
            reward = preference.linear(scores[0], scores[1])

        info: Info = {
            "time_s": time_s,
            "elapsed_s": time_s - last_s,
            "parts_made": parts_made,
            "parts_discarded": parts_discarded,
            "parts_arrived": simulation.parts_arrived,
            "energy_kj": energy_kj,
            "energy_by_state_kj": np.array(by_state_kj),
            "made": made,
            "lost": parts_discarded - last_discarded,
            "used_kj": used_kj,
            "wasted_kj": used_kj - (busy_kj - last_busy_kj),
            "machines_by_state": simulation.machines_by_state(),
            "window_parts_per_min": average.parts_per_min,
            "window_kw": average.mean_kw,
            "event": simulation.event,
        }
        return self._observation(simulation, scores), info, reward

    def render(self) -> Any:
        """Show the plant: an RGB array, a text, or None after drawing the window of mode `human`."""
        simulation = self._simulation
        if simulation is None:
            raise gymnasium.error.ResetNeeded("The environment has to be reset before it is rendered.")
        if self.render_mode is None:
            gymnasium.logger.warn("Nothing is rendered: the environment was made without a render mode.")
            return None
        view = PlantView(
            stations=tuple(StationView(s.parts, s.config.buffer, tuple(s.states)) for s in simulation.stations),
            time_s=simulation.clock.now,
            power_kw=simulation.power_kw(),
            full_kw=self.preference.reference_kw,
            parts_per_min=self._average.parts_per_min,
            full_parts_per_min=self.preference.reference_parts_per_min,
            mean_kw=self._average.mean_kw,
        )
        if self.render_mode == "ansi":
            return draw_text(view)
        image = draw_rgb(view)
        if self.render_mode == "rgb_array":
            return image
        if self._window is None:
            self._window = Window(self.metadata["render_fps"])
        self._window.show(image)
        return None

    def close(self) -> None:
        """Close the window of the render mode `human`, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None
