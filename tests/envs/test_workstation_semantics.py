"""What happens at one instant, worked out by hand on plants whose times are all fixed."""

import numpy as np
import pytest

from envs.energy_control.config import (
    ARRIVAL,
    BLOCKED,
    BUSY,
    DEPARTURE,
    DISCARD,
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
)
from envs.energy_control.workstation import PlantSimulation, operational_to_clock_s

POWERS = Powers(busy_kw=15.0, idle_kw=9.0, start_up_kw=10.0, standby_kw=1.0, failed_kw=0.5)


def fixed(seconds: float) -> Distribution:
    return Distribution("deterministic", seconds)


def station(machines: int, buffer: int, job_s: float, start_up_s: float = 5.0, **settings: object) -> Station:
    return Station(machines, buffer, fixed(job_s), fixed(start_up_s), POWERS, **settings)


def simulate(*stations: Station, gap_s: float, assignment: str = "pooled") -> PlantSimulation:
    plant = Plant("fixed", Arrivals(fixed(gap_s)), stations)
    simulation = PlantSimulation(plant, assignment, np.random.default_rng(0))
    simulation.run_to_decision()
    return simulation


def seen(simulation: PlantSimulation) -> tuple:
    """Clock, kind of decision, and each station's buffer and machines."""
    stations = [part for s in simulation.stations for part in (s.parts, tuple(s.states))]
    return (simulation.clock.now, simulation.event, *stations)


def follow(simulation: PlantSimulation, *targets: int, decisions: int) -> list[tuple]:
    """What is seen at the next decisions under constant targets."""
    sights = []
    for _ in range(decisions):
        simulation.decide(targets)
        simulation.run_to_decision()
        sights.append(seen(simulation))
    return sights


def test_jobs_failures_repairs_and_discards_all_on():
    """Two machines, two places, a part every 10 s, jobs of 25 s, life 60 s, repair 3 s."""
    simulation = simulate(station(2, 2, 25.0, failure=fixed(60.0), repair=fixed(3.0)), gap_s=10.0)
    assert seen(simulation) == (10.0, ARRIVAL, 1, (IDLE, IDLE))
    assert follow(simulation, 2, decisions=17) == [
        (20.0, ARRIVAL, 1, (BUSY, IDLE)),
        (30.0, ARRIVAL, 1, (BUSY, BUSY)),
        (35.0, DEPARTURE, 1, (IDLE, BUSY)),  # first machine: 60 - 25 s of life left, takes the waiting part
        (40.0, ARRIVAL, 1, (BUSY, BUSY)),
        (45.0, DEPARTURE, 1, (BUSY, IDLE)),
        (50.0, ARRIVAL, 1, (BUSY, BUSY)),
        (60.0, DEPARTURE, 1, (IDLE, BUSY)),  # set off before the arrival of the same instant
        (60.0, ARRIVAL, 1, (BUSY, BUSY)),  # third job with 10 s of life left
        (70.0, DEPARTURE, 1, (BUSY, IDLE)),
        (70.0, ARRIVAL, 1, (BUSY, BUSY)),
        (80.0, ARRIVAL, 2, (BUSY, BUSY)),
        (85.0, DEPARTURE, 2, (IDLE, BUSY)),  # worn out: takes a part, fails, repair until 88, job until 113
        (90.0, ARRIVAL, 2, (BUSY, BUSY)),
        (95.0, DEPARTURE, 2, (BUSY, IDLE)),  # fails until 98, job until 123
        (100.0, ARRIVAL, 2, (BUSY, BUSY)),
        (110.0, DISCARD, 2, (BUSY, BUSY)),
        (113.0, DEPARTURE, 2, (IDLE, BUSY)),
    ]
    assert (simulation.parts_arrived, simulation.parts_made, simulation.parts_discarded) == (11, 7, 1)
    # idle: first machine to 10 s, second to 20 s; failed: 3 s each; the rest of 226 machine-seconds busy
    assert simulation.energy_by_state_kj() == pytest.approx((0, 0, 9.0 * 30, 15.0 * (226 - 30 - 6), 0.5 * 6))
    # after the repair: a new life of 60 s, the first job free, then three jobs until life is used up
    times = []
    while not times:
        simulation.decide((2,))
        if simulation.stations[0].states[0] == FAILED:
            times.append(simulation.clock.now)
        simulation.run_to_decision()
    assert times == [113.0 + 3 * 25.0]


