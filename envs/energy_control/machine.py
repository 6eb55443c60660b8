"""A machine of a workstation: it starts up, works, fails, is repaired, and is switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import simpy
from simpy.events import NORMAL, URGENT, EventPriority

from envs.energy_control.config import BUSY, FAILED, IDLE, STANDBY, START_UP, Distribution

if TYPE_CHECKING:
    from envs.energy_control.workstation import Workstation

BATCH = 256


class Alarm(simpy.Event):
    """A timeout that is set again and again, so that no event object is made for each job."""

    def __init__(self, clock: simpy.Environment, on_ring: Callable[[simpy.Event], None]) -> None:
        super().__init__(clock)
        self._ok, self._value = True, None
        self._on_ring = [on_ring]

    def set(self, delay_s: float, priority: EventPriority = NORMAL) -> None:
        """Ring once, `delay_s` seconds from now."""
        self.callbacks = self._on_ring  # SimPy takes the callbacks away when the event has happened
        self.env.schedule(self, priority, delay_s)


class Draws:
    """Random times of one distribution, drawn in batches."""

    __slots__ = ("_distribution", "_rng", "_times")

    def __init__(self, distribution: Distribution, rng: np.random.Generator) -> None:
        self._distribution, self._rng = distribution, rng
        self._times: list[float] = []

    def next_s(self) -> float:
        """The next time, in seconds."""
        if not self._times:
            self._times = self._distribution.sample(self._rng, BATCH).tolist()
        return self._times.pop()


class Machine:
    """One machine; its workstation gives it parts and switches it on and off."""

    __slots__ = ("_job_ends", "_life_s", "_released", "_repair_ends", "_start_up_ends", "index", "state", "station")

    def __init__(self, station: Workstation, index: int) -> None:
        self.station = station
        self.index = index
        self.state = IDLE
        self._life_s = station.lives.next_s() if station.lives else np.inf
        self._start_up_ends = Alarm(station.clock, self._started)
        self._job_ends = Alarm(station.clock, self._finished)
        self._repair_ends = Alarm(station.clock, self._repaired)
        self._released = Alarm(station.clock, self._finished)

    def enter(self, state: int) -> None:
        """Change state; the meter and the station's list of states follow."""
        station, index = self.station, self.index
        station.meter.change(self.state, state, station.clock.now)
        self.state = station.states[index] = station.states_array[index] = state

    def switch_on(self) -> None:
        """Start up from standby."""
        self.enter(START_UP)
        self._start_up_ends.set(self.station.start_ups.next_s())

    def switch_off(self) -> None:
        """Go to standby."""
        self.enter(STANDBY)

    def take_part(self) -> None:
        """Begin a job, unless worn out: then fail first, with the part in the machine."""
        if self._life_s > 0.0:
            job_s = self.station.jobs.next_s()
            self._life_s -= job_s
            self.enter(BUSY)
            self._job_ends.set(job_s)
        else:
            self.enter(FAILED)
            self._repair_ends.set(self.station.repairs.next_s())

    def release(self) -> None:
        """End being blocked, before anything else happens at this instant."""
        self._released.set(0.0, URGENT)

    def _started(self, _: simpy.Event) -> None:
        self.station.start_up_ended(self)

    def _finished(self, _: simpy.Event) -> None:
        self.station.job_ended(self)

    def _repaired(self, _: simpy.Event) -> None:
        assert self.station.lives is not None
        self._life_s = self.station.lives.next_s()
        self.enter(BUSY)
        self._job_ends.set(self.station.jobs.next_s())  # the job after a repair uses up no life
