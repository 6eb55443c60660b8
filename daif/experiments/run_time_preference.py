"""Changes what a trained agent prefers: the worth of a part, or the weights of its outcomes."""

from collections.abc import Mapping
from typing import Any

from daif.experiments.protocol import Agent
from daif.experiments.settings import SettingsError
from envs.energy_control.config import load_plant

WEIGHT = "weight"
"""Stands for the worth of a part in kJ, from which the busy energy of a part is taken off to weigh a lost one."""


def prefer(agent: Agent, weights: Mapping[str, float], env_kwargs: Mapping[str, Any]) -> None:
    """Give a trained agent new weights by name; `weight` is the worth of a part in kJ.

    Raises:
        SettingsError: for an agent without such weights, or a weight that it was not trained for.
    """
    if not weights:
        return
    change = getattr(agent, "prefer", None)
    if change is None:
        raise SettingsError("Only an agent that predicts outcomes takes another preference; this one does not.")
    named = dict(weights)
    if WEIGHT in named:
        named["lost"] = named.pop(WEIGHT) - busy_kj_per_part(env_kwargs)
    for name, value in named.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise SettingsError(f"The weight {name} is {value!r}; it must be a number.")
    try:
        change({name: float(value) for name, value in named.items()})
    except ValueError as error:
        raise SettingsError(f"{error}.") from None


def busy_kj_per_part(env_kwargs: Mapping[str, Any]) -> float:
    """Return the energy of the busy machines for one part, in kJ: what a lost part saves."""
    plant = load_plant(env_kwargs.get("plant", "paper"))
    return sum(station.powers.busy_kw * station.processing.mean_s for station in plant.stations)
