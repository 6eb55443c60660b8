"""Controllers of short sight: the best policies of costs that count for a while only, on the plant's exact chain.

Costs are energy of machines that do not work and lost parts, in kJ. Long-run cost is what matters in the end
(`optimal.py`), but a short sight is easier to learn; `benchmarks/foresight.py` compares them.
"""

from __future__ import annotations

import numpy as np

from envs.energy_control.config import BUSY
from envs.energy_control.optimal import Optimiser

IMPROVEMENTS = 20
"""Improvements of a policy at most; ties may make them circle."""
ACCURACY = 1e-7
"""Change of the costs, relative to the largest, at which an iteration ends."""


class ShortSight:
    """Costs to come and the policies that are best by them.

    Args:
        optimiser: of the plant.
        lost_kj: what a lost part costs: its worth less the energy that its job would have taken.
    """

    def __init__(self, optimiser: Optimiser, lost_kj: float) -> None:
        self._chain = chain = optimiser.chain
        rates = chain.rates
        parts, up, _, _, busy, failed = chain.running.T
        self._arrival, self._departure = rates.arrival, busy * rates.job
        self._started, self._repaired = up * rates.start_up, failed * rates.repair
        self._leaving = rates.arrival + self._departure + self._started + self._repaired
        self._cost = chain.power_kw - busy * rates.kw[BUSY] + rates.arrival * (parts == rates.buffer) * lost_kj
        self._on_departure = np.maximum(chain.on_departure, 0)  # of no account where no machine is busy

    def by_action(self, decided: np.ndarray) -> np.ndarray:
        """Cost of each action, (D, actions), up to the next decision, and behind it as `decided` (D,) says."""
        chain, fail = self._chain, self._chain.rates.fail
        onward = self._cost + self._arrival * decided[chain.on_arrival]
        onward += self._departure * decided[self._on_departure]
        value = onward / self._leaving
        while True:  # between decisions, machines start up and are repaired
            started = value[chain.started] + fail * (value[chain.started_failed] - value[chain.started])
            new = (onward + self._started * started + self._repaired * value[chain.repaired]) / self._leaving
            change, value = np.abs(new - value).max(), new
            if change <= ACCURACY * np.abs(value).max():
                return value[chain.taken] + fail * (value[chain.taken_failed] - value[chain.taken])

    def within(self, horizon: int) -> np.ndarray:
        """Return the actions (D,) of a policy that is best by what H decisions bring: any first one, then H − 1 of it.

        Policies are improved, from all machines on, until they stay or, where they circle, `IMPROVEMENTS` times.
        """
        decisions = np.arange(len(self._chain.decisions))
        actions = np.full(len(decisions), self._chain.rates.machines)
        for _ in range(IMPROVEMENTS):
            decided = np.zeros(len(decisions))
            for _ in range(horizon):
                by_action = self.by_action(decided)
                decided = by_action[decisions, actions]
            actions, before = by_action.argmin(1), actions
            if np.array_equal(actions, before):
                break
        return actions

    def discounted(self, discount: float) -> np.ndarray:
        """Return the best actions (D,) of cost that a factor γ < 1 per decision discounts, by value iteration."""
        decided = np.zeros(len(self._chain.decisions))
        while True:
            by_action = self.by_action(discount * decided)
            change, decided = np.abs(by_action.min(1) - decided).max(), by_action.min(1)
            if change <= ACCURACY * np.abs(decided).max():
                return by_action.argmin(1)