def test_surplus_goes_off_highest_index_first_and_deficit_starts_lowest_index_first():
    simulation = simulate(station(4, 9, 100.0), gap_s=10.0)
    (plant,) = simulation.stations
    simulation.decide((2,))  # all four idle, one part waits
    assert plant.states == [BUSY, IDLE, STANDBY, STANDBY]
    simulation.run_to_decision()
    simulation.decide((4,))  # at an arrival: both start up, the idle one takes the part
    assert plant.states == [BUSY, BUSY, START_UP, START_UP]
    simulation.run_to_decision()
    assert seen(simulation) == (30.0, ARRIVAL, 1, (BUSY, BUSY, IDLE, IDLE))


def test_an_idle_machine_goes_off_although_a_part_waits():
    simulation = simulate(station(2, 9, 100.0), gap_s=10.0)
    simulation.decide((0,))
    assert simulation.stations[0].states == [STANDBY, STANDBY]
    assert simulation.stations[0].parts == 1


def test_nothing_starts_up_at_a_departure():
    simulation = simulate(station(3, 1, 12.0), gap_s=10.0)
    simulation.decide((1,))
    assert follow(simulation, 1, decisions=1) == [(20.0, ARRIVAL, 1, (BUSY, STANDBY, STANDBY))]
    assert follow(simulation, 1, decisions=1) == [(22.0, DEPARTURE, 1, (IDLE, STANDBY, STANDBY))]
    simulation.decide((3,))
    assert simulation.stations[0].states == [BUSY, STANDBY, STANDBY]
    simulation.run_to_decision()
    assert seen(simulation) == (30.0, ARRIVAL, 1, (BUSY, STANDBY, STANDBY))
    simulation.decide((3,))  # the number of the last decision is not made up for until a part arrives
    assert simulation.stations[0].states == [BUSY, START_UP, START_UP]


def test_machines_start_up_at_a_discard():
    simulation = simulate(station(2, 1, 50.0), gap_s=10.0)
    simulation.decide((0,))
    simulation.run_to_decision()
    assert seen(simulation) == (20.0, DISCARD, 1, (STANDBY, STANDBY))
    simulation.decide((1,))
    assert simulation.stations[0].states == [START_UP, STANDBY]
    assert follow(simulation, 1, decisions=1) == [(30.0, ARRIVAL, 1, (BUSY, STANDBY))]  # took the part at 25 s
    assert simulation.energy_by_state_kj()[START_UP] == pytest.approx(10.0 * 5.0)


def test_a_surplus_start_up_ends_in_standby_though_a_part_waits():
    simulation = simulate(station(2, 9, 100.0), gap_s=4.0)
    simulation.decide((0,))
    simulation.run_to_decision()
    simulation.decide((1,))  # starts at 8 s, ends at 13 s
    simulation.run_to_decision()
    assert seen(simulation) == (12.0, ARRIVAL, 3, (START_UP, STANDBY))
    simulation.decide((0,))
    assert simulation.stations[0].states == [START_UP, STANDBY]  # never interrupted
    simulation.run_to_decision()
    assert seen(simulation) == (16.0, ARRIVAL, 4, (STANDBY, STANDBY))


