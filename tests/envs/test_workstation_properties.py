"""Properties of the SimPy workstation over random plants and policies."""

import math
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.energy_control.config import (
    ASSIGNMENTS,
    BLOCKED,
    BUSY,
    FAILED,
    IDLE,
    STANDBY,
    START_UP,
    Arrivals,
    Distribution,
    Plant,
    Powers,
    Profile,
    Station,
    load_plant,
)
from envs.energy_control.machine import Machine
from envs.energy_control.workstation import PlantSimulation

kilowatts = st.floats(0.0, 100.0)
powers = st.builds(
    Powers,
    busy_kw=st.floats(0.1, 100.0),
    idle_kw=kilowatts,
    start_up_kw=kilowatts,
    standby_kw=kilowatts,
    failed_kw=kilowatts,
)


def distributions(low_s: float, high_s: float) -> st.SearchStrategy[Distribution]:
    mean_s = st.floats(low_s, high_s)
    return st.one_of(
        st.builds(Distribution, st.just("exponential"), mean_s),
        st.builds(Distribution, st.just("erlang"), mean_s, phases=st.integers(1, 5)),
        st.builds(Distribution, st.just("lognormal"), mean_s, cv=st.floats(0.1, 3.0)),
        st.builds(Distribution, st.just("deterministic"), mean_s),
        st.builds(
            Distribution,
            st.just("empirical"),
            values=st.lists(st.floats(low_s, high_s), min_size=1, max_size=5).map(tuple),
        ),
    )


stations = st.builds(
    Station,
    machines=st.integers(1, 5),
    buffer=st.integers(1, 6),
    processing=distributions(1.0, 60.0),
    start_up=distributions(0.5, 30.0) | st.just(Distribution("deterministic", 0.0)),
    powers=powers,
    failure=st.none() | distributions(10.0, 200.0),
    repair=distributions(1.0, 50.0) | st.just(Distribution("deterministic", 0.0)),
)
profiles = st.none() | st.builds(
    Profile,
    times_s=st.just((0.0, 50.0, 200.0)),
    factors=st.tuples(st.floats(0.0, 3.0), st.floats(0.1, 3.0), st.floats(0.1, 3.0)),
    period_s=st.sampled_from([math.inf, 450.0]),
)
plants = st.builds(
    Plant,
    name=st.just("random"),
    arrivals=st.builds(Arrivals, distributions(1.0, 30.0), profiles),
    stations=st.lists(stations, min_size=1, max_size=3).map(tuple),
    assignment=st.sampled_from(ASSIGNMENTS),
)


def parts_inside(simulation: PlantSimulation) -> int:
    return sum(
        station.parts + sum(station.states.count(state) for state in (BUSY, FAILED, BLOCKED))
        for station in simulation.stations
    )


def check_machines(simulation: PlantSimulation) -> None:
    """Every machine has just the one pending event that belongs to its state."""
    alarms: dict[Machine, int] = {}
    for _, _, _, event in simulation.clock._queue:
        owner = event._on_ring[0].__self__  # type: ignore[attr-defined]
        if isinstance(owner, Machine):
            alarms[owner] = alarms.get(owner, 0) + 1
    for station in simulation.stations:
        assert 0 <= station.parts <= station.config.buffer
        assert station.on == sum(state != STANDBY for state in station.states)
        assert station.states == station.states_array.tolist()
        assert [station.states.count(state) for state in range(6)] == station.meter.counts
        for machine in station.machines:
            assert machine.state == station.states[machine.index]
            pending = alarms.get(machine, 0)
            if machine.state in (BUSY, START_UP, FAILED):
                assert pending == 1
            elif machine.state == BLOCKED:
                assert pending <= 1  # its release, at this instant
            else:
                assert pending == 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plant=plants, seed=st.integers(0, 2**32 - 1), steadiness=st.integers(1, 20))
