"""Workstations and the plant they form: parts, machines and time, on SimPy.

What happens at one instant, in this order:

1. One event: a part arrives, a job ends, a start-up ends or a repair ends. Events at the same instant follow the order
   in which they were set off; releases of blocked machines go first.
2. *Arrival*: the part joins the first buffer if there is room, otherwise it is discarded. A decision is due.
   *Job end*: the machine becomes idle and its part goes on (to the next buffer, or out). A decision is due. Without
   room in the next buffer the machine is blocked instead, and no decision is due. Index assignment: a machine with
   index >= n, n being in force, goes to standby at once instead of becoming idle.
   *Start-up end*: the machine goes to standby if it is surplus, otherwise it becomes idle and takes a waiting part.
   *Repair end*: the machine draws a new life and does its job.
3. The decision: how many machines of each station are to be on.
   Surplus: idle machines are switched off, highest index first (index assignment: those with index >= n).
   Deficit: standby machines start up, lowest index first, but only when a part arrives: at every station when one
   arrives at the plant (accepted or discarded), and at a station that is handed one by the station before.
4. Idle machines take waiting parts, lowest index first. A machine whose life is used up fails with the part in it.
5. Room in a buffer releases the machine that has been blocked longest; its departure is a decision of its own, at the
   same instant.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import simpy
from simpy.events import URGENT

from envs.energy_control.config import (
    ARRIVAL,
    BLOCKED,
    DEPARTURE,
    DISCARD,
    IDLE,
    STANDBY,
    Plant,
    Profile,
    Station,
)
from envs.energy_control.machine import Alarm, Draws, Machine
from envs.energy_control.meter import Meter

NO_EVENT = -1


class Workstation:
    """Machines in parallel behind one buffer; at the beginning all are idle and the buffer is empty."""

    def __init__(
        self, simulation: PlantSimulation, index: int, config: Station, pooled: bool, rng: np.random.Generator
    ) -> None:
        self.config = config
        self.index = index
        self.clock = simulation.clock
        self.parts = 0
        """Parts that wait in the buffer."""
        self.on = config.machines
        """Machines that are not in standby."""
        self.target = config.machines
        """Machines to be on, by the last decision."""
        self.downstream: Workstation | None = None
        self.states = [IDLE] * config.machines
        """States of the machines, for the station's own searches (a list is searched fastest) ..."""
        self.states_array = np.array(self.states)
        """... and the same as an array, for whoever looks at the plant (an array is copied fastest)."""
        self.meter = Meter(config.powers, [0, 0, config.machines, 0, 0, 0], self.clock.now)
        jobs, start_ups, repairs, lives = rng.spawn(4)
        self.jobs = Draws(config.processing, jobs)
        self.start_ups = Draws(config.start_up, start_ups)
        self.repairs = Draws(config.repair, repairs)
        self.lives = Draws(config.failure, lives) if config.failure else None
        self.machines = [Machine(self, i) for i in range(config.machines)]
        self._simulation = simulation
        self._pooled = pooled
        self._blocked: deque[Machine] = deque()
        self._blocked_upstream: deque[Machine] | None = None

    def feed(self, downstream: Workstation) -> None:
        """Send parts to the next workstation."""
        self.downstream = downstream
        downstream._blocked_upstream = self._blocked

    def keep_on(self, n: int, start_up: bool) -> None:
        """Switch idle machines off where more than `n` are on, and standby ones on where fewer are, if `start_up`."""
        self.target = n
        if not self._pooled:
            self._keep_on_by_index(n, start_up)
        elif self.on > n:
            for _ in range(min(self.on - n, self.states.count(IDLE))):
                last = len(self.states) - 1 - self.states[::-1].index(IDLE)
                self.machines[last].switch_off()
                self.on -= 1
        elif start_up:
            while self.on < n:
                self.machines[self.states.index(STANDBY)].switch_on()
                self.on += 1

    def _keep_on_by_index(self, n: int, start_up: bool) -> None:
        for machine in self.machines[n:]:
            if machine.state == IDLE:
                machine.switch_off()
                self.on -= 1
        if start_up:
            for machine in self.machines[:n]:
                if machine.state == STANDBY:
                    machine.switch_on()
                    self.on += 1

    def take_parts(self) -> None:
        """Give waiting parts to idle machines, lowest index first."""
        states = self.states
        while self.parts and IDLE in states:
            self.parts -= 1
            self.machines[states.index(IDLE)].take_part()
            if self._blocked_upstream:
                self._blocked_upstream.popleft().release()

    def start_up_ended(self, machine: Machine) -> None:
        """A surplus machine goes to standby, any other becomes idle and takes a waiting part."""
        surplus = self.on > self.target if self._pooled else machine.index >= self.target
        if surplus:
            machine.switch_off()
            self.on -= 1
        else:
            machine.enter(IDLE)
            self.take_parts()

    def job_ended(self, machine: Machine) -> None:
        """Send the part on, or block the machine with it while there is no room downstream."""
        downstream = self.downstream
        if downstream is not None:
            if downstream.parts == downstream.config.buffer:
                machine.enter(BLOCKED)
                self._blocked.append(machine)
                return
            downstream.parts += 1
        if self._pooled or machine.index < self.target:
            machine.enter(IDLE)
        else:
            machine.switch_off()
            self.on -= 1
        self._simulation.part_left(self)


