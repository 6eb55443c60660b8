"""The exact optimum of a Markovian plant: how much energy can be saved at which loss of production.

The machines are exchangeable, so a state counts them: (parts waiting; starting up, of these to be switched off, idle,
busy, failed). Between two decisions the plant is a continuous-time Markov chain; the action, how many machines to keep
on, is taken at arrivals and departures as in `workstation.py`. Minimised is

    mean power − weight · throughput     [kW = kJ/s; weight in kJ per part]

by relative value iteration on the uniformised chain with modified policy iteration between the improvements (Puterman,
1994, sections 8.5 and 8.7); the gain of the best policy lies between the smallest and largest change of a value in an
improvement (Odoni's bounds). Loss and saving of the policy found come from its stationary distribution.

Exact but for two points, which the plant's long-run figures hardly feel: a repair is taken as exponential with its
mean, and whether a machine fails at the start of a job is a coin with the stationary probability p0 / (1 + p0),
p0 = job / (life + job), where p0 is the chance that a job uses up the life that is left.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numba import njit
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.sparse.linalg import spsolve

from envs.energy_control.config import ARRIVAL, BUSY, DEPARTURE, FAILED, IDLE, STANDBY, START_UP, Plant, load_plant

MAX_STATES = 3_000_000
DIRECT_STATES = 30_000
"""Up to so many states the stationary distribution comes from a sparse factorisation, beyond from iteration."""
GAP_KW = 1e-6
"""How far apart the bounds on the gain may be at the end."""
TOLERANCE_PCT = 0.01
"""How much saving a line between two corners of the front may miss."""
ROUNDING = 1e-11
"""The least gap that is asked for, relative to the largest cost."""
EVALUATIONS = 12
"""Sweeps with the policy fixed between two improvements."""


class NotMarkovianError(ValueError):
    """The plant has no exact optimum by this method; the message says why in one sentence."""


@dataclass(frozen=True)
class Rates:
    """A Markovian plant of one station as numbers; rates are per second."""

    machines: int
    buffer: int
    arrival: float
    job: float
    start_up: float
    repair: float
    fail: float
    """Probability that a machine fails at the start of a job."""
    kw: tuple[float, ...]
    """Power by state."""

    @classmethod
    def of(cls, plant: Plant) -> Rates:
        """Read a plant; `NotMarkovianError` for one that isn't."""
        if len(plant.stations) > 1:
            raise NotMarkovianError(
                f"The exact optimum is for plants of one station; {plant.name!r} has {len(plant.stations)}."
            )
        station = plant.stations[0]
        times = {"interarrival": plant.arrivals.interarrival}
        times |= {"processing": station.processing, "start_up": station.start_up}
        if station.failure is not None:
            times["failure"] = station.failure
        for name, time in times.items():
            if not time.is_exponential:
                raise NotMarkovianError(
                    f"The exact optimum is for exponential times; in {plant.name!r} {name} is {time.kind}."
                )
        if plant.arrivals.profile is not None:
            raise NotMarkovianError(
                f"The exact optimum is for constant demand; that of {plant.name!r} changes over time."
            )
        if plant.assignment != "pooled":
            raise NotMarkovianError(
                f"The exact optimum is for the pooled assignment; {plant.name!r} has the {plant.assignment} one."
            )
        fail = 0.0
        if station.failure is not None and station.repair.mean_s > 0.0:
            used_up = station.processing.mean_s / (station.processing.mean_s + station.failure.mean_s)
            fail = used_up / (1.0 + used_up)
        return cls(
            machines=station.machines,
            buffer=station.buffer,
            arrival=1.0 / plant.arrivals.interarrival.mean_s,
            job=1.0 / station.processing.mean_s,
            start_up=1.0 / station.start_up.mean_s,
            repair=1.0 / station.repair.mean_s if fail else 0.0,
            fail=fail,
            kw=station.powers.by_state_kw,
        )


# States ---------------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _running_states(machines: int, buffer: int, failures: bool, rows: np.ndarray) -> None:
    """Write the states between decisions to `rows`: b, u, z, i, j, f.

    An idle machine has nothing to take, so i > 0 needs b = 0; surplus is idle first, so z > 0 needs i = 0.
    """
    number = 0
    for f in range(machines + 1 if failures else 1):
        for j in range(machines - f + 1):
            for i in range(machines - f - j + 1):
                for u in range(machines - f - j - i + 1):
                    for z in range(u + 1 if i == 0 else 1):
                        for b in range(buffer + 1 if i == 0 else 1):
                            rows[number] = (b, u, z, i, j, f)
                            number += 1


