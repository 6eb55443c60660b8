"""Long-run figures of simple rules, simulated by the compiled engine without observations or rewards.

A rule says how many machines to keep on from the kind of decision, the parts waiting, the machines at work (busy or
failed) and the number in force: constants, thresholds and hysteresis are such rules. A search over hundreds of them
takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.checks import choice, number, whole
from envs.energy_control import engine
from envs.energy_control.config import (
    ASSIGNMENTS,
    BUSY,
    DAY_S,
    EVENTS,
    FAILED,
    IDLE,
    STATES,
    Plant,
    load_plant,
)

Rule = Callable[[int, int, int, int], int]


@dataclass(frozen=True)
class LongRun:
    """Figures of every replication."""

    parts_per_min: np.ndarray
    """(replications,): parts made."""
    discarded_per_min: np.ndarray
    """(replications,): parts that found the buffer full."""
    started_per_min: np.ndarray
    """(replications,): start-ups begun."""
    decisions_per_min: np.ndarray
    """(replications,)."""
    power_kw: np.ndarray
    """(replications,): mean power."""
    machines: np.ndarray
    """(replications, 5): mean number of machines in each of `config.STATES`."""


@engine.compiled
def _run(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    table: np.ndarray,
    targets: np.ndarray,
    until_s: float,
) -> None:
    """Run every plant by the rule until `until_s`, exactly."""
    for i in range(core.shape[0]):
        while core[i].time_s < until_s:
            working = int(station[i, 0].count[BUSY] + station[i, 0].count[FAILED])
            if core[i].event != engine.LIMIT:
                targets[i, 0] = table[core[i].event, station[i, 0].buffer, working, station[i, 0].keep_on]
                core[i].decisions += 1
            engine.advance(spec, data, core, station, machine, i, targets, until_s)


@engine.compiled
def _begin(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    ring: np.ndarray,
    start_s: float,
) -> None:
    for i in range(core.shape[0]):
        engine.begin(spec, data, core, station, machine, ring, i, engine.ALL_ON, start_s)


@engine.compiled
def _zero(core: np.ndarray, station: np.ndarray, ring: np.ndarray) -> None:
    for i in range(core.shape[0]):
        core[i].head = core[i].tail = 0  # nothing was read
        engine.zero_meter(core, station, ring, i)


def rule_table(plant: Plant, rule: int | Rule) -> np.ndarray:
    """A rule as int64 (events, buffer + 1, machines + 1, machines + 1), by event, parts, at work and in force."""
    machines, buffer = plant.stations[0].machines, plant.stations[0].buffer
    shape = (len(EVENTS), buffer + 1, machines + 1, machines + 1)
    if not callable(rule):
        return np.full(shape, whole(rule, "The number of machines to keep on", 0, machines))
    table = np.empty(shape, dtype=np.int64)
    for index in np.ndindex(*shape):
        table[index] = whole(rule(*index), "The number of machines that the rule keeps on", 0, machines)
    return table


def simulate(
    plant: str | Path | Plant | Mapping[str, Any],
    rule: int | Rule | np.ndarray,
    *,
    days: float = 30.0,
    replications: int = 10,
    seed: int = 0,
    assignment: str | None = None,
    warm_up_s: float = 2.0 * DAY_S,
) -> LongRun:
    """Run a rule on a plant of one station; same seed, same arrivals, whatever the rule.

    Args:
        plant: name, path, mapping or `Plant`.
        rule: a number of machines; a function of (event, parts waiting, machines at work, number in force); or a table
            as `rule_table` makes it.
        days: simulated time that counts.
        replications: independent runs; run i has the streams of `seed + i`.
        seed: of the first run.
        assignment: pooled or index; None: the plant's own.
        warm_up_s: time before, under the rule too; it begins with all machines idle.

    Raises:
        ValueError: a line of stations, or a number that is out of range.
    """
    plant = load_plant(plant)
    if len(plant.stations) > 1:
        raise ValueError(f"A rule keeps machines of one station on; {plant.name!r} has {len(plant.stations)}.")
    days = number(days, "The number of days", 0.0, 1e6, above=True)
    warm_up_s = number(warm_up_s, "The length warm_up_s", 0.0, 1e12)
    whole(replications, "The number of replications", 1, 1_000_000)
    spec, data = engine.build_spec(plant, choice(assignment or plant.assignment, "The assignment", ASSIGNMENTS))
    machines = plant.machines
    if isinstance(rule, np.ndarray):
        table = rule.astype(np.int64)
        shape = (len(EVENTS), plant.stations[0].buffer + 1, machines + 1, machines + 1)
        if table.shape != shape or table.min() < 0 or table.max() > machines:
            raise ValueError(f"A rule's table has shape {shape} and numbers from 0 to {machines}.")
    else:
        table = rule_table(plant, rule)
    core = np.zeros(replications, dtype=engine.CORE)
    station = np.zeros((replications, 1), dtype=engine.STATION)
    machine = np.zeros((replications, machines), dtype=engine.MACHINE)
    ring = np.zeros((replications, 1, 3))
    targets = np.zeros((replications, 1), dtype=np.int64)
    for i in range(replications):
        core["rng"][i] = engine.streams(seed + i)
    _begin(spec, data, core, station, machine, ring, warm_up_s)
    _run(spec, data, core, station, machine, table, targets, 0.0)
    _zero(core, station, ring)
    _run(spec, data, core, station, machine, table, targets, days * DAY_S)
    minutes = days * DAY_S / 60.0
    state_s = station["state_s"][:, 0, : len(STATES)].copy()
    state_s[:, IDLE] += station["state_s"][:, 0, len(STATES)]
    return LongRun(
        parts_per_min=core["made"] / minutes,
        discarded_per_min=core["discarded"] / minutes,
        started_per_min=core["started_up"] / minutes,
        decisions_per_min=core["decisions"] / minutes,
        power_kw=core["energy_kj"] / (days * DAY_S),
        machines=state_s / (days * DAY_S),
    )
