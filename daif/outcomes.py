"""Outcomes: what decisions bring (rewards, lost parts, wasted energy), collected from the environment and predicted.

A preference over outcomes y is Ψ ∝ exp(−ω · y / scale). Its weights ω are no part of what is learned: the model
predicts y, and the weights are applied afterwards, so they can be changed at run time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from generative.names import unknown
from world_models.overshooting_vae import Prediction

EXTRAPOLATION = 10.0
"""How many times beyond the trained range a weight may be asked for; the actor extrapolates there."""


@dataclass(frozen=True)
class Outcome:
    """One outcome and the weight it may have.

    Attributes:
        name: an entry of the environment's `info`, or "reward", which is collected as the cost −reward.
        low: smallest weight.
        high: largest weight; above `low`, the policy is conditioned on the weight.
    """

    name: str
    low: float
    high: float

    @property
    def reference(self) -> float:
        """The weight at which one unit of cost is measured: the geometric middle of the range."""
        return math.sqrt(self.low * self.high)

    def trained_for(self, weight: float) -> bool:
        """Whether a weight is in the range."""
        return self._within(weight, 1.0)

    def reaches(self, weight: float) -> bool:
        """Whether a weight is in the range or, where there is more than one weight, not too far outside."""
        return self._within(weight, EXTRAPOLATION if self.high > self.low else 1.0)

    def _within(self, weight: float, beyond: float) -> bool:
        tolerance = 1e-6  # of single precision
        return self.low / beyond * (1.0 - tolerance) <= weight <= self.high * beyond * (1.0 + tolerance)


@dataclass(frozen=True)
class OutcomePreference:
    """Weighted outcomes, written `outcomes:NAME=WEIGHT,NAME=LOW..HIGH,...`."""

    outcomes: tuple[Outcome, ...]

    @classmethod
    def parse(cls, spec: str) -> OutcomePreference:
        """Read a specification; "reward" stands for `outcomes:reward=1`. ValueError for one that can't be read."""
        if spec == "reward":
            return cls((Outcome("reward", 1.0, 1.0),))
        outcomes = []
        for item in spec.removeprefix("outcomes:").split(","):
            match = re.fullmatch(r"\s*(\w+)=([-+.\deE]+?)(?:\.\.([-+.\deE]+))?\s*", item)
            try:
                name, low = match[1], float(match[2])  # type: ignore[index]
                high = float(match[3]) if match[3] else low  # type: ignore[index]
            except (TypeError, ValueError):
                raise ValueError(
                    f"preference {spec!r}: {item!r} is not of the form NAME=WEIGHT or NAME=LOW..HIGH"
                ) from None
            if not 0.0 < low <= high < math.inf:
                raise ValueError(f"preference {spec!r}: the weights of {name!r} must be positive and in rising order")
            outcomes.append(Outcome(name, low, high))
        return cls(tuple(outcomes))

    @property
    def names(self) -> tuple[str, ...]:
        """What is collected."""
        return tuple(outcome.name for outcome in self.outcomes)

    @property
    def free(self) -> tuple[int, ...]:
        """Indices of the outcomes whose weight can be changed at run time."""
        return tuple(i for i, outcome in enumerate(self.outcomes) if outcome.high > outcome.low)

    def indices(self, names: Iterable[str]) -> list[int]:
        """Where outcomes stand; ValueError for one that is not weighed."""
        for name in names:
            if name not in self.names:
                raise ValueError(unknown("outcome of the preference", name, self.names or ("none",)))
        return [self.names.index(name) for name in names]

    def reference(self) -> Tensor:
        """Reference weights (C,)."""
        return torch.tensor([outcome.reference for outcome in self.outcomes])

    def sample(self, batch: int) -> Tensor:
        """Draw weights (batch, C), log-uniformly over their ranges, relative to the reference weights."""
        spread = torch.tensor([math.log(outcome.high / outcome.low) for outcome in self.outcomes])
        return torch.exp((torch.rand(batch, len(self.outcomes)) - 0.5) * spread)

    def relative(self, weights: Mapping[str, float | np.ndarray]) -> Tensor:
        """Turn weights by name into relative ones, (C,), or (n, C) where some are arrays (n,).

        Others keep their reference. ValueError for an unknown outcome, or a weight too far outside of its range.
        """
        unknown = set(weights) - set(self.names)
        if unknown:
            raise ValueError(f"no outcome {sorted(unknown)[0]!r} to weigh; outcomes: {', '.join(self.names)}")
        for outcome in self.outcomes:
            for value in np.atleast_1d(weights.get(outcome.name, outcome.reference)):
                if not outcome.reaches(value):
                    far = f", by more than {EXTRAPOLATION:g} times" if outcome.high > outcome.low else ""
                    raise ValueError(
                        f"the weight {value:g} of {outcome.name!r} is outside {outcome.low:g}..{outcome.high:g}, "
                        f"for which the agent was trained{far}"
                    )
        if not self.outcomes:
            return torch.zeros(0)
        columns = [np.asarray(weights.get(o.name, o.reference)) / o.reference for o in self.outcomes]
        return torch.from_numpy(np.stack(np.broadcast_arrays(*columns), -1).astype(np.float32))

    def features(self, relative: Tensor) -> Tensor:
        """Relative weights (..., C) -> what the actor and critic see of them, (..., free outcomes) in [-1, 1]."""
        pieces = [
            2.0 * relative[..., i].log() / math.log(self.outcomes[i].high / self.outcomes[i].low) for i in self.free
        ]
        return torch.stack(pieces, -1) if pieces else relative[..., :0]


