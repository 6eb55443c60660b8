"""The loop of expectation maximisation, shared by every model with exact steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class EMConfig:
    """Settings of expectation maximisation."""

    max_rounds: int = 200
    """Largest number of E- and M-steps."""
    tolerance: float = 1e-6
    """Stop when the mean log-likelihood (or its bound) rises by less, in nats."""
    restarts: int = 1
    """Independent starts; the best one is kept."""
    seed: int = 0
    """Seed of the starting points."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot fit."""
        if self.max_rounds < 1 or self.restarts < 1:
            raise ValueError(f"max_rounds is {self.max_rounds}, restarts {self.restarts}; both must be at least 1")


def run_em(round_: Callable[[], Tensor], config: EMConfig) -> list[float]:
    """Repeat rounds until they stop helping; return each round's mean log-likelihood (of the model before its M-step).

    `round_` does an E-step, records the mean log-likelihood (or bound) at the current parameters, and does an M-step.
    """
    trace: list[float] = []
    for _ in range(config.max_rounds):
        trace.append(float(round_()))
        if len(trace) > 1 and trace[-1] - trace[-2] < config.tolerance:
            break
    return trace
