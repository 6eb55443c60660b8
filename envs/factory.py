"""Makes environments from the arguments of `gymnasium.make` and `gymnasium.make_vec`: chooses the engine."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import partial
from typing import Any

import gymnasium
from gymnasium.vector import SyncVectorEnv, VectorEnv

from envs.checks import SettingError, choice, closest
from envs.energy_control.env import EnergyControlEnv

ENGINES: tuple[str, ...] = ("simpy", "fast")
ARGUMENTS = tuple(inspect.signature(EnergyControlEnv.__init__).parameters)[1:]


def make_energy_control(*, engine: str = "simpy", **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """One environment: the readable SimPy model or the compiled one."""
    _check_arguments(kwargs)
    if choice(engine, "The engine", ENGINES) == "simpy":
        return EnergyControlEnv(**kwargs)
    from envs.energy_control.fast import FastEnergyControlEnv  # compiled on import

    return FastEnergyControlEnv(**kwargs)


# gymnasium.make looks here for render modes
make_energy_control.metadata = EnergyControlEnv.metadata  # type: ignore[attr-defined]


def make_energy_control_vector(*, num_envs: int, engine: str = "fast", **kwargs: Any) -> VectorEnv[Any, Any, Any]:
    """A vector environment: the compiled one, or SimPy models in turn."""
    _check_arguments(kwargs.keys() - {"autoreset_mode"})
    if choice(engine, "The engine", ENGINES) == "simpy":
        autoreset = {"autoreset_mode": kwargs.pop("autoreset_mode")} if "autoreset_mode" in kwargs else {}
        return SyncVectorEnv([partial(EnergyControlEnv, **kwargs)] * num_envs, **autoreset)
    from envs.energy_control.vector import EnergyControlVectorEnv  # compiled on import

    return EnergyControlVectorEnv(num_envs=num_envs, **kwargs)


def _check_arguments(names: Iterable[str]) -> None:
    for name in names:
        if name not in ARGUMENTS:
            allowed = ("engine", *ARGUMENTS)
            hint = closest(name, allowed)
            raise SettingError(f"daif/EnergyControl-v0 has no argument {name!r}{hint}; allowed: {', '.join(allowed)}.")