class Chain:
    """The states of a plant and where events and actions lead, as arrays of indices."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        machines, buffer = rates.machines, rates.buffer
        spread = 4 if rates.fail else 3
        number = math.comb(machines + spread, spread) * (buffer + 1) + math.comb(machines - 1 + spread, spread)
        if number > MAX_STATES:
            raise ValueError(
                f"{machines} machines and {buffer} places make {number} states; the exact optimum takes up to "
                f"{MAX_STATES}."
            )
        rows = np.empty((number, 6), dtype=np.int64)
        _running_states(machines, buffer, rates.fail > 0.0, rows)
        self._radix = (machines + 1) ** np.arange(5, -1, -1)
        keys = self._key(rows)
        order = np.argsort(keys)
        self.running, self._running_keys = rows[order], keys[order]
        """(states, 6): b, u, z, i, j, f between decisions."""
        self._find_decisions()
        self._find_transitions()

    def _key(self, rows: np.ndarray) -> np.ndarray:
        return rows @ self._radix

    def _find(self, rows: np.ndarray) -> np.ndarray:
        """Indices of the states `rows`."""
        index = np.searchsorted(self._running_keys, self._key(rows))
        assert np.array_equal(self.running[index], rows)
        return index

    def _find_decisions(self) -> None:
        """States at decisions: an event and (b, u, 0, i, j, f), so without surplus, which is decided anew."""
        b, u, z, i, j, f = self.running.T
        after_arrival = np.stack([np.minimum(b + 1, self.rates.buffer), u, 0 * z, i, j, f], axis=1)
        after_departure = np.stack([b, u, 0 * z, i + 1, j - 1, f], axis=1)[j > 0]
        arrivals, to_arrival = np.unique(self._key(after_arrival), return_inverse=True)
        departures, to_departure = np.unique(self._key(after_departure), return_inverse=True)
        self.arrival_keys, self.departure_keys = arrivals, departures
        self.on_arrival = to_arrival
        self.on_departure = np.full(len(b), -1)
        self.on_departure[j > 0] = len(arrivals) + to_departure
        decisions = np.empty((len(arrivals) + len(departures), 6), dtype=np.int64)
        decisions[to_arrival] = after_arrival
        decisions[len(arrivals) + to_departure] = after_departure
        self.decisions = decisions
        """(decisions, 6): those at arrivals, then those at departures."""

    def _find_transitions(self) -> None:
        rates = self.rates
        _, u, _, i, j, f = self.running.T
        standby = rates.machines - u - i - j - f
        self.power_kw = np.stack([standby, u, i, j, f], axis=1) @ np.array(rates.kw)
        self.started, self.started_failed = self._after_start_up()
        repaired = self.running.copy()
        repaired[f > 0] += (0, 0, 0, 0, 1, -1)
        self.repaired = self._find(repaired)
        posts = [self._after_action(n) for n in range(rates.machines + 1)]
        self.taken = np.ascontiguousarray(np.stack([taken for taken, _ in posts], axis=1))
        """(decisions, machines + 1): the state that an action leads to,"""
        self.taken_failed = np.ascontiguousarray(np.stack([failed for _, failed in posts], axis=1))
        """and the one where the machine that takes a part fails; the same where none takes one."""

    def _after_start_up(self) -> tuple[np.ndarray, np.ndarray]:
        """States after a start-up has ended; the machine may take a part and fail."""
        _, u, z, _, _, _ = self.running.T
        after = self.running.copy()
        after[(u > 0) & (z > 0)] += (0, -1, -1, 0, 0, 0)
        after[(u > 0) & (z == 0)] += (0, -1, 0, 1, 0, 0)
        return self._take(after)

    def _after_action(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """States after the decisions with action `n`."""
        after = self.decisions.copy()
        on = after[:, [1, 3, 4, 5]].sum(axis=1)
        surplus = np.maximum(on - n, 0)
        off = np.minimum(surplus, after[:, 3])
        after[:, 3] -= off
        after[:, 2] = np.minimum(surplus - off, after[:, 1])
        arrivals = np.arange(len(after)) < len(self.arrival_keys)
        after[:, 1] += np.where(arrivals, np.maximum(n - on, 0), 0)
        return self._take(after)

    def _take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Let an idle machine take a waiting part: the states without and with a failure."""
        takes = (rows[:, 0] > 0) & (rows[:, 3] > 0)
        works, fails = rows.copy(), rows.copy()
        works[takes] += (-1, 0, 0, -1, 1, 0)
        fails[takes] += (-1, 0, 0, -1, 0, 1) if self.rates.fail else (-1, 0, 0, -1, 1, 0)
        return self._find(works), self._find(fails)

    def observations(self) -> dict[str, np.ndarray]:
        """Every decision as it is observed: `buffer` (D,), `machines` (D, machines) and `event` (D,).

        The first machines stand by, then come those that start up, are idle, are busy and have failed. A discard is
        shown as the arrival that it is: the state behind both is the same.
        """
        parts, up, _, idle, busy, failed = self.decisions.T
        upper = np.stack([up, idle, busy, failed], axis=1)
        counts = np.concatenate([self.rates.machines - upper.sum(axis=1, keepdims=True), upper], axis=1)
        states = np.tile((STANDBY, START_UP, IDLE, BUSY, FAILED), len(counts))
        machines = np.repeat(states, counts.ravel()).reshape(len(counts), self.rates.machines)
        departure = np.arange(len(parts)) >= len(self.arrival_keys)
        return {"buffer": parts.copy(), "machines": machines, "event": np.where(departure, DEPARTURE, ARRIVAL)}

    def decision_index(self, kind_is_departure: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Indices of decisions; -1 where a state can't occur."""
        keys = self._key(rows)
        index = np.empty(len(rows), dtype=np.int64)
        for departure, known, offset in (
            (False, self.arrival_keys, 0),
            (True, self.departure_keys, len(self.arrival_keys)),
        ):
            mask = kind_is_departure == departure
            at = np.minimum(np.searchsorted(known, keys[mask]), len(known) - 1)
            index[mask] = np.where(known[at] == keys[mask], at + offset, -1)
        return index


# Solving --------------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _improve(
    value: np.ndarray,
    taken: np.ndarray,
    taken_failed: np.ndarray,
    fail: float,
    at_decision: np.ndarray,
    action: np.ndarray,
) -> None:
    """Best action of each decision, the smallest of equal ones, and its value."""
    for d in range(taken.shape[0]):
        best, best_n = np.inf, 0
        for n in range(taken.shape[1]):
            v = value[taken[d, n]]
            if taken_failed[d, n] != taken[d, n]:
                v += fail * (value[taken_failed[d, n]] - v)
            if v < best - 1e-9:
                best, best_n = v, n
        at_decision[d] = best
        action[d] = best_n


