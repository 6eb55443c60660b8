"""Changes what a trained agent prefers: the worth of a part, the weights of its outcomes, or a production target."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from daif.experiments.exact import chain_actions
from daif.experiments.protocol import Agent
from daif.experiments.settings import SettingsError
from daif.experiments.tariff import FollowsTariff, Tariff
from daif.outcomes import EXTRAPOLATION
from envs.energy_control.config import load_plant
from envs.energy_control.optimal import Optimiser

WEIGHT = "weight"
"""Stands for the worth of a part in kJ, from which the busy energy of a part is taken off to weigh a lost one."""


TARGET = "max_loss_pct"
"""Stands for the least worth of a part at which the agent loses at most this share of the production, in per cent."""
CANDIDATES = 48
"""Weights, spread evenly on a logarithmic scale over the trained range, among which a production target chooses; where
none of them meets it, half as many beyond the range are tried."""


def prefer(
    agent: Agent, weights: Mapping[str, float], env_kwargs: Mapping[str, Any], tariff: Tariff | None = None
) -> Agent:
    """Give a trained agent new weights by name; `weight` is the worth of a part in kJ, `max_loss_pct` a target.

    With a tariff, the agent that is returned follows its prices.

    Raises:
        SettingsError: for an agent without such weights, a weight too far from those that it was trained for, or a
            target that it cannot meet.
    """
    if not weights and tariff is None:
        return agent
    change = getattr(agent, "prefer", None)
    if change is None:
        raise SettingsError("Only an agent that predicts outcomes takes another preference; this one does not.")
    named = dict(weights)
    for name, value in named.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise SettingsError(f"The weight {name} is {value!r}; it must be a number.")
    if WEIGHT in named:
        named["lost"] = named.pop(WEIGHT) - busy_kj_per_part(env_kwargs)
    if TARGET in named:
        named["lost"] = _weight_for(named.pop(TARGET), agent, env_kwargs)
    try:
        change({name: float(value) for name, value in named.items()})
    except ValueError as error:
        raise SettingsError(f"{error}.") from None
    if tariff is None:
        return agent
    if "lost" not in named:
        raise SettingsError("A tariff needs the worth of a part at the price 1: --preference weight=W.")
    return FollowsTariff(agent, tariff, {"lost": float(named["lost"])})


def extrapolations(agent: Any) -> list[str]:
    """Return a sentence for each present weight of an agent that is outside of the range it was trained for."""
    if not hasattr(agent, "run_time_weights"):
        return []
    present = (agent.run_time_weights * agent.weights.reference()).reshape(-1, len(agent.weights.outcomes))[0].tolist()
    return [
        f"The weight {weight:.4g} of {outcome.name!r} is outside {outcome.low:g}..{outcome.high:g}, for which the "
        "agent was trained; its actor extrapolates."
        for outcome, weight in zip(agent.weights.outcomes, present, strict=True)
        if not outcome.trained_for(weight)
    ]


def _weight_for(max_loss_pct: float, agent: Any, env_kwargs: Mapping[str, Any]) -> float:
    """Return the least weight of a lost part at which the exact loss of the greedy policy meets a target."""
    lost = next((outcome for outcome in agent.weights.outcomes if outcome.name == "lost"), None)
    if lost is None or not lost.low < lost.high:
        raise SettingsError(f"The agent was not trained for several weights of a lost part; {TARGET} needs that.")
    optimiser = Optimiser(env_kwargs.get("plant", "paper"))
    least_pct = math.inf
    trained = np.geomspace(lost.low, lost.high, CANDIDATES)
    beyond = np.geomspace(lost.high, EXTRAPOLATION * lost.high, 1 + CANDIDATES // 2)[1:]
    for weight in (*trained, *beyond):
        agent.prefer({"lost": float(weight)})
        loss_pct, _ = optimiser.loss_and_saving_pct(chain_actions(agent, optimiser.chain))
        if loss_pct <= max_loss_pct:
            return float(weight)
        least_pct = min(least_pct, loss_pct)
    raise SettingsError(f"{TARGET} is {max_loss_pct:g}; the least loss that this agent reaches is {least_pct:.2f} %.")


def busy_kj_per_part(env_kwargs: Mapping[str, Any]) -> float:
    """Return the energy of the busy machines for one part, in kJ: what a lost part saves."""
    plant = load_plant(env_kwargs.get("plant", "paper"))
    return sum(station.powers.busy_kw * station.processing.mean_s for station in plant.stations)
