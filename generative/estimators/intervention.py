"""Interventions: p(y given do(x)) in a structural model, and by adjustment from observations alone.

Pearl's do() replaces the mechanism of a variable by a constant and leaves the others (deck A, "Causality").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from generative.names import unknown

Mechanism = Callable[..., Tensor]
"""f(*parents, noise) -> values (n,), with noise standard normal (n,)."""


@dataclass(frozen=True)
class StructuralModel:
    """Variables in causal order, each a function of its parents and its own noise.

    `mechanisms[name] = (parents, f)`; every parent must come before its child.
    """

    mechanisms: Mapping[str, tuple[tuple[str, ...], Mechanism]]
    """Parents and mechanism of each variable, in causal order."""

    def __post_init__(self) -> None:
        """Refuse a parent that does not come before its child."""
        known: set[str] = set()
        for name, (parents, _) in self.mechanisms.items():
            for parent in parents:
                if parent not in known:
                    raise ValueError(f"{name!r} has the parent {parent!r}, which does not come before it")
            known.add(name)

    def sample(
        self, count: int, generator: torch.Generator, do: Mapping[str, float | Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return samples (count,) of every variable, those in `do` held at their value whatever their parents are.

        The same generator state gives the same noise under every intervention, so that differences are paired.
        """
        do = do or {}
        for name in do:
            if name not in self.mechanisms:
                raise ValueError(unknown("variable", name, self.mechanisms))
        values: dict[str, Tensor] = {}
        for name, (parents, mechanism) in self.mechanisms.items():
            noise = torch.randn(count, generator=generator)
            if name in do:
                values[name] = torch.as_tensor(do[name], dtype=noise.dtype).expand(count)
            else:
                values[name] = mechanism(*(values[parent] for parent in parents), noise)
        return values


def backdoor_mean(outcome: Callable[[Tensor, Tensor], Tensor], x: float, confounders: Tensor) -> Tensor:
    """Return E[y given do(x)] = E_z E[y given x, z]: the outcome model averaged over the *marginal* confounders.

    Args:
        outcome: a model of E[y given x, z]: (n,), (n, K) -> (n,), fitted on observations.
        x: the value that is set.
        confounders: observed z (n, K) that block every back-door path.
    """
    return outcome(torch.full_like(confounders[:, 0], x), confounders).mean()


def backdoor_stratified(x: Tensor, y: Tensor, strata: Tensor, value: float) -> Tensor:
    """Return Σ_z p(z) E[y given x = value, z] from counts, for discrete x and z, each (n,).

    Raises:
        ValueError: a stratum in which x never took the value (no overlap: the effect is not identified there).
    """
    total = torch.zeros((), dtype=y.dtype)
    for z in strata.unique():
        inside = strata == z
        treated = inside & (x == value)
        if not bool(treated.any()):
            raise ValueError(f"x never is {value} where z is {float(z)}; the effect is not identified there")
        total = total + inside.to(y.dtype).mean() * y[treated].mean()
    return total