@njit(cache=True)
def _evaluate(
    value: np.ndarray,
    taken: np.ndarray,
    taken_failed: np.ndarray,
    fail: float,
    at_decision: np.ndarray,
    action: np.ndarray,
) -> None:
    """Values of the decisions under a fixed policy."""
    for d in range(taken.shape[0]):
        v = value[taken[d, action[d]]]
        at_decision[d] = v + fail * (value[taken_failed[d, action[d]]] - v)


@njit(cache=True)
def _sweep(
    value: np.ndarray,
    new: np.ndarray,
    at_decision: np.ndarray,
    cost_kw: np.ndarray,
    rates: tuple[float, float, float, float, float, float],
    counts: np.ndarray,
    on_arrival: np.ndarray,
    on_departure: np.ndarray,
    started: np.ndarray,
    started_failed: np.ndarray,
    repaired: np.ndarray,
) -> tuple[float, float]:
    """One step of value iteration on the uniformised chain; bounds on the gain in kW."""
    arrival, job, start_up, repair, fail, total = rates
    low, high = np.inf, -np.inf
    for x in range(value.shape[0]):
        u, j, f = counts[x, 1], counts[x, 4], counts[x, 5]
        here = value[x]
        change = cost_kw[x] + arrival * (at_decision[on_arrival[x]] - here)
        if j > 0:
            change += j * job * (at_decision[on_departure[x]] - here)
        if u > 0:
            v = value[started[x]]
            v += fail * (value[started_failed[x]] - v)
            change += u * start_up * (v - here)
        if f > 0:
            change += f * repair * (value[repaired[x]] - here)
        low, high = min(low, change), max(high, change)
        new[x] = here + change / total
    reference = new[0]
    for x in range(value.shape[0]):
        new[x] -= reference
    return low, high


