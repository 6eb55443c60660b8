"""The plant many at once, compiled: `gymnasium.make_vec("daif/EnergyControl-v0", num_envs=N)`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.checks import choice, number, whole
from envs.energy_control import engine
from envs.energy_control.config import ASSIGNMENTS, DAY_S, Plant, load_plant
from envs.energy_control.env import STARTS, EnergyControlEnv, start_options
from envs.energy_control.preference import REWARDS, SCORES, Preference
from envs.energy_control.spaces import action_space, observation_space

INFO_KEYS: tuple[str, ...] = tuple((engine.SHOWN.names or ())[:-2])
SETTINGS: tuple[str, ...] = tuple(
    name for name in inspect.signature(EnergyControlEnv).parameters if name != "render_mode"
)
"""Keyword arguments that all engines share."""
_AUTORESET = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
_FOR_EVER = np.iinfo(np.int64).max

Observation = dict[str, np.ndarray]
Infos = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """What N plants show at their decisions."""

    buffers: np.ndarray
    """(N, stations) int64."""
    machines: np.ndarray
    """(N, machines) int64."""
    scores: np.ndarray
    """(N, 3) float32."""
    shown: np.ndarray
    """(N,) records `engine.SHOWN`."""

    @classmethod
    def empty(cls, plants: int, stations: int, machines: int) -> Batch:
        """Arrays to be filled by the engine."""
        return cls(
            np.empty((plants, stations), dtype=np.int64),
            np.empty((plants, machines), dtype=np.int64),
            np.empty((plants, 3), dtype=np.float32),
            np.empty(plants, dtype=engine.SHOWN),
        )

    def copy(self) -> Batch:
        """The same in arrays of its own."""
        return Batch(*(array.copy() for array in self.arrays))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The arrays in the order of the engine's arguments."""
        return self.buffers, self.machines, self.scores, self.shown


