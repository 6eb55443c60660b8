"""Rules for the workstation: no learning, no planning, and hard to beat.

A rule reads the batched dict observation (`buffer`, `machines`) of any plant of one station and returns how many
machines to keep on. Machine states are counted by their codes: standby 0, start-up 1, idle 2, busy 3, failed 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

_BUSY, _FAILED = 3, 4


@dataclass(frozen=True)
class NoSettings:
    """A rule without settings."""


@dataclass(frozen=True)
class ConstantSettings:
    """Settings of the rule `constant`."""

    n: int = 5
    """Machines that are kept on."""


@dataclass(frozen=True)
class HysteresisSettings:
    """Settings of the rule `hysteresis`; the defaults are the best with three and six machines on the plant `paper`."""

    low: int = 0
    """Buffer at or below which the rule switches to `n_low`."""
    high: int = 4
    """Buffer at or above which the rule switches to `n_high`."""
    n_low: int = 3
    """Machines that are kept on in the low mode."""
    n_high: int = 6
    """Machines that are kept on in the high mode."""

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}; 0 <= low < high is needed.")
        if not 0 <= self.n_low <= self.n_high:
            raise ValueError(f"n_low is {self.n_low} and n_high {self.n_high}; 0 <= n_low <= n_high is needed.")


@dataclass(frozen=True)
class ThresholdLinearSettings:
    """Settings of the rule `threshold-linear`: n = clip(floor(slope · w + offset), n_min, n_max)."""

    slope: float = 0.4
    """Machines per part in the workstation, w = buffer + busy + failed."""
    offset: float = 1.0
    """Machines beside that."""
    n_min: int = 2
    """The fewest machines kept on."""
    n_max: int | None = None
    """The most machines kept on; by default all."""


class Rule:
    """A rule for a plant.

    Args:
        observation_space: of a single plant.
        action_space: of a single plant.
        settings: of the kind `settings`.
        seed: of what the rule draws, if it draws anything.
    """

    settings: ClassVar[type] = NoSettings

    def __init__(
        self, observation_space: spaces.Space, action_space: spaces.Space, settings: Any = None, *, seed: int = 0
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.config = settings if settings is not None else self.settings()
        self.rng = np.random.default_rng(seed)
        self._check()

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return how many machines to keep on, one number per plant."""
        raise NotImplementedError

    def _check(self) -> None:
        """Refuse spaces and settings that the rule is not for."""
        space = self.observation_space
        if not isinstance(space, spaces.Dict) or not {"buffer", "machines"} <= set(space.spaces):
            raise ValueError(f"The rule reads the parts 'buffer' and 'machines' of a Dict observation, not {space}.")
        if not isinstance(self.action_space, spaces.Discrete) or not isinstance(
            space["machines"], spaces.MultiDiscrete
        ):
            raise ValueError(f"The rule is for one station with a Discrete action, not for {self.action_space}.")
        for name in ("n", "n_low", "n_high", "n_min", "n_max"):
            value = getattr(self.config, name, None)
            if value is not None and not 0 <= value <= self.machines:
                raise ValueError(f"{name} is {value}; 0 to {self.machines} machines can be kept on.")

    @property
    def machines(self) -> int:
        """Number of machines, from the action space."""
        assert isinstance(self.action_space, spaces.Discrete)
        return int(self.action_space.n) - 1


class AllOn(Rule):
    """Keep all machines on; also for several stations (MultiDiscrete actions)."""

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return the largest action for every plant."""
        top = _largest(self.action_space)
        return np.broadcast_to(top, (_batch(observations), *top.shape)).copy()

    def _check(self) -> None:
        _largest(self.action_space)


class Random(Rule):
    """Draw actions uniformly; in any environment with finite action bounds."""

    def __init__(
        self, observation_space: spaces.Space, action_space: spaces.Space, settings: Any = None, *, seed: int = 0
    ) -> None:
        super().__init__(observation_space, action_space, settings, seed=seed)
        self._batched: dict[int, spaces.Space] = {}

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return one draw per environment."""
        space, size = self.action_space, _batch(observations)
        if isinstance(space, spaces.Discrete):
            return self.rng.integers(space.start, space.start + space.n, size=size)
        if isinstance(space, spaces.MultiDiscrete):
            return self.rng.integers(space.start, space.start + space.nvec, size=(size, *space.shape))
        if isinstance(space, spaces.Box) and space.is_bounded():
            return self.rng.uniform(space.low, space.high, size=(size, *space.shape)).astype(space.dtype)
        if size not in self._batched:
            self._batched[size] = batch_space(space, size)
            self._batched[size].seed(int(self.rng.integers(2**31)))
        return self._batched[size].sample()

    def _check(self) -> None:
        """Any space will do."""