@njit(cache=True)
def _iterate(
    value: np.ndarray,
    cost_kw: np.ndarray,
    rates: tuple[float, float, float, float, float, float],
    counts: np.ndarray,
    on_arrival: np.ndarray,
    on_departure: np.ndarray,
    started: np.ndarray,
    started_failed: np.ndarray,
    repaired: np.ndarray,
    taken: np.ndarray,
    taken_failed: np.ndarray,
    gap_kw: float,
    improvements: int,
    evaluations: int,
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Iterate until the bounds on the gain are `gap_kw` apart: values, actions and bounds."""
    new = np.empty_like(value)
    at_decision = np.empty(taken.shape[0])
    action = np.zeros(taken.shape[0], dtype=np.int64)
    low, high = -np.inf, np.inf
    for _ in range(improvements):
        _improve(value, taken, taken_failed, rates[4], at_decision, action)
        low, high = _sweep(
            value,
            new,
            at_decision,
            cost_kw,
            rates,
            counts,
            on_arrival,
            on_departure,
            started,
            started_failed,
            repaired,
        )
        value, new = new, value
        if high - low <= gap_kw:
            break
        for _ in range(evaluations):
            _evaluate(value, taken, taken_failed, rates[4], at_decision, action)
            _sweep(
                value,
                new,
                at_decision,
                cost_kw,
                rates,
                counts,
                on_arrival,
                on_departure,
                started,
                started_failed,
                repaired,
            )
            value, new = new, value
    return value, action, low, high


@dataclass(frozen=True)
class Outcome:
    """Long-run figures of a policy."""

    parts_per_min: float
    power_kw: float


@dataclass(frozen=True)
class Solution:
    """An optimal policy and what it achieves; it is a point of the front of loss and saving."""

    weight_kj_per_part: float
    """Energy that a part is worth."""
    gain_kw: float
    """Power − weight · throughput of the policy."""
    bounds_kw: tuple[float, float]
    """The smallest gain of any policy lies between these."""
    parts_per_min: float
    power_kw: float
    loss_pct: float
    """Throughput lost against all machines on, in per cent."""
    saving_pct: float
    """Power saved against all machines on, in per cent."""
    policy: OptimalPolicy


class OptimalPolicy:
    """The action for each state at a decision: an agent on batched observations of a plant of one station.

    The observation tells everything the policy needs but the kind of decision: make the environment with
    `observe_event=True`. Without it the kind is inferred; that fails only where one machine is idle and one part waits,
    which is read as an arrival. A departure there is then offered an action that starts nothing anyway, and that may
    switch off a machine which was to take the part. Start-ups that are to be switched off are not observed and need not
    be: every decision settles the surplus anew.
    """

    def __init__(self, chain: Chain, actions: np.ndarray) -> None:
        self._chain = chain
        self._actions = actions

    def act(self, observations: Mapping[str, np.ndarray], *, deterministic: bool = True) -> np.ndarray:
        """Machines to keep on, (N,) int64, from `buffer` (N,), `machines` (N, machines) and perhaps `event` (N,)."""
        machines = np.atleast_2d(observations["machines"])
        counts = np.stack([(machines == state).sum(axis=1) for state in (START_UP, IDLE, BUSY, FAILED)], axis=1)
        buffer = np.atleast_1d(observations["buffer"]).astype(np.int64)
        idle = counts[:, 1]
        if "event" in observations:
            departure = np.atleast_1d(observations["event"]) == DEPARTURE
        else:
            departure = (idle > 0) & ((buffer == 0) | (buffer > 1))
        up, busy, failed = counts[:, 0], counts[:, 2], counts[:, 3]
        if not self._chain.rates.fail:
            # Repairs of no time are not states of the chain; no decision falls into one.
            busy, failed = busy + failed, 0 * failed
        rows = np.stack([buffer, up, 0 * up, idle, busy, failed], axis=1)
        index = self._chain.decision_index(departure, rows)
        if (index < 0).any():
            wrong = rows[index < 0][0]
            raise ValueError(
                f"The observation of {wrong[0]} waiting parts and {wrong[3]} idle machines is not one of a decision "
                "of this plant."
            )
        return self._actions[index]

    def __call__(self, departure: bool, parts: int, starting_up: int, idle: int, busy: int, failed: int = 0) -> int:
        """Machines to keep on in one state."""
        rows = np.array([[parts, starting_up, 0, idle, busy, failed]])
        index = self._chain.decision_index(np.array([departure]), rows)
        if index[0] < 0:
            raise ValueError(f"No decision has {parts} waiting parts and {idle} idle machines.")
        return int(self._actions[index[0]])


class Optimiser:
    """Solves one plant for any weight; each solution starts from the values of the last."""

    def __init__(self, plant: str | Path | Plant | Mapping[str, Any]) -> None:
        self.plant = load_plant(plant)
        self.chain = Chain(Rates.of(self.plant))
        rates = self.chain.rates
        fastest = max(rates.job, rates.start_up, rates.repair)
        self._rates = (
            rates.arrival,
            rates.job,
            rates.start_up,
            rates.repair,
            rates.fail,
            1.01 * (rates.arrival + rates.machines * fastest),
        )
        self._value = np.zeros(len(self.chain.running))
        self.all_on = self.evaluate(np.full(len(self.chain.decisions), rates.machines))

    def solve(self, weight_kj_per_part: float, *, gap_kw: float = GAP_KW) -> Solution:
        """Find a best policy and bounds on the gain, `gap_kw` apart or, with vast weights, what rounding allows."""
        if not (math.isfinite(weight_kj_per_part) and weight_kj_per_part >= 0.0):
            raise ValueError(f"The weight is {weight_kj_per_part} kJ per part; it must be finite and at least 0.")
        chain = self.chain
        cost_kw = chain.power_kw - weight_kj_per_part * chain.rates.job * chain.running[:, 4]
        self._value, actions, low_kw, high_kw = _iterate(
            self._value,
            cost_kw,
            self._rates,
            chain.running,
            chain.on_arrival,
            chain.on_departure,
            chain.started,
            chain.started_failed,
            chain.repaired,
            chain.taken,
            chain.taken_failed,
            max(gap_kw, ROUNDING * float(np.abs(cost_kw).max())),
            1_000_000,
            EVALUATIONS,
        )
        outcome = self.evaluate(actions)
        loss_pct, saving_pct = self._against_all_on(outcome)
        return Solution(
            weight_kj_per_part=float(weight_kj_per_part),
            gain_kw=outcome.power_kw - weight_kj_per_part * outcome.parts_per_min / 60.0,
            bounds_kw=(low_kw, high_kw),
            parts_per_min=outcome.parts_per_min,
            power_kw=outcome.power_kw,
            loss_pct=loss_pct,
            saving_pct=saving_pct,
            policy=OptimalPolicy(chain, actions),
        )

    def evaluate(self, actions: np.ndarray) -> Outcome:
        """Throughput and power of a policy, from the stationary distribution of its chain (all idle at first)."""
        return self._long_run(actions)[1]

    def visits(self, actions: np.ndarray) -> np.ndarray:
        """How often each decision is due under a policy, per second, (D,)."""
        chain = self.chain
        share, _ = self._long_run(actions)
        rate = np.zeros(len(chain.decisions))
        np.add.at(rate, chain.on_arrival, chain.rates.arrival * share)
        busy = chain.running[:, 4] > 0
        np.add.at(rate, chain.on_departure[busy], chain.rates.job * (chain.running[:, 4] * share)[busy])
        return rate

    def _long_run(self, actions: np.ndarray) -> tuple[np.ndarray, Outcome]:
        """Stationary distribution (states,) and figures of the closed class of the most throughput.

        An optimal policy may have several closed classes of the same gain; this one is a point of the front like the
        others.
        """
        return max(self._closed_classes(actions), key=lambda pair: pair[1].parts_per_min)

    def _closed_classes(self, actions: np.ndarray) -> Iterator[tuple[np.ndarray, Outcome]]:
        """Yield the stationary distribution (states,) and the figures of each closed class that a policy reaches."""
        chain = self.chain
        generator = self._generator(actions)
        idle = np.zeros((1, 6), dtype=np.int64)
        idle[0, 3] = chain.rates.machines
        reached = np.sort(breadth_first_order(generator, int(chain._find(idle)[0]), return_predecessors=False))
        inner = generator[reached][:, reached]
        classes, label = connected_components(inner, connection="strong")
        leaves = inner.tocoo()
        crossing = label[leaves.row] != label[leaves.col]
        for c in np.setdiff1d(np.arange(classes), label[leaves.row[crossing]]):
            share = np.zeros(len(chain.running))
            share[reached[label == c]] = self._stationary(generator, reached[label == c])
            busy = float(share @ chain.running[:, 4])
            yield share, Outcome(60.0 * chain.rates.job * busy, float(share @ chain.power_kw))

    def loss_and_saving_pct(self, actions: np.ndarray) -> tuple[float, float]:
        """Long-run production loss and energy saving of a policy (D,) against all machines on, in per cent."""
        return self._against_all_on(self.evaluate(actions))

    def _against_all_on(self, outcome: Outcome) -> tuple[float, float]:
        loss_pct = 100.0 * (1.0 - outcome.parts_per_min / self.all_on.parts_per_min)
        return loss_pct, 100.0 * (1.0 - outcome.power_kw / self.all_on.power_kw)

    def _generator(self, actions: np.ndarray) -> sp.csr_matrix:
        """Off-diagonal rates of the chain under a policy, (states, states)."""
        chain, rates = self.chain, self.chain.rates
        states = np.arange(len(chain.running))
        counts = chain.running
        decisions = np.arange(len(chain.decisions))
        taken, failed = chain.taken[decisions, actions], chain.taken_failed[decisions, actions]
        moves = []
        for source, decision, rate in (
            (states, chain.on_arrival, np.full(len(states), rates.arrival)),
            (states[counts[:, 4] > 0], chain.on_departure[counts[:, 4] > 0], rates.job * counts[counts[:, 4] > 0, 4]),
        ):
            moves += [(source, taken[decision], (1.0 - rates.fail) * rate)]
            moves += [(source, failed[decision], rates.fail * rate)]
        up = rates.start_up * counts[:, 1]
        moves += [(states, chain.started, (1.0 - rates.fail) * up), (states, chain.started_failed, rates.fail * up)]
        moves += [(states, chain.repaired, rates.repair * counts[:, 5])]
        rows, columns, values = (np.concatenate(parts) for parts in zip(*moves, strict=True))
        real = (values > 0.0) & (rows != columns)
        size = (len(states), len(states))
        return sp.csr_matrix((values[real], (rows[real], columns[real])), shape=size)

    def _stationary(self, generator: sp.csr_matrix, states: np.ndarray) -> np.ndarray:
        """Stationary distribution of the closed class `states`."""
        flow = generator[states][:, states]
        leaving = np.asarray(flow.sum(axis=1)).ravel()
        if len(states) == 1:
            share = np.ones(1)
        elif len(states) <= DIRECT_STATES:
            # Balance of all states but the last, whose share is set to 1.
            balance = (flow.T - sp.diags(leaving)).tocsc()
            share = np.append(spsolve(balance[:-1, :-1], -balance[:-1, -1].toarray().ravel()), 1.0)
            if not np.isfinite(share).all():  # the last state is too rare to be the unit; the sum is 1 instead
                whole = sp.vstack([balance[:-1], np.ones((1, len(states)))]).tocsc()
                share = np.maximum(spsolve(whole, np.append(np.zeros(len(states) - 1), 1.0)), 0.0)
        else:
            total = 1.01 * leaving.max()
            step = (flow.T + sp.diags(total - leaving)).tocsr() / total
            share = np.full(len(states), 1.0 / len(states))
            for _ in range(1_000_000):
                new = step @ share
                done = np.abs(new - share).sum() < 1e-13
                share = new
                if done:
                    break
        return share / share.sum()


@functools.lru_cache(maxsize=8)
def _optimiser(plant: Plant) -> Optimiser:
    return Optimiser(plant)


def solve(
    plant: str | Path | Plant | Mapping[str, Any], weight_kj_per_part: float, *, gap_kw: float = GAP_KW
) -> Solution:
    """The best policy of a Markovian plant for a weight, see the module's docstring."""
    return _optimiser(load_plant(plant)).solve(weight_kj_per_part, gap_kw=gap_kw)


# Front ----------------------------------------------------------------------------------------------------------------


def front(plant: str | Path | Plant | Mapping[str, Any], weights: Iterable[float]) -> list[Solution]:
    """The best policy for each weight, in kJ per part: points of the front of production loss and energy saving."""
    optimiser = _optimiser(load_plant(plant))
    return [optimiser.solve(weight) for weight in weights]


def front_rows(plant: str | Path | Plant | Mapping[str, Any], weights: Iterable[float]) -> list[dict[str, float]]:
    """The front as rows of a CSV file: weight, throughput, power, loss, saving, gain and its bounds."""
    return [as_row(solution) for solution in front(plant, weights)]


def as_row(solution: Solution) -> dict[str, float]:
    """Return a solution's figures by the names of the columns."""
    return {
        "weight_kj_per_part": solution.weight_kj_per_part,
        "parts_per_min": solution.parts_per_min,
        "power_kw": solution.power_kw,
        "production_loss_pct": solution.loss_pct,
        "energy_saving_pct": solution.saving_pct,
        "gain_kw": solution.gain_kw,
        "gain_lower_kw": solution.bounds_kw[0],
        "gain_upper_kw": solution.bounds_kw[1],
    }


def write_front(path: str | Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write rows of `front_rows` as CSV."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.12g}" for key, value in row.items()} for row in rows)


