"""The SimPy workstation against known long-run figures.

The figures come from 200 replications of 30 days of an independent simulator of the same plant, with 95 % intervals
of about 0.0012 parts/min and 0.013 kW, and from closed forms.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from envs.energy_control.config import BUSY, FAILED, IDLE, START_UP, Plant, load_plant
from envs.energy_control.workstation import PlantSimulation, Workstation

Policy = Callable[[Workstation], int]

ALWAYS = [  # n, parts/min, kW, discarded/min, mean numbers busy, idle, failed
    (6, 2.9905, 79.268, 0.0090, 4.171, 1.796, 0.0332),
    (5, 2.9391, 69.570, 0.0610, 4.101, 0.867, 0.0326),
    (4, 2.6916, 58.330, 0.3087, 3.756, 0.214, 0.0299),
    (3, 2.1222, 44.557, 0.8779, 2.961, 0.016, 0.0236),
    (2, 1.4225, 29.762, 1.5774, 1.984, 0.000, 0.0158),
]


def long_run(plant: Plant, assignment: str, policy: Policy, replications: int, days: float) -> dict[str, np.ndarray]:
    """Means of each replication, after a day under the policy: per minute, in kW, and numbers of machines."""
    figures: dict[str, list[float]] = {}
    powers_kw = plant.stations[0].powers.by_state_kw
    end_s = 86_400.0 * days
    for seed in range(replications):
        simulation = PlantSimulation(plant, assignment, np.random.default_rng(seed), 86_400.0)
        (station,) = simulation.stations
        simulation.run_to_decision()
        while simulation.clock.now < end_s:
            simulation.decide((policy(station),))
            simulation.run_to_decision()
        time_s = simulation.clock.now
        by_state_kj = simulation.energy_by_state_kj()
        values = {
            "made": 60.0 * simulation.parts_made / time_s,
            "lost": 60.0 * simulation.parts_discarded / time_s,
            "kw": sum(by_state_kj) / time_s,
        }
        for name, state in (("busy", BUSY), ("idle", IDLE), ("start_up", START_UP)):
            values[name] = by_state_kj[state] / powers_kw[state] / time_s
        for name, value in values.items():
            figures.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in figures.items()}


def assert_mean(samples: np.ndarray, expected: float, expected_error: float, what: str) -> None:
    """The expected value lies in the samples' 99.9 % interval, widened by its own error."""
    half = stats.t.ppf(0.9995, len(samples) - 1) * samples.std(ddof=1) / math.sqrt(len(samples)) + expected_error
    assert abs(samples.mean() - expected) <= half, f"{what}: {samples.mean():.5g} ± {half:.2g}, expected {expected:.5g}"


@pytest.mark.parametrize(("n", "made", "kw", "lost", "busy", "idle", "failed"), ALWAYS, ids=lambda v: str(v))
def test_a_constant_number_of_machines(n, made, kw, lost, busy, idle, failed):
    figures = long_run(load_plant("paper"), "pooled", lambda _: n, replications=8, days=7)
    assert_mean(figures["made"], made, 0.0015, "parts/min")
    assert_mean(figures["kw"], kw, 0.02, "kW")
    assert_mean(figures["lost"], lost, 0.0012, "discarded/min")
    assert_mean(figures["busy"], busy, 0.002, "busy")
    assert_mean(figures["idle"], idle, 0.002, "idle")
    assert figures["start_up"].max() == 0.0
    assert figures["made"].std() < 0.05 * made  # the intervals are narrow enough to tell the rows apart