def test_parts_and_energy_are_conserved(plant: Plant, seed: int, steadiness: int):
    """Parts in = made + discarded + inside; energy = Σ power · time of every machine, to 1e-9; nothing impossible."""
    rng = np.random.default_rng(seed)
    changes: list[tuple[float, Machine, int, int]] = []
    enter = Machine.enter

    def recording(machine: Machine, state: int) -> None:
        changes.append((machine.station.clock.now, machine, machine.state, state))
        enter(machine, state)

    with mock.patch.object(Machine, "enter", recording):
        simulation = PlantSimulation(plant, plant.assignment, rng)
        targets = [station.machines for station in plant.stations]
        last_s = 0.0
        for decision in range(250):
            simulation.run_to_decision()
            assert simulation.clock.now >= last_s
            last_s = simulation.clock.now
            assert simulation.parts_arrived == (
                simulation.parts_made + simulation.parts_discarded + parts_inside(simulation)
            )
            check_machines(simulation)
            if decision % steadiness == 0:
                targets = [int(rng.integers(station.machines + 1)) for station in plant.stations]
            simulation.decide(targets)
            for station, target in zip(simulation.stations, targets, strict=True):
                settled = station.states.count(IDLE)
                if plant.assignment == "pooled":
                    assert settled == 0 or station.on <= target
                else:
                    assert IDLE not in station.states[target:]
                assert station.parts == 0 or settled == 0

    end_s = simulation.clock.now
    energies: list[list[float]] = [[] for _ in range(5)]
    since = {machine: 0.0 for station in simulation.stations for machine in station.machines}
    state_of = dict.fromkeys(since, IDLE)
    for time_s, machine, old, new in changes:
        assert state_of[machine] == old
        book(energies, machine, old, time_s - since[machine])
        since[machine], state_of[machine] = time_s, new
    for machine, began_s in since.items():
        assert machine.state == state_of[machine]
        book(energies, machine, machine.state, end_s - began_s)
    expected = [math.fsum(energy) for energy in energies]
    metered = simulation.energy_by_state_kj()
    assert metered == pytest.approx(expected, rel=1e-9, abs=1e-9 * max(sum(expected), 1.0))
    assert sum(metered) == pytest.approx(math.fsum(expected), rel=1e-9, abs=1e-9)
    allowed = {
        (STANDBY, START_UP), (START_UP, IDLE), (START_UP, STANDBY), (IDLE, STANDBY), (IDLE, BUSY), (IDLE, FAILED),
        (FAILED, BUSY), (BUSY, IDLE), (BUSY, BLOCKED), (BLOCKED, IDLE),
    }  # fmt: skip
    if plant.assignment == "index":
        allowed |= {(BUSY, STANDBY), (BLOCKED, STANDBY)}
    assert {(old, new) for _, _, old, new in changes} <= allowed


def book(energies: list[list[float]], machine: Machine, state: int, time_s: float) -> None:
    state = IDLE if state == BLOCKED else state
    energies[state].append(machine.station.config.powers.by_state_kw[state] * time_s)


@settings(max_examples=50, deadline=None)
@given(plant=plants, seed=st.integers(0, 2**32 - 1))
def test_two_policies_on_one_seed_see_the_same_arrivals(plant: Plant, seed: int):
    arrivals = []
    for all_on in (True, False):
        simulation = PlantSimulation(plant, plant.assignment, np.random.default_rng(seed))
        times = []
        while len(times) < 100:
            simulation.run_to_decision()
            if simulation.parts_arrived > len(times):
                times.append(simulation.clock.now)
            simulation.decide([station.machines if all_on else 0 for station in plant.stations])
        arrivals.append(times)
    assert arrivals[0] == arrivals[1]


def test_the_memory_stays_flat():
    simulation = PlantSimulation(load_plant("paper"), "pooled", np.random.default_rng(0))
    rng = np.random.default_rng(1)

    def run(decisions: int) -> None:
        for n in rng.integers(7, size=decisions):
            simulation.run_to_decision()
            simulation.decide((n,))

    run(5_000)
    tracemalloc.start()
    try:
        run(5_000)
        before = tracemalloc.get_traced_memory()[0]
        run(30_000)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "two-stage"])
def test_ten_years_are_conserved(name):
    plant = load_plant(name)
    simulation = PlantSimulation(plant, "pooled", np.random.default_rng(0), 86_400.0)
    rng = np.random.default_rng(1)
    machine_s = 0.0
    simulation.run_to_decision()
    while simulation.clock.now < 0.0:
        simulation.decide([station.machines for station in plant.stations])
        simulation.run_to_decision()
    inside = parts_inside(simulation) + simulation.parts_made + simulation.parts_discarded - simulation.parts_arrived
    while simulation.clock.now < 10 * 365 * 86_400.0:
        simulation.decide([int(rng.random() * (station.machines + 1)) for station in plant.stations])
        simulation.run_to_decision()
    assert simulation.parts_arrived + inside == (
        simulation.parts_made + simulation.parts_discarded + parts_inside(simulation)
    )
    by_state_kj = simulation.energy_by_state_kj()
    powers_kw = plant.stations[0].powers.by_state_kw
    for state in (START_UP, IDLE, BUSY):
        machine_s += by_state_kj[state] / powers_kw[state]
    assert machine_s < plant.machines * simulation.clock.now
    check_machines(simulation)
