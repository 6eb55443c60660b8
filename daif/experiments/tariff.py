"""The price of energy by the hour of the day, and an agent whose preference follows it."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daif.experiments.settings import SettingsError

HOUR_S = 3600.0
DAY_H = 24.0


@dataclass(frozen=True)
class Tariff:
    """Prices that repeat every day; each holds from its hour on."""

    hours: tuple[float, ...]
    """From 0 on, rising, below 24."""
    prices: tuple[float, ...]
    """Relative to the price at which the worth of a part was given."""

    def __post_init__(self) -> None:
        if not self.hours or self.hours[0] != 0.0:
            raise SettingsError("A tariff begins with the hour 0.")
        if any(b <= a for a, b in zip(self.hours, (*self.hours[1:], DAY_H), strict=True)):
            raise SettingsError(f"The hours of a tariff must rise and stay below 24; they are {list(self.hours)}.")
        if not all(np.isfinite(price) and price > 0.0 for price in self.prices):
            raise SettingsError(f"The prices of a tariff must be above 0; they are {list(self.prices)}.")

    @classmethod
    def read(cls, path: Path) -> "Tariff":
        """Read a CSV file with the columns `hour` and `price`; `SettingsError` for one that can't be read."""
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [(float(row["hour"]), float(row["price"])) for row in csv.DictReader(file)]
        except OSError as error:
            raise SettingsError(f"The tariff {path} cannot be read: {error.strerror}.") from None
        except (KeyError, TypeError, ValueError):
            raise SettingsError(
                f"The tariff {path} must be a CSV file of numbers with the columns hour and price."
            ) from None
        return cls(tuple(hour for hour, _ in rows), tuple(price for _, price in rows))

    def at(self, time_s: np.ndarray) -> np.ndarray:
        """Prices at times in seconds since midnight of the first day, of the same shape."""
        hour = np.asarray(time_s) / HOUR_S % DAY_H
        return np.asarray(self.prices)[np.searchsorted(self.hours, hour, side="right") - 1]


class FollowsTariff:
    """An agent whose energy weighs by its present price: the weight of everything else is divided by the price.

    Args:
        agent: whose preference takes an array of weights, one of each environment.
        tariff: of the energy.
        weights: of its outcomes but the energy, at the price 1.

    Raises:
        SettingsError: where a price leads to a weight that the agent was not trained for.
    """

    def __init__(self, agent: Any, tariff: Tariff, weights: Mapping[str, float]) -> None:
        self.agent = agent
        self.tariff = tariff
        self.weights = dict(weights)
        self.observation_space, self.action_space = agent.observation_space, agent.action_space
        self.decisions = agent.decisions
        try:
            self.now(HOUR_S * np.asarray(tariff.hours))
        except ValueError as error:
            raise SettingsError(f"{error}, at a price of the tariff.") from None

    def now(self, time_s: np.ndarray) -> None:
        """Take in the time of each environment, (N,), in seconds."""
        price = self.tariff.at(time_s)
        self.agent.prefer({name: weight / price for name, weight in self.weights.items()})

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Act as the agent does at the present prices."""
        return self.agent.act(observations, deterministic=deterministic)