@dataclass(frozen=True)
class Hull:
    """The lower right boundary of what any policy can reach, by its corners.

    Policies that switch between corners by chance reach the lines between these. Every weight that was solved gives a
    line that no policy crosses.
    """

    corners: tuple[Solution, ...]
    """By falling weight, thus rising loss and saving."""
    supports: tuple[tuple[float, float], ...]
    """Weights in kJ per part that were solved, and lower bounds on the gain in kW."""
    all_on: Outcome
    """All machines on: no loss, no saving."""

    def saving_pct(self, loss_pct: float) -> float:
        """Best saving at a loss, both in per cent, interpolated between the corners; outside of them, the nearest's."""
        losses = [corner.loss_pct for corner in self.corners]
        savings = [corner.saving_pct for corner in self.corners]
        return float(np.interp(loss_pct, losses, savings))

    def bound_pct(self, loss_pct: float) -> float:
        """A saving that no policy of this loss exceeds, both in per cent."""
        parts_per_s = self.all_on.parts_per_min / 60.0 * (1.0 - loss_pct / 100.0)
        least_kw = max(gain_kw + weight * parts_per_s for weight, gain_kw in self.supports)
        return 100.0 * (1.0 - least_kw / self.all_on.power_kw)


def dense_front(plant: str | Path | Plant | Mapping[str, Any], *, tolerance_pct: float = TOLERANCE_PCT) -> Hull:
    """The corners of the front, so many that a straight line between two misses less than `tolerance_pct` of saving.

    Between two corners the weight whose line passes through both is solved; what it finds beyond that line is a new
    corner (Aneja and Nair, 1979).
    """
    return _dense_front(load_plant(plant), tolerance_pct)