def test_surplus_counts_busy_and_failed_machines():
    simulation = simulate(station(3, 9, 100.0), gap_s=10.0)
    simulation.decide((3,))
    simulation.run_to_decision()
    simulation.decide((2,))  # busy one and one of the two idle ones stay
    assert simulation.stations[0].states == [BUSY, BUSY, STANDBY]
    simulation.run_to_decision()
    simulation.decide((1,))  # both are busy: nothing can go
    assert simulation.stations[0].states == [BUSY, BUSY, STANDBY]
    assert follow(simulation, 1, decisions=7)[-1] == (100.0, ARRIVAL, 8, (BUSY, BUSY, STANDBY))
    simulation.decide((1,))
    simulation.run_to_decision()
    assert seen(simulation) == (110.0, DEPARTURE, 8, (IDLE, BUSY, STANDBY))
    simulation.decide((1,))
    assert simulation.stations[0].states == [STANDBY, BUSY, STANDBY]


def test_index_assignment_keeps_the_machines_below_n():
    simulation = simulate(station(3, 9, 100.0), gap_s=10.0, assignment="index")
    simulation.decide((3,))
    simulation.run_to_decision()
    simulation.decide((1,))  # machines 1 and 2 are idle and go off; machine 0 is busy, so the part waits
    assert simulation.stations[0].states == [BUSY, STANDBY, STANDBY]
    assert simulation.stations[0].parts == 1
    simulation.run_to_decision()
    simulation.decide((2,))
    assert simulation.stations[0].states == [BUSY, START_UP, STANDBY]
    simulation.run_to_decision()
    simulation.decide((0,))  # both busy by now, with indices that are not to be on
    assert simulation.stations[0].states == [BUSY, BUSY, STANDBY]
    sights = follow(simulation, 0, decisions=8)
    assert sights[-2] == (
        110.0,
        DEPARTURE,
        8,
        (STANDBY, BUSY, STANDBY),
    )  # off at the end of its job, before the decision
    assert sights[-1][:2] == (110.0, ARRIVAL)


def test_the_number_in_force_counts_at_the_end_of_a_job_under_index():
    """Without a decision of its own in between, the last number decides; a larger one at the departure is too late."""
    simulation = simulate(station(1, 9, 15.0), gap_s=10.0, assignment="index")
    simulation.decide((1,))
    simulation.run_to_decision()
    simulation.decide((0,))
    simulation.run_to_decision()
    assert seen(simulation) == (25.0, DEPARTURE, 1, (STANDBY,))
    simulation.decide((1,))
    assert simulation.stations[0].states == [STANDBY]
    simulation.run_to_decision()
    simulation.decide((1,))
    assert simulation.stations[0].states == [START_UP]


def test_a_line_blocks_starves_and_releases():
    """Jobs of 10 s, then of 25 s behind one place: the first station is blocked until the second takes a part."""
    simulation = simulate(station(2, 3, 10.0), station(1, 1, 25.0), gap_s=8.0)
    assert seen(simulation) == (8.0, ARRIVAL, 1, (IDLE, IDLE), 0, (IDLE,))
    assert follow(simulation, 2, 1, decisions=8) == [
        (16.0, ARRIVAL, 1, (BUSY, IDLE), 0, (IDLE,)),
        (18.0, DEPARTURE, 0, (IDLE, BUSY), 1, (IDLE,)),  # handed over; the second station works until 43
        (24.0, ARRIVAL, 1, (IDLE, BUSY), 0, (BUSY,)),
        (26.0, DEPARTURE, 0, (BUSY, IDLE), 1, (BUSY,)),
        (32.0, ARRIVAL, 1, (BUSY, IDLE), 1, (BUSY,)),
        (40.0, ARRIVAL, 1, (BLOCKED, BUSY), 1, (BUSY,)),  # blocked since 34
        (43.0, DEPARTURE, 1, (BLOCKED, BLOCKED), 1, (IDLE,)),  # out of the plant; the second one blocked since 42
        (43.0, DEPARTURE, 1, (IDLE, BLOCKED), 1, (BUSY,)),  # its taking a part releases the longest blocked
    ]
    assert simulation.parts_made == 1
    # blocked machines are booked as idle: 8 + 6 + 9, 16 + 6 + 1, and the second station 18 machine-seconds
    assert simulation.energy_by_state_kj() == pytest.approx((0, 0, 9.0 * (23 + 23 + 18), 15.0 * (20 + 20 + 25), 0))
    assert simulation.machines_by_state().tolist() == [0, 0, 2, 1, 0]
    assert simulation.power_kw() == 9.0 * 2 + 15.0


