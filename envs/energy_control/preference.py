"""What the plant's owner prefers: scores of production and energy, and the rewards made of them.

Pure numbers: nothing here knows machines, so that every engine shares it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from envs.checks import choice, number
from envs.energy_control.config import Plant

REWARDS: tuple[str, ...] = ("score", "score-linear", "increment")
SCORES: tuple[str, ...] = ("sigmoid", "linear")
AVERAGES: tuple[str, ...] = ("window", "exponential")
SIGMOID_GAIN = 20.0


@dataclass(frozen=True)
class Preference:
    """Settings of scores and reward, and the formulas."""

    reference_parts_per_min: float
    """Throughput with the production score 1; the plant's nominal arrival rate."""
    reference_kw: float
    """Mean power with the energy score 0; every machine in its hungriest state."""
    reward: str = "score"
    """score (the composite), score-linear (the linear composite), increment (parts and energy of one decision)."""
    phi: float = 0.95
    """Weight of production in the linear composite, 0 to 1."""
    weight_kj_per_part: float = 8000.0
    """Increment reward: energy that one part made is worth."""
    reward_scale: float | None = None
    """Increment reward: factor per kJ; None: see `increment_scale`."""
    score: str = "sigmoid"
    """Composite in the observation: sigmoid or linear."""
    window_s: float = 28_800.0
    """Length of the sliding window, or time constant of the exponential average."""
    score_average: str = "window"
    """window or exponential."""

    def __post_init__(self) -> None:
        choice(self.reward, "The reward", REWARDS)
        choice(self.score, "The score", SCORES)
        choice(self.score_average, "The score average", AVERAGES)
        number(self.phi, "The weight of production phi", 0.0, 1.0)
        number(self.weight_kj_per_part, "The weight_kj_per_part", 0.0, 1e12)
        number(self.window_s, "The length window_s", 0.0, 1e9, above=True)
        if self.reward_scale is not None:
            number(self.reward_scale, "The reward_scale", 0.0, 1e12, above=True)

    @classmethod
    def for_plant(
        cls,
        plant: Plant,
        *,
        reward: str = "score",
        phi: float = 0.95,
        weight_kj_per_part: float = 8000.0,
        reward_scale: float | None = None,
        score: str = "sigmoid",
        window_s: float = 28_800.0,
        score_average: str = "window",
    ) -> Preference:
        """The preference with the plant's own references: 3 parts/min and 90 kW for the paper's."""
        return cls(
            reference_parts_per_min=plant.nominal_parts_per_min,
            reference_kw=plant.full_power_kw,
            reward=reward,
            phi=phi,
            weight_kj_per_part=weight_kj_per_part,
            reward_scale=reward_scale,
            score=score,
            window_s=window_s,
            score_average=score_average,
        )

    @property
    def increment_scale(self) -> float:
        """`reward_scale`, or 1 / (reference_kw · mean time between parts), the scale of energy per decision."""
        if self.reward_scale is not None:
            return self.reward_scale
        return self.reference_parts_per_min / (60.0 * self.reference_kw)

    def scores(self, parts_per_min: float, mean_kw: float) -> tuple[float, float, float]:
        """r_prod = min(throughput / reference, 1), r_energy = 1 - power / reference, and the composite; all in 0..1."""
        r_prod = parts_per_min / self.reference_parts_per_min
        r_energy = 1.0 - mean_kw / self.reference_kw
        if r_prod > 1.0:
            r_prod = 1.0
        if r_energy < 0.0:
            r_energy = 0.0
        if self.score == "sigmoid":
            return r_prod, r_energy, r_prod / (1.0 + math.exp(-SIGMOID_GAIN * r_energy))
        return r_prod, r_energy, self.linear(r_prod, r_energy)

    def linear(self, r_prod: float, r_energy: float) -> float:
        """φ · r_prod + (1 - φ) · r_energy."""
        return self.phi * r_prod + (1.0 - self.phi) * r_energy

    def increment(self, made: int, used_kj: float) -> float:
        """Scale · (weight · parts made - energy used since the last decision)."""
        return self.increment_scale * (self.weight_kj_per_part * made - used_kj)

    def average(self, time_s: float) -> SlidingWindow | ExponentialAverage:
        """A fresh average of throughput and power that begins at `time_s`."""
        kind = SlidingWindow if self.score_average == "window" else ExponentialAverage
        return kind(self.window_s, time_s)


