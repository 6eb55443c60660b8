"""The electricity meter of a workstation: power times time, exactly, by machine state."""

from __future__ import annotations

import numpy as np

from envs.energy_control.config import BLOCKED, IDLE, Powers


class Meter:
    """Counts machines by state and integrates their power over time.

    E_s(t) = P_s · ∫ n_s dt, with n_s the number of machines in state s; exact, since n_s is constant between changes.
    Times are in seconds, energies in kJ, powers in kW.
    """

    __slots__ = (
        "_busy",
        "_failed",
        "_idle",
        "_powers_kw",
        "_standby",
        "_start_up",
        "_time_s",
        "counts",
        "counts_array",
    )

    def __init__(self, powers: Powers, counts: list[int], time_s: float) -> None:
        self._powers_kw = powers.by_state_kw
        self.counts = counts
        """Machines by state, in the order of `config.STATES`, then the blocked ones; these are booked as idle."""
        self.counts_array = np.array(counts)
        """The same as an array, for whoever looks at the plant (an array is copied fastest)."""
        self._time_s = time_s
        self._standby = self._start_up = self._idle = self._busy = self._failed = 0.0

    def change(self, old: int, new: int, now_s: float) -> None:
        """A machine goes from state `old` to `new` at time `now_s`."""
        counts = self.counts
        if now_s != self._time_s:
            self.advance(now_s)
        shown = self.counts_array
        shown[old] = counts[old] = counts[old] - 1
        shown[new] = counts[new] = counts[new] + 1

    def advance(self, now_s: float) -> None:
        """Integrate up to `now_s`."""
        elapsed_s = now_s - self._time_s
        self._time_s = now_s
        # machine-seconds by state, written out: this runs at every decision
        standby, start_up, idle, busy, failed, blocked = self.counts
        self._standby += standby * elapsed_s
        self._start_up += start_up * elapsed_s
        self._idle += (idle + blocked) * elapsed_s
        self._busy += busy * elapsed_s
        self._failed += failed * elapsed_s

    def energy_kj(self, now_s: float) -> tuple[float, float, float, float, float]:
        """Energy used since the last restart by state, up to `now_s`."""
        if now_s != self._time_s:
            self.advance(now_s)
        standby_kw, start_up_kw, idle_kw, busy_kw, failed_kw = self._powers_kw
        return (
            standby_kw * self._standby,
            start_up_kw * self._start_up,
            idle_kw * self._idle,
            busy_kw * self._busy,
            failed_kw * self._failed,
        )

    def power_kw(self) -> float:
        """Power at this moment."""
        counts = [*self.counts[:IDLE], self.counts[IDLE] + self.counts[BLOCKED], *self.counts[IDLE + 1 : BLOCKED]]
        return sum(n * kw for n, kw in zip(counts, self._powers_kw, strict=True))

    def restart(self, now_s: float) -> float:
        """Begin anew at `now_s`; returns the energy used until then."""
        energy_kj = sum(self.energy_kj(now_s))
        self._standby = self._start_up = self._idle = self._busy = self._failed = 0.0
        return energy_kj