class CompiledPlants:
    """N plants of one kind in the compiled engine: seeded, started, stepped, saved and restored."""

    def __init__(
        self,
        plants: int,
        *,
        plant: str | Path | Plant | Mapping[str, Any] = "paper",
        assignment: str | None = None,
        observe_event: bool = False,
        episode_decisions: int | None = None,
        episode_s: float | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.DISABLED,
        **preference: Any,
    ) -> None:
        self.plants = whole(plants, "The number of environments", 1, 10_000_000)
        self.plant = load_plant(plant)
        assignment = choice(assignment or self.plant.assignment, "The assignment", ASSIGNMENTS)
        for key in preference:
            choice(key, "The argument", SETTINGS)
        self.preference = Preference.for_plant(self.plant, **preference)
        if episode_decisions is not None:
            whole(episode_decisions, "The length episode_decisions", 1, 10**12)
        if episode_s is not None:
            number(episode_s, "The length episode_s", 0.0, 1e12, above=True)
        self.observation_space = observation_space(self.plant, observe_event)
        self.action_space = action_space(self.plant)
        self.autoreset_mode = autoreset_mode
        self._observe_event = observe_event
        self._spec, self._data = engine.build_spec(self.plant, assignment)
        self._task = np.zeros(1, dtype=engine.TASK)
        task: Any = self._task[0]
        task["full_parts_per_min"] = self.preference.reference_parts_per_min
        task["full_kw"] = self.preference.reference_kw
        task["window_s"] = self.preference.window_s
        task["exponential"] = self.preference.score_average == "exponential"
        task["score"] = SCORES.index(self.preference.score)
        task["reward"] = REWARDS.index(self.preference.reward)
        task["phi"] = self.preference.phi
        task["weight_kj_per_part"] = self.preference.weight_kj_per_part
        task["increment_scale"] = self.preference.increment_scale
        task["episode_decisions"] = episode_decisions or _FOR_EVER
        task["episode_s"] = episode_s or math.inf
        task["autoreset"] = _AUTORESET.index(autoreset_mode)
        stations = len(self.plant.stations)
        self._last = [station.machines for station in self.plant.stations]
        self._state = {
            "core": np.zeros(plants, dtype=engine.CORE),
            "station": np.zeros((plants, stations), dtype=engine.STATION),
            "machine": np.zeros((plants, self.plant.machines), dtype=engine.MACHINE),
            "ring": np.zeros((plants, self._room(), 3)),
        }
        self._seeded = np.zeros(plants, dtype=np.bool_)
        self._batch: Batch | None = None
        self._ends = np.cumsum(self._last)[:-1]

    def _room(self) -> int:
        """Readings that a window mostly holds, as a power of two; the ring grows where that is too few."""
        if self._task[0]["exponential"]:
            return 2
        decisions_per_part = len(self.plant.stations) + 1
        parts = self.preference.window_s / self.plant.arrivals.interarrival.mean_s
        return 1 << math.ceil(math.log2(min(1.1 * decisions_per_part * parts + 64.0, 2.0**20)))

    @property
    def started(self) -> bool:
        """Whether the plants have been started."""
        return self._batch is not None

    @property
    def batch(self) -> Batch:
        """What the plants showed last."""
        if self._batch is None:
            raise gymnasium.error.ResetNeeded("The environment has to be reset before its first step.")
        return self._batch

    def seed(self, seeds: Sequence[int | None], mask: np.ndarray) -> None:
        """Seed the plants of `mask`; None keeps a plant's random numbers, or draws entropy the first time."""
        for i in map(int, np.flatnonzero(mask)):
            if seeds[i] is not None or not self._seeded[i]:
                self._state["core"][i]["rng"] = engine.streams(seeds[i])
                self._seeded[i] = True

    def start(self, mask: np.ndarray, start: str, start_s: float) -> Batch:
        """Start the plants of `mask` anew; the others show what they showed last."""
        if self._batch is None and not mask.all():
            raise gymnasium.error.ResetNeeded("The first reset has to reset every environment.")
        batch = self.empty_batch() if self._batch is None else self._batch.copy()
        batch.shown["reward"][mask] = 0.0
        batch.shown["truncated"][mask] = False
        return self._start(mask, start, start_s, batch)

    def _start(self, mask: np.ndarray, start: str, start_s: float, batch: Batch) -> Batch:
        engine.start_all(self._spec, self._data, *self._state.values(), mask, STARTS.index(start), start_s)
        self._finish_starts(batch)
        self._batch = batch
        return batch

    def step(self, actions: np.ndarray) -> tuple[Batch, Batch | None]:
        """Step every plant to its next decision.

        Returns what they show and, with `SAME_STEP` where an episode ended, what they showed before they were reset.
        """
        if self._batch is None:
            raise gymnasium.error.ResetNeeded("The environment has to be reset before its first step.")
        targets = self._targets(actions)
        batch = self.empty_batch()
        ended = self.step_into(batch, targets)
        self._batch = batch
        if not ended or self.autoreset_mode != AutoresetMode.SAME_STEP:
            return batch, None
        final = batch.copy()
        return self._start(batch.shown["truncated"].copy(), "all-on", DAY_S, batch), final

    def step_into(self, batch: Batch, targets: np.ndarray) -> bool:
        """Step every plant with `targets`, (N, stations) int64, and fill in `batch`; whether an episode ended."""
        state = self._state
        ended, call = engine.step_all(
            self._spec,
            self._data,
            self._task,
            state["core"],
            state["station"],
            state["machine"],
            state["ring"],
            targets,
            DAY_S,
            batch.buffers,
            batch.machines,
            batch.scores,
            batch.shown,
        )
        if call:
            self._finish_starts(batch)
        return ended

    def observation(self, batch: Batch) -> Observation:
        """The batched observation, with the keys in the order of the space."""
        seen: Observation = {}
        if len(self._last) == 1:
            seen["buffer"] = batch.buffers[:, 0]
        else:
            seen |= {f"buffer_{s}": column for s, column in enumerate(batch.buffers.T, 1)}
        if self._observe_event:
            seen["event"] = batch.shown["event"]
        if len(self._last) == 1:
            seen["machines"] = batch.machines
        else:
            parts = np.split(batch.machines, self._ends, axis=1)
            seen |= {f"machines_{s}": part for s, part in enumerate(parts, 1)}
        seen["scores"] = batch.scores
        return seen

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that decides the future, as copies."""
        arrays = {**self._state, "seeded": self._seeded, "truncated": self.batch.shown["truncated"]}
        return {name: array.copy() for name, array in arrays.items()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to what `get_state` returned."""
        for name, array in self._state.items():
            if name not in state:
                raise ValueError(f"The saved state lacks the array {name!r}.")
            if state[name].dtype != array.dtype or (name != "ring" and state[name].shape != array.shape):
                raise ValueError(
                    f"The saved array {name!r} is of another plant or number of environments: its shape is "
                    f"{state[name].shape} instead of {array.shape}."
                )
        self._state = {name: np.array(state[name]) for name in self._state}
        self._seeded = np.array(state["seeded"])
        self._batch = self.empty_batch()
        self._batch.shown["truncated"] = state["truncated"]

    def empty_batch(self) -> Batch:
        """Arrays to be filled by a step."""
        return Batch.empty(self.plants, len(self._last), self.plant.machines)

    def _targets(self, actions: np.ndarray) -> np.ndarray:
        """Machines to be on as (N, stations) int64; a ValueError for what is no action."""
        targets = np.asarray(actions)
        shape = (self.plants,) if len(self._last) == 1 else (self.plants, len(self._last))
        if targets.shape != shape or targets.dtype.kind not in "iu":
            raise ValueError(
                f"The actions must be whole numbers of shape {shape}, not {targets.dtype} of shape {targets.shape}."
            )
        targets = targets.astype(np.int64, copy=False).reshape(self.plants, -1)
        if targets.min() < 0 or any(targets[:, s].max() > last for s, last in enumerate(self._last)):
            raise ValueError(
                f"Some of the actions, {targets.min()} to {targets.max()}, are not in {self.action_space}."
            )
        return targets

    def _finish_starts(self, batch: Batch) -> None:
        targets = np.empty((self.plants, len(self._last)), dtype=np.int64)
        while engine.finish_starts(self._spec, self._data, self._task, *self._state.values(), targets, *batch.arrays):
            self._grow()

    def _grow(self) -> None:
        """Double the ring's room."""
        old, core = self._state["ring"], self._state["core"]  # type: np.ndarray, Any
        room = old.shape[1]
        ring = np.zeros((self.plants, 2 * room, 3))
        for i, (head, tail) in enumerate(zip(core["head"], core["tail"], strict=True)):
            readings = np.arange(tail, head)
            ring[i][readings % (2 * room)] = old[i][readings % room]
        self._state["ring"] = ring