class OutcomeScale(nn.Module):
    """Running mean and standard deviation of summed outcomes for each horizon; standardised values are clipped at ±20.

    Args:
        horizon: the largest h.
        size: number of outcomes C.
        rare: indices of the outcomes that are counted instead: mean 0, deviation 1.
    """

    count: Tensor
    mean: Tensor
    second_moment: Tensor
    varies: Tensor

    def __init__(self, horizon: int, size: int, rare: Sequence[int] = ()) -> None:
        super().__init__()
        varies = torch.ones(size)
        varies[list(rare)] = 0.0
        self.register_buffer("varies", varies, persistent=False)
        self.register_buffer("count", torch.zeros(horizon + 1, 1))
        self.register_buffer("mean", torch.zeros(horizon + 1, size))
        self.register_buffer("second_moment", torch.ones(horizon + 1, size))

    @torch.no_grad()
    def update(self, outcomes: Tensor, horizon: Tensor) -> None:
        """Take in sums (B, C) over horizons (B,)."""
        ones = outcomes.new_ones(len(outcomes), 1)
        seen = torch.zeros_like(self.count).index_add_(0, horizon, ones)
        self.count += seen
        rate = 1.0 / self.count.clamp_min(1.0)
        for moment, values in ((self.mean, outcomes), (self.second_moment, outcomes.square())):
            total = torch.zeros_like(moment).index_add_(0, horizon, values)
            moment += rate * (total - seen * moment) * self.varies

    def standardise(self, outcomes: Tensor, horizon: Tensor) -> Tensor:
        """Return (y − mean_h) / std_h, clipped at ±20; what is counted stays as it is."""
        standardised = ((outcomes - self.mean[horizon]) / self.std[horizon]).clamp(-20.0, 20.0)
        return torch.where(self.varies > 0.0, standardised, outcomes)

    @property
    def std(self) -> Tensor:
        """Standard deviations (horizon + 1, C)."""
        return (self.second_moment - self.mean.square()).clamp_min(1e-12).sqrt().clamp_min(1e-6)

    def surprise(self, weights: Tensor, horizon: int) -> Callable[[Prediction], Tensor]:
        """Return −log Ψ = ω · y up to a constant, of predicted outcomes of h decisions, for weights ω (..., C)."""
        mean, std = self.mean[horizon], self.std[horizon]

        def surprise(prediction: Prediction) -> Tensor:
            assert prediction.outcomes is not None
            return (weights * (prediction.outcomes.mean * std + mean)).sum(-1)

        return surprise