class Constant(Rule):
    """Keep n machines on."""

    settings = ConstantSettings

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return n for every plant."""
        return np.full(_batch(observations), self.config.n, dtype=np.int64)


class BusyPlusWaiting(Rule):
    """Keep as many machines on as are busy or failed, plus the parts that wait."""

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return n = min(buffer + busy + failed, all)."""
        return np.minimum(parts_inside(observations), self.machines)


class Hysteresis(Rule):
    """Switch between two numbers of machines when the buffer crosses two thresholds; starts in the high mode."""

    settings = HysteresisSettings

    def begin(self, num_envs: int) -> None:
        """Forget the modes; the next observations are those of `num_envs` other plants."""
        self._is_high = np.ones(num_envs, dtype=bool)

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return n of each plant's mode."""
        buffer = np.asarray(observations["buffer"])
        if getattr(self, "_is_high", np.zeros(0)).shape != buffer.shape:
            self.begin(len(buffer))
        self._is_high |= buffer >= self.config.high
        self._is_high &= buffer > self.config.low
        return np.where(self._is_high, self.config.n_high, self.config.n_low)


class ThresholdLinear(Rule):
    """Keep a clipped linear function of the parts in the workstation on."""

    settings = ThresholdLinearSettings

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return n = clip(floor(slope · w + offset), n_min, n_max)."""
        c = self.config
        n = np.floor(c.slope * parts_inside(observations) + c.offset).astype(np.int64)
        return np.clip(n, c.n_min, self.machines if c.n_max is None else c.n_max)


RULES: dict[str, type[Rule]] = {
    "random": Random,
    "all-on": AllOn,
    "constant": Constant,
    "busy-plus-waiting": BusyPlusWaiting,
    "hysteresis": Hysteresis,
    "threshold-linear": ThresholdLinear,
}


def parts_inside(observations: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return w = buffer + busy + failed: all parts in the workstation, shape (batch,)."""
    machines = np.asarray(observations["machines"])
    working = (machines == _BUSY) | (machines == _FAILED)
    return np.asarray(observations["buffer"]) + working.sum(axis=1)


def rule_candidates(machines: int, buffer: int) -> list[tuple[str, Any]]:
    """Return a grid of rules of every kind for a plant: (name, settings), the all-on rule first."""
    candidates: list[tuple[str, Any]] = [("all-on", NoSettings()), ("busy-plus-waiting", NoSettings())]
    candidates += [("constant", ConstantSettings(n)) for n in range(1, machines)]
    step = max(1, buffer // 10)
    for n_low in range(max(0, machines // 2 - 1), machines):
        for n_high in range(n_low + 1, machines + 1):
            if n_high >= machines - 1:
                candidates += [
                    ("hysteresis", HysteresisSettings(low, high, n_low, n_high))
                    for low in range(0, 3 * step, step)
                    for high in range(low + step, buffer + 1, step)
                ]
    candidates += [
        ("threshold-linear", ThresholdLinearSettings(slope, offset, n_min))
        for slope in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
        for offset in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
        for n_min in range(0, machines, max(1, machines // 6))
    ]
    return candidates


def _largest(space: spaces.Space) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        return np.asarray(int(space.start + space.n - 1), dtype=np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        return np.asarray(space.start + space.nvec - 1, dtype=np.int64)
    raise ValueError(f"All machines on is an action of Discrete and MultiDiscrete spaces, not of {space}.")


def _batch(observations: Any) -> int:
    """Return the number of environments in a batch of any nesting."""
    while isinstance(observations, Mapping | tuple):
        observations = next(iter(observations.values())) if isinstance(observations, Mapping) else observations[0]
    return len(observations)