class SlidingWindow:
    """Throughput and mean power over the recent past, from cumulative readings at the decisions.

    The window reaches from now back to the latest decision that is at least `window_s` old (or to the beginning,
    while there is none), so that both means are exact over it; it is longer than `window_s` by less than the time
    between two decisions.
    """

    __slots__ = ("_energy_kj", "_parts", "_readings", "_time_s", "_window_s", "mean_kw", "parts_per_min")

    def __init__(self, window_s: float, time_s: float) -> None:
        self._window_s = window_s
        self._time_s, self._energy_kj, self._parts = time_s, 0.0, 0
        self._readings: deque[tuple[float, float, int]] = deque()
        self.parts_per_min = 0.0
        self.mean_kw = 0.0

    def update(self, time_s: float, energy_kj: float, parts: int) -> None:
        """Take the cumulative readings at a decision; times never fall."""
        readings = self._readings
        readings.append((time_s, energy_kj, parts))
        limit_s = time_s - self._window_s
        while readings[0][0] <= limit_s:
            self._time_s, self._energy_kj, self._parts = readings.popleft()
        span_s = time_s - self._time_s
        if span_s > 0.0:
            self.parts_per_min = 60.0 * (parts - self._parts) / span_s
            self.mean_kw = (energy_kj - self._energy_kj) / span_s

    def rebase(self, energy_kj: float, parts: int) -> None:
        """The cumulative readings begin anew, these having been read so far."""
        self._energy_kj, self._parts = self._energy_kj - energy_kj, self._parts - parts
        self._readings = deque((t, e - energy_kj, n - parts) for t, e, n in self._readings)


class ExponentialAverage:
    """Throughput and power with exponentially fading memory of time constant `window_s`.

    At each decision, Δ seconds after the last: w ← w·d + (1 - d) with d = exp(-Δ / window_s); the power over Δ counts
    with weight 1 - d, each part with 1 / window_s; dividing by w removes the bias of the beginning.
    """

    __slots__ = ("_energy_kj", "_kw", "_parts", "_rate", "_time_s", "_weight", "_window_s", "mean_kw", "parts_per_min")

    def __init__(self, window_s: float, time_s: float) -> None:
        self._window_s = window_s
        self._time_s, self._energy_kj, self._parts = time_s, 0.0, 0
        self._rate = self._kw = self._weight = 0.0
        self.parts_per_min = 0.0
        self.mean_kw = 0.0

    def update(self, time_s: float, energy_kj: float, parts: int) -> None:
        """Take the cumulative readings at a decision; times never fall."""
        span_s = time_s - self._time_s
        if span_s > 0.0:
            fade = math.exp(-span_s / self._window_s)
            self._weight = self._weight * fade + 1.0 - fade
            self._kw = self._kw * fade + (1.0 - fade) * (energy_kj - self._energy_kj) / span_s
            self._rate *= fade
            self._time_s, self._energy_kj = time_s, energy_kj
        self._rate += (parts - self._parts) / self._window_s
        self._parts = parts
        if self._weight > 0.0:
            self.parts_per_min = 60.0 * self._rate / self._weight
            self.mean_kw = self._kw / self._weight

    def rebase(self, energy_kj: float, parts: int) -> None:
        """The cumulative readings begin anew, these having been read so far."""
        self._energy_kj, self._parts = self._energy_kj - energy_kj, self._parts - parts