def test_the_longest_blocked_machine_goes_first():
    simulation = simulate(station(3, 3, 10.0), station(1, 1, 100.0), gap_s=4.0)
    released: list[int] = []
    blocked_then: list[int] = []
    for _ in range(300):
        before = [i for i, state in enumerate(simulation.stations[0].states) if state == BLOCKED]
        simulation.decide((3, 1))
        simulation.run_to_decision()
        after = [i for i, state in enumerate(simulation.stations[0].states) if state == BLOCKED]
        released += [i for i in before if i not in after]
        blocked_then += [i for i in after if i not in before]
        assert simulation.stations[1].parts <= 1
    assert len(released) > 5
    assert released == blocked_then[: len(released)]


def test_a_line_with_everything_off_comes_back():
    """Full buffers and blocked machines everywhere: arrivals at the plant still let the second station start."""
    simulation = simulate(station(2, 2, 5.0), station(2, 1, 5.0), gap_s=10.0)
    for _ in range(30):
        simulation.decide((2, 0))
        simulation.run_to_decision()
    assert simulation.event == DISCARD
    assert simulation.stations[0].states == [BLOCKED, BLOCKED]
    assert simulation.stations[1].states == [STANDBY, STANDBY]
    for _ in range(30):
        simulation.decide((2, 2))
        simulation.run_to_decision()
    assert simulation.parts_made > 5


DAY = Profile((0.0, 100.0, 300.0), (1.0, 0.0, 2.0), period_s=400.0)
JUMP = Profile((0.0, 1000.0), (2.0, 0.5))


@pytest.mark.parametrize(
    ("profile", "now_s", "operational_s", "expected_s"),
    [
        (DAY, 0.0, 50.0, 50.0),
        (DAY, 50.0, 50.0, 50.0),
        (DAY, 50.0, 60.0, 50.0 + 200.0 + 5.0),  # 50 s at 1, then nothing for 200 s, then 10 at 2
        (DAY, 150.0, 0.5, 150.0 + 0.25),
        (DAY, 350.0, 100.0, 50.0),
        (DAY, 350.0, 103.0, 53.0),
        (DAY, 400.0 * 7 + 350.0, 103.0 + 300.0 * 5, 53.0 + 400.0 * 5),  # five cycles of 300 more
        (DAY, -50.0, 103.0, 53.0),  # before the clock's 0 the cycle goes on backwards
        (JUMP, -100.0, 10.0, 5.0),  # before 0 the first factor holds
        (JUMP, -100.0, 300.0, 150.0),
        (JUMP, 990.0, 20.0, 10.0),
        (JUMP, 990.0, 21.0, 12.0),
        (JUMP, -10.0, 2.0 * 1010.0 + 7.0, 1010.0 + 14.0),
        (JUMP, 5000.0, 1.0, 2.0),
    ],
)
def test_demand_follows_its_profile(profile, now_s, operational_s, expected_s):
    assert operational_to_clock_s(profile, now_s, operational_s) == pytest.approx(expected_s, abs=1e-9)


def test_arrivals_follow_a_profile_in_the_plant():
    """Deterministic gaps of 10 s at the nominal rate; the rate doubles from 100 s on."""
    plant = Plant("jump", Arrivals(fixed(10.0), Profile((0.0, 100.0), (1.0, 2.0))), (station(1, 50, 1.0),))
    simulation = PlantSimulation(plant, "pooled", np.random.default_rng(0), start_s=20.0)
    arrivals = []
    while simulation.clock.now < 125.0:
        simulation.run_to_decision()
        if simulation.event == ARRIVAL:
            arrivals.append(simulation.clock.now)
        simulation.decide((1,))
    expected = [*range(-10, 101, 10), 105, 110, 115, 120, 125]
    assert arrivals == pytest.approx([float(t) for t in expected])
    assert simulation.parts_arrived == len([t for t in expected if t >= 0])  # counted from the end of the start phase