@functools.lru_cache(maxsize=8)
def _dense_front(plant: Plant, tolerance_pct: float) -> Hull:
    optimiser = _optimiser(plant)
    # The heaviest weight sacrifices a part only for all power during ten thousand interarrival times.
    gap_kw = 1e-4 * tolerance_pct * optimiser.all_on.power_kw
    heaviest = 1e4 * plant.full_power_kw * plant.arrivals.interarrival.mean_s
    first, last = optimiser.solve(heaviest), optimiser.solve(0.0, gap_kw=gap_kw)
    corners = [first]
    supports = [(solution.weight_kj_per_part, solution.bounds_kw[0]) for solution in (first, last)]

    def refine(left: Solution, right: Solution) -> None:
        parts_per_s = (left.parts_per_min - right.parts_per_min) / 60.0
        saved_kw = left.power_kw - right.power_kw
        if parts_per_s > 1e-9 and saved_kw > 0.0:
            middle = optimiser.solve(saved_kw / parts_per_s, gap_kw=gap_kw)
            supports.append((middle.weight_kj_per_part, middle.bounds_kw[0]))
            line_kw = left.power_kw - middle.weight_kj_per_part * left.parts_per_min / 60.0
            beyond_pct = 100.0 * (line_kw - middle.gain_kw) / optimiser.all_on.power_kw
            if beyond_pct > tolerance_pct:
                refine(left, middle)
                refine(middle, right)
                return
        corners.append(right)

    refine(first, last)
    return Hull(tuple(corners), tuple(supports), optimiser.all_on)


def distance_to_front(
    loss_pct: float, saving_pct: float, plant: str | Path | Plant | Mapping[str, Any] = "paper"
) -> float:
    """Points of saving that the exact front is above a policy with this loss and saving, all in per cent."""
    return dense_front(plant).saving_pct(loss_pct) - saving_pct