class EnergyControlVectorEnv(VectorEnv[Observation, np.ndarray, np.ndarray]):
    """`EnergyControlEnv` for `num_envs` plants at once: event for event the same plant, compiled.

    Spaces, keyword arguments, rewards, `reset` options and info keys are those of `EnergyControlEnv`; observations and
    infos are batched as Gymnasium batches them. `autoreset_mode` is Gymnasium's: `NEXT_STEP` (default), `SAME_STEP`
    (with `final_obs` and `final_info`) or `DISABLED` (with the reset option `reset_mask`); an automatic reset takes the
    default options. Every plant has random numbers of its own; those of plant i follow from `seed + i`.

    Errors: bad arguments raise a `ValueError` of one sentence.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"The vector environment has no render modes, so not {render_mode!r}: use a single one.")
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.plants = CompiledPlants(num_envs, autoreset_mode=self.autoreset_mode, **settings)
        self.num_envs = num_envs
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self.plants.observation_space
        self.single_action_space = self.plants.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._everyone = np.ones(num_envs, dtype=np.bool_)
        self._everyone.flags.writeable = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, Infos]:
        """Start all plants anew, or those of the option `reset_mask`, and run their start phase."""
        options = dict(options or {})
        mask = options.pop("reset_mask", self._everyone)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"The option reset_mask must be a boolean array of {self.num_envs} values, not {mask!r}.")
        start, start_s = start_options(options)
        seeds = [None] * self.num_envs if seed is None else seed
        if isinstance(seeds, (int, np.integer)):
            seeds = [int(seeds) + i for i in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"There are {len(seeds)} seeds for {self.num_envs} environments.")
        self.plants.seed(seeds, mask)
        batch = self.plants.start(mask, start, start_s)
        return self.plants.observation(batch), self._infos(batch, mask)

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Take the decision that is due in every plant and run each to its next one."""
        if self.autoreset_mode == AutoresetMode.DISABLED and self.plants.batch.shown["truncated"].any():
            raise gymnasium.error.ResetNeeded("An episode has ended: reset it with the option reset_mask.")
        batch, final = self.plants.step(actions)
        infos = self._infos(batch, self._everyone)
        truncated = batch.shown["truncated"].copy()
        if final is not None:
            seen = self.plants.observation(final)
            final_obs = np.full(self.num_envs, None, dtype=object)
            for i in map(int, np.flatnonzero(truncated)):
                final_obs[i] = {key: value[i] for key, value in seen.items()}
            infos |= {"final_obs": final_obs, "final_info": self._infos(final, truncated)}
            infos |= {"_final_obs": truncated, "_final_info": truncated}
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        return self.plants.observation(batch), batch.shown["reward"].copy(), terminated, truncated, infos

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that decides the future, random numbers included, as a dict of arrays."""
        return self.plants.get_state()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go back to what `get_state` of an environment with the same arguments returned."""
        self.plants.set_state(state)

    @staticmethod
    def _infos(batch: Batch, mask: np.ndarray) -> Infos:
        infos: Infos = {}
        for key in INFO_KEYS:
            infos[key] = batch.shown[key]
            infos[f"_{key}"] = mask
        return infos