def test_failures_follow_from_the_wear():
    """The share of time failed: a job in 1 + (1 + p0) / p0 fails, p0 = 83.7 / (3600 + 83.7); each costs 30 s."""
    plant = load_plant("paper")
    failed = []
    for seed in range(6):
        simulation = PlantSimulation(plant, "pooled", np.random.default_rng(seed))
        counts, last_s, failed_s = simulation.stations[0].meter.counts, 0.0, 0.0
        while simulation.clock.now < 10 * 86_400.0:
            step_states = counts[FAILED]
            simulation.clock.step()
            failed_s += step_states * (simulation.clock.now - last_s)
            last_s = simulation.clock.now
            if simulation.event >= 0:
                simulation.event = -1
                simulation.decide((6,))
        failed.append(failed_s / last_s)
    p0 = 83.7 / (3600 + 83.7)
    assert_mean(np.array(failed), 2.9905 / 60 * 30 * p0 / (1 + p0), 2e-4, "failed")
    assert_mean(np.array(failed), 0.0332, 2e-4, "failed")


def test_random_numbers_under_index_assignment():
    rng = np.random.default_rng(11)
    figures = long_run(load_plant("paper"), "index", lambda _: int(rng.integers(7)), replications=8, days=7)
    assert_mean(figures["made"], 2.1725, 0.0015, "parts/min")
    assert_mean(figures["kw"], 55.49, 0.03, "kW")


def test_as_many_as_there_are_parts_under_index_assignment():
    def parts(station: Workstation) -> int:
        in_machines = station.states.count(BUSY) + station.states.count(FAILED)
        return min(in_machines + station.parts, 6)

    figures = long_run(load_plant("paper"), "index", parts, replications=8, days=7)
    assert_mean(figures["made"], 2.9875, 0.0015, "parts/min")
    assert_mean(figures["kw"], 69.88, 0.02, "kW")


@pytest.mark.parametrize(("machines", "buffer", "load"), [(1, 1, 0.9), (2, 3, 1.7), (5, 4, 4.0)])
def test_the_limit_without_failures_is_a_queue_of_erlang(machines, buffer, load):
    """All on: M/M/c/K with p_k ~ load^k / (k! or c! c^(k - c)); K = c + buffer, but for the instant of a decision."""
    plant = Plant.from_dict(
        {
            "name": "queue",
            "arrivals": {"interarrival": {"kind": "exponential", "mean_s": 60.0}},
            "stations": [
                {
                    "machines": machines,
                    "buffer": buffer,
                    "processing": {"kind": "exponential", "mean_s": 60.0 * load},
                    "start_up": {"kind": "deterministic", "mean_s": 0},
                    "powers": {"busy_kw": 3.0, "idle_kw": 1.0, "start_up_kw": 1.0},
                }
            ],
        }
    )
    weights = [
        load**k / (math.factorial(min(k, machines)) * machines ** max(k - machines, 0))
        for k in range(machines + buffer + 1)
    ]
    chances = np.array(weights) / sum(weights)
    made = 1.0 - chances[-1]
    figures = long_run(plant, "pooled", lambda _: machines, replications=8, days=20)
    assert_mean(figures["made"], made, 0.0, "parts/min")
    assert_mean(figures["lost"], chances[-1], 0.0, "discarded/min")
    assert_mean(figures["busy"], made * load, 0.0, "busy")
    assert_mean(figures["kw"], 1.0 * machines + 2.0 * made * load, 0.0, "kW")


@pytest.mark.slow
@pytest.mark.parametrize(("n", "made", "kw", "lost", "busy", "idle", "failed"), ALWAYS, ids=lambda v: str(v))
def test_a_constant_number_of_machines_closely(n, made, kw, lost, busy, idle, failed):
    for assignment in ("pooled", "index"):
        figures = long_run(load_plant("paper"), assignment, lambda _: n, replications=40, days=30)
        assert_mean(figures["made"], made, 0.0015, "parts/min")
        assert_mean(figures["kw"], kw, 0.015, "kW")
        assert_mean(figures["lost"], lost, 0.0012, "discarded/min")
        assert_mean(figures["busy"], busy, 0.0015, "busy")
        assert_mean(figures["idle"], idle, 0.0015, "idle")