class PlantSimulation:
    """A plant in simulated time; it runs from decision to decision.

    The clock begins at `-start_s`, so that it is 0 when the start phase ends.
    """

    def __init__(self, plant: Plant, assignment: str, rng: np.random.Generator, start_s: float = 0.0) -> None:
        self.plant = plant
        self.clock = simpy.Environment(-start_s)
        self.event = NO_EVENT
        """Kind of the decision that is due: ARRIVAL, DEPARTURE or DISCARD, or NO_EVENT."""
        self.parts_arrived = 0
        self.parts_made = 0
        self.parts_discarded = 0
        streams = rng.spawn(1 + len(plant.stations))
        self.stations = [
            Workstation(self, i, station, assignment == "pooled", stream)
            for i, (station, stream) in enumerate(zip(plant.stations, streams[1:], strict=True))
        ]
        for upstream, downstream in itertools.pairwise(self.stations):
            upstream.feed(downstream)
        self._only = self.stations[0] if len(self.stations) == 1 else None  # a short cut past the loops over stations
        self._fed = -1
        self._gaps = Draws(plant.arrivals.interarrival, streams[0])
        self._profile = plant.arrivals.profile
        self.start_energy_kj = 0.0
        """Energy used in the start phase; the meters begin anew when it ends."""
        self.start_parts = 0
        """Parts made in the start phase."""
        if start_s > 0.0:
            Alarm(self.clock, self._start_phase_ends).set(start_s, URGENT)
        self._next_part = Alarm(self.clock, self._part_arrives)
        self._next_part.set(self._next_gap_s())

    def run_to_decision(self) -> None:
        """Let time pass until a decision is due."""
        step = self.clock.step
        self.event = NO_EVENT
        while self.event == NO_EVENT:
            step()

    def decide(self, targets: Sequence[int]) -> None:
        """Take the decision that is due: machines to be on, for each station."""
        if self._only is not None:
            self._only.keep_on(targets[0], self._fed == 0)
            if self._only.parts:
                self._only.take_parts()
            return
        for station in self.stations:
            station.keep_on(targets[station.index], self._fed in (0, station.index))
        for station in self.stations:
            station.take_parts()

    def energy_by_state_kj(self) -> tuple[float, ...]:
        """Energy used since clock 0 (before it: since the beginning) in each state of `config.STATES`."""
        now_s = self.clock.now
        if self._only is not None:
            return self._only.meter.energy_kj(now_s)
        return tuple(map(sum, zip(*(station.meter.energy_kj(now_s) for station in self.stations), strict=True)))

    def machines_by_state(self) -> np.ndarray:
        """Machines in each state of `config.STATES`; blocked ones count as idle."""
        if self._only is not None:
            return self._only.meter.counts_array[:BLOCKED].copy()  # nothing blocks a single station
        counts = sum(station.meter.counts_array for station in self.stations[1:]) + self.stations[0].meter.counts_array
        counts[IDLE] += counts[BLOCKED]
        return counts[:BLOCKED]

    def power_kw(self) -> float:
        """Power at this moment."""
        return sum(station.meter.power_kw() for station in self.stations)

    def part_left(self, station: Workstation) -> None:
        """A machine of `station` has finished and its part has gone on."""
        self.event = DEPARTURE
        if station.downstream is None:
            self.parts_made += 1
            self._fed = -1
        else:
            self._fed = station.index + 1

    def _part_arrives(self, _: simpy.Event) -> None:
        self._next_part.set(self._next_gap_s())
        self.parts_arrived += 1
        self._fed = 0
        first = self.stations[0]
        if first.parts < first.config.buffer:
            first.parts += 1
            self.event = ARRIVAL
        else:
            self.parts_discarded += 1
            self.event = DISCARD

    def _start_phase_ends(self, _: simpy.Event) -> None:
        self.start_energy_kj = sum(station.meter.restart(self.clock.now) for station in self.stations)
        self.start_parts = self.parts_made
        self.parts_arrived = self.parts_made = self.parts_discarded = 0

    def _next_gap_s(self) -> float:
        gap_s = self._gaps.next_s()
        if self._profile is None:
            return gap_s
        return operational_to_clock_s(self._profile, self.clock.now, gap_s)


def operational_to_clock_s(profile: Profile, now_s: float, operational_s: float) -> float:
    """Clock seconds from `now_s` in which the integral of the profile's factor reaches `operational_s`."""
    periodic = not math.isinf(profile.period_s)
    place_s = now_s % profile.period_s if periodic else max(now_s, 0.0)
    passed_s = place_s - now_s if now_s < 0.0 and not periodic else 0.0
    operational_s -= passed_s * profile.factors[0]  # before 0 the first factor holds
    if operational_s <= 0.0:
        return passed_s + operational_s / profile.factors[0] if profile.factors[0] else 0.0
    ends_s = (*profile.times_s[1:], profile.period_s)
    i = bisect.bisect_right(profile.times_s, place_s) - 1
    while operational_s > profile.factors[i] * (ends_s[i] - place_s):
        operational_s -= profile.factors[i] * (ends_s[i] - place_s)
        passed_s += ends_s[i] - place_s
        i = (i + 1) % len(ends_s)
        place_s = profile.times_s[i]
    return passed_s + operational_s / profile.factors[i]
