"""The compiled plant: the same as `workstation.py` event for event, many at once, in arrays of records.

`advance` is the simulator: it takes the decision that is due, then runs a plant to the next one. The arrays of `Plants`
hold all state, so copying them copies the plants, random numbers included. Each plant owns six streams of SplitMix64
(Steele, Lea and Flood, 2014): one for each kind of random time and one for the random start; so two policies on one
seed see the same arrivals.

Arguments that recur: `spec` (stations,) `SPEC`; `data` (any,) float64, empirical values and demand profile; `core` (N,)
`CORE`; `station` (N, stations) `STATION`; `machine` (N, machines) `MACHINE`; `ring` (N, room, 3) readings at the
decisions of the window: time, energy, parts made; `i` the plant; `s` the station; `k` the machine. They are arguments
of their own, not bundled, because compiled calls with bundles of arrays count references to each of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

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
    Plant,
)
from envs.energy_control.preference import SIGMOID_GAIN

ARRIVALS, PROCESSING, STARTING, LIFE, REPAIR, CHOICE = range(6)
"""Streams of random numbers; the first five are also the columns of a station's distributions."""
EXPONENTIAL, ERLANG, LOGNORMAL, DETERMINISTIC, EMPIRICAL = range(5)
"""Codes of `config.DISTRIBUTIONS`."""
NEVER_FAILS = -1
LIMIT = -1
"""What `advance` returns where it stopped at the time limit instead of at a decision."""
ALL_ON, RANDOM, EMPTY = range(3)
"""Kinds of start."""
SCORE, SCORE_LINEAR, INCREMENT = range(3)
"""Codes of `preference.REWARDS`."""
SIGMOID, LINEAR = range(2)
"""Codes of `preference.SCORES`."""
NEXT_STEP, SAME_STEP, DISABLED = range(3)
"""What happens at the end of an episode, as Gymnasium defines it."""
AT_ONCE_S = -1e15
"""Due before anything else at this instant; the places in the queue of the blocked are added to it."""
RUNNING, STARTING_UP, ENDED = range(3)
"""Phases of an episode: running, in its start phase, truncated and to be reset by the next step."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53

_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}
compiled = njit(**_OPTIONS)
"""Without Numba's reference counts: nothing compiled here makes or keeps an array, and counting costs more than half
of the time."""

SPEC = np.dtype(
    [
        ("first", np.int64),  # index of the station's first machine, and of the end
        ("end", np.int64),
        ("capacity", np.int64),
        ("kw", np.float64, (6,)),  # power by state, blocked last
        ("kind", np.int64, (5,)),  # the five distributions
        ("mean_s", np.float64, (5,)),
        ("parameter", np.float64, (5,)),
        ("values_at", np.int64, (5,)),  # where an empirical distribution's values begin in `data`
        ("values", np.int64, (5,)),
        ("by_index", np.bool_),  # n on means those with index below n; this and the rest is the same at every station
        ("pieces", np.int64),  # of the demand profile, or 0; its times, then its factors, begin at `profile_at`
        ("profile_at", np.int64),
        ("period_s", np.float64),
    ],
    align=True,
)

CORE = np.dtype(
    [
        ("time_s", np.float64),  # 0 at the end of the start phase
        ("next_arrival_s", np.float64),
        ("power_kw", np.float64),  # at this moment
        ("energy_kj", np.float64),  # since clock 0, as are the counts
        ("arrived", np.int64),
        ("made", np.int64),
        ("discarded", np.int64),
        ("started_up", np.int64),
        ("decisions", np.int64),  # taken
        ("event", np.int64),  # kind of the decision that is due, or `LIMIT`
        ("fed", np.int64),  # station where a part has just arrived, or -1
        ("blocked", np.int64),  # machines ever blocked: the next one's place in the queue
        ("fade_weight", np.float64),  # the exponential average of `preference.py`
        ("fade_kw", np.float64),
        ("fade_parts_per_s", np.float64),
        ("read_s", np.float64),  # its last reading
        ("read_kj", np.float64),
        ("read_made", np.int64),
        ("head", np.int64),  # ring: where the next reading goes, and the reading at the window's beginning
        ("tail", np.int64),
        ("tail_s", np.float64),  # what stands there, kept at hand because the ring is out of the processor's caches
        ("tail_kj", np.float64),
        ("tail_made", np.float64),
        ("next_s", np.float64),  # and the time of the reading after it
        ("phase", np.int64),
        ("start", np.int64),  # kind of start
        ("rng", np.uint64, (6,)),
    ],
    align=True,
)

STATION = np.dtype(
    [
        ("buffer", np.int64),
        ("keep_on", np.int64),  # by the last decision
        ("count", np.int64, (6,)),  # machines by state
        ("state_s", np.float64, (6,)),  # machine-seconds by state since clock 0
    ],
    align=True,
)

MACHINE = np.dtype(
    [
        ("due_s", np.float64),  # when its start-up, job or repair ends; infinite if nothing is under way
        ("life_s", np.float64),  # busy time left before the next failure
        ("state", np.int64),
        ("place", np.int64),  # in the queue of the blocked ones
    ],
    align=True,
)

TASK = np.dtype(
    [
        ("full_parts_per_min", np.float64),  # production score 1
        ("full_kw", np.float64),  # energy score 0
        ("window_s", np.float64),  # window, or time constant of the exponential average
        ("exponential", np.bool_),
        ("score", np.int64),
        ("reward", np.int64),
        ("phi", np.float64),
        ("weight_kj_per_part", np.float64),
        ("increment_scale", np.float64),
        ("episode_decisions", np.int64),
        ("episode_s", np.float64),
        ("autoreset", np.int64),
    ],
    align=True,
)

SHOWN = np.dtype(
    [
        ("time_s", np.float64),
        ("elapsed_s", np.float64),
        ("parts_made", np.int64),
        ("parts_discarded", np.int64),
        ("parts_arrived", np.int64),
        ("energy_kj", np.float64),
        ("energy_by_state_kj", np.float64, (5,)),
        ("made", np.int64),
        ("lost", np.int64),
        ("used_kj", np.float64),
        ("wasted_kj", np.float64),
        ("machines_by_state", np.int64, (5,)),
        ("window_parts_per_min", np.float64),
        ("window_kw", np.float64),
        ("event", np.int64),
        ("reward", np.float64),
        ("truncated", np.bool_),
    ],
    align=True,
)
"""What a plant shows at a decision, but for the observation; all fields before the reward are keys of the info."""


def build_spec(plant: Plant, assignment: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Turn a plant into the arrays `spec` and `data`; `assignment` overrides the plant's own."""
    spec = np.zeros(len(plant.stations), dtype=SPEC)
    data: list[float] = []
    first = 0
    for row, station in zip(spec, plant.stations, strict=True):
        row["first"], row["end"] = first, first + station.machines
        first += station.machines
        row["capacity"] = station.buffer
        row["kw"] = (*station.powers.by_state_kw, station.powers.idle_kw)
        times = (plant.arrivals.interarrival, station.processing, station.start_up, station.failure, station.repair)
        for column, distribution in enumerate(times):
            if distribution is None:
                row["kind"][column] = NEVER_FAILS
                continue
            row["kind"][column] = distribution.code
            row["mean_s"][column], row["parameter"][column] = distribution.mean_s, distribution.parameter
            row["values_at"][column], row["values"][column] = len(data), len(distribution.values)
            data.extend(distribution.values)
    spec["by_index"] = (assignment or plant.assignment) == "index"
    spec["period_s"] = math.inf
    profile = plant.arrivals.profile
    if profile is not None:
        spec["pieces"], spec["profile_at"], spec["period_s"] = len(profile.times_s), len(data), profile.period_s
        data.extend((*profile.times_s, *profile.factors))
    return spec, np.array(data, dtype=np.float64)


def streams(seed: int | None) -> np.ndarray:
    """Beginnings of a plant's streams of random numbers, from a seed or, without one, from the operating system."""
    return np.random.SeedSequence(seed).generate_state(6, np.uint64)


# Random times ---------------------------------------------------------------------------------------------------------


@compiled
def uniform(core: np.ndarray, i: int, stream: int) -> float:
    """Next number of a stream, in the open interval (0, 1)."""
    core[i].rng[stream] += _GAMMA
    z = core[i].rng[stream]
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z = z ^ (z >> np.uint64(31))
    return (np.int64(z >> np.uint64(11)) + 0.5) * _TO_UNIT


@compiled
def draw_s(spec: np.ndarray, data: np.ndarray, core: np.ndarray, i: int, s: int, stream: int) -> float:
    """Draw a time of station `s` in seconds."""
    kind, mean_s = spec[s].kind[stream], spec[s].mean_s[stream]
    if kind == EXPONENTIAL:
        return -mean_s * math.log(uniform(core, i, stream))
    if kind == DETERMINISTIC:
        return mean_s
    parameter = spec[s].parameter[stream]
    if kind == ERLANG:
        total = 0.0
        for _ in range(int(parameter)):
            total -= math.log(uniform(core, i, stream))
        return mean_s / parameter * total
    if kind == LOGNORMAL:
        radius = math.sqrt(-2.0 * math.log(uniform(core, i, stream)))
        normal = radius * math.cos(2.0 * math.pi * uniform(core, i, stream))
        return mean_s * math.exp(parameter * normal - 0.5 * parameter * parameter)
    return data[spec[s].values_at[stream] + int(spec[s].values[stream] * uniform(core, i, stream))]


@compiled
def next_arrival_s(spec: np.ndarray, data: np.ndarray, core: np.ndarray, i: int) -> float:
    """Time of the next arrival seen from now: the interarrival time passes in operational time."""
    rest_s = draw_s(spec, data, core, i, 0, ARRIVALS)
    now_s = core[i].time_s
    pieces, at, period_s = spec[0].pieces, spec[0].profile_at, spec[0].period_s
    if pieces == 0:
        return now_s + rest_s
    base_s = 0.0 if math.isinf(period_s) else math.floor(now_s / period_s) * period_s
    k = 0
    while k + 1 < pieces and base_s + data[at + k + 1] <= now_s:
        k += 1
    while True:
        end_s = base_s + (data[at + k + 1] if k + 1 < pieces else period_s)
        factor = data[at + pieces + k]
        if factor > 0.0 and factor * (end_s - now_s) >= rest_s:
            return now_s + rest_s / factor
        rest_s -= factor * (end_s - now_s)
        now_s = end_s
        k += 1
        if k == pieces:
            k = 0
            base_s += period_s


# The plant ------------------------------------------------------------------------------------------------------------


@compiled
def enter(station: np.ndarray, machine: np.ndarray, i: int, s: int, k: int, state: int, due_s: float) -> None:
    """Put a machine into another state, to be left at `due_s`."""
    station[i, s].count[machine[i, k].state] -= 1
    station[i, s].count[state] += 1
    machine[i, k].state = state
    machine[i, k].due_s = due_s


@compiled
def begin_job(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    i: int,
    s: int,
    k: int,
) -> float:
    """Begin a job; its time in seconds."""
    job_s = draw_s(spec, data, core, i, s, PROCESSING)
    enter(station, machine, i, s, k, BUSY, core[i].time_s + job_s)
    return job_s


@compiled
def take_parts(
    spec: np.ndarray, data: np.ndarray, core: np.ndarray, station: np.ndarray, machine: np.ndarray, i: int, s: int
) -> None:
    """Idle machines take waiting parts, lowest index first; one whose life is used up fails with the part in it."""
    k = spec[s].first
    while station[i, s].buffer > 0 and station[i, s].count[IDLE] > 0:
        while machine[i, k].state != IDLE:
            k += 1
        station[i, s].buffer -= 1
        if spec[s].kind[LIFE] != NEVER_FAILS and machine[i, k].life_s <= 0.0:
            enter(station, machine, i, s, k, FAILED, core[i].time_s + draw_s(spec, data, core, i, s, REPAIR))
        else:
            machine[i, k].life_s -= begin_job(spec, data, core, station, machine, i, s, k)
        if s > 0 and station[i, s - 1].count[BLOCKED] > 0:
            release(spec, core, machine, i, s - 1)


@compiled
def release(spec: np.ndarray, core: np.ndarray, machine: np.ndarray, i: int, s: int) -> None:
    """Let the machine of station `s` that has been blocked longest, and is not released yet, send its part on."""
    longest = -1
    for k in range(spec[s].first, spec[s].end):
        waits = machine[i, k].state == BLOCKED and math.isinf(machine[i, k].due_s)
        if waits and (longest < 0 or machine[i, k].place < machine[i, longest].place):
            longest = k
    if longest >= 0:
        machine[i, longest].due_s = AT_ONCE_S + machine[i, longest].place


@compiled
def start_up(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    i: int,
    s: int,
    k: int,
) -> None:
    """Start a machine up."""
    enter(station, machine, i, s, k, START_UP, core[i].time_s + draw_s(spec, data, core, i, s, STARTING))
    core[i].started_up += 1


@compiled
def keep_on(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    i: int,
    s: int,
    n: int,
) -> None:
    """Put `n` machines on into force: idle surplus goes off; what lacks starts up, if a part has just arrived here."""
    first, end = spec[s].first, spec[s].end
    station[i, s].keep_on = n
    # an arrival at the plant (station 0) lets every station start machines up, so that no line locks
    may_start = (core[i].fed == 0 or core[i].fed == s) and station[i, s].count[STANDBY] > 0
    if spec[s].by_index:
        if station[i, s].count[IDLE] > 0:
            for k in range(first + n, end):
                if machine[i, k].state == IDLE:
                    enter(station, machine, i, s, k, STANDBY, np.inf)
        if may_start:
            for k in range(first, first + n):
                if machine[i, k].state == STANDBY:
                    start_up(spec, data, core, station, machine, i, s, k)
        return
    surplus = end - first - station[i, s].count[STANDBY] - n
    if surplus > 0:
        k = end
        while surplus > 0 and station[i, s].count[IDLE] > 0:
            k -= 1
            if machine[i, k].state == IDLE:
                enter(station, machine, i, s, k, STANDBY, np.inf)
                surplus -= 1
    elif may_start:
        k = first
        while surplus < 0:
            if machine[i, k].state == STANDBY:
                start_up(spec, data, core, station, machine, i, s, k)
                surplus += 1
            k += 1


@compiled
def end_activity(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    i: int,
    s: int,
    k: int,
) -> bool:
    """End a machine's start-up, repair, job or blockage; whether a part has left it."""
    state = machine[i, k].state
    if state in (BUSY, BLOCKED):
        if s + 1 < spec.shape[0]:
            if station[i, s + 1].buffer == spec[s + 1].capacity:
                machine[i, k].place = core[i].blocked
                core[i].blocked += 1
                enter(station, machine, i, s, k, BLOCKED, np.inf)
                return False
            station[i, s + 1].buffer += 1
            core[i].fed = s + 1
        else:
            core[i].made += 1
            core[i].fed = -1
        # By index, a machine that is not to be on goes off before the decision that its departure brings.
        off = spec[s].by_index and k - spec[s].first >= station[i, s].keep_on
        enter(station, machine, i, s, k, STANDBY if off else IDLE, np.inf)
        return True
    if state == FAILED:
        # The job that follows a repair uses up no life.
        machine[i, k].life_s = draw_s(spec, data, core, i, s, LIFE)
        begin_job(spec, data, core, station, machine, i, s, k)
        return False
    if spec[s].by_index:
        surplus = k - spec[s].first >= station[i, s].keep_on
    else:
        surplus = spec[s].end - spec[s].first - station[i, s].count[STANDBY] > station[i, s].keep_on
    if surplus:
        enter(station, machine, i, s, k, STANDBY, np.inf)
    else:
        enter(station, machine, i, s, k, IDLE, np.inf)
        take_parts(spec, data, core, station, machine, i, s)
    return False


@compiled
def power_kw(spec: np.ndarray, station: np.ndarray, i: int) -> float:
    """Power at this moment, summed afresh so that no rounding piles up."""
    kw = 0.0
    for s in range(spec.shape[0]):
        for state in range(6):
            kw += station[i, s].count[state] * spec[s].kw[state]
    return kw


@compiled
def pass_time(core: np.ndarray, station: np.ndarray, i: int, until_s: float) -> None:
    """Book power × time up to `until_s`."""
    duration_s = until_s - core[i].time_s
    core[i].time_s = until_s
    core[i].energy_kj += core[i].power_kw * duration_s
    for s in range(station.shape[1]):
        for state in range(6):
            station[i, s].state_s[state] += station[i, s].count[state] * duration_s


@compiled
def advance(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    i: int,
    targets: np.ndarray,
    limit_s: float,
) -> int:
    """Take the decision that is due, if one is, with row `i` of `targets`, then run to the next one or to `limit_s`.

    Returns the kind of the next decision, or `LIMIT`. At one instant, releases of blocked machines go first, then
    machines, then arrivals.
    """
    if core[i].event != LIMIT:
        for s in range(spec.shape[0]):
            keep_on(spec, data, core, station, machine, i, s, targets[i, s])
        for s in range(spec.shape[0]):
            take_parts(spec, data, core, station, machine, i, s)
        core[i].power_kw = power_kw(spec, station, i)
    while True:
        due_s, k = np.inf, -1
        for m in range(machine.shape[1]):
            if machine[i, m].due_s < due_s:
                due_s, k = machine[i, m].due_s, m
        next_s = max(min(due_s, core[i].next_arrival_s), core[i].time_s)
        if next_s > limit_s:
            pass_time(core, station, i, limit_s)
            core[i].event = LIMIT
            return LIMIT
        pass_time(core, station, i, next_s)
        if core[i].next_arrival_s < due_s:
            core[i].next_arrival_s = next_arrival_s(spec, data, core, i)
            core[i].arrived += 1
            core[i].fed = 0
            if station[i, 0].buffer < spec[0].capacity:
                station[i, 0].buffer += 1
                core[i].event = ARRIVAL
            else:
                core[i].discarded += 1
                core[i].event = DISCARD
            return core[i].event
        s = 0
        while k >= spec[s].end:
            s += 1
        left = end_activity(spec, data, core, station, machine, i, s, k)
        core[i].power_kw = power_kw(spec, station, i)
        if left:
            core[i].event = DEPARTURE
            return DEPARTURE


# Start, meter and scores ----------------------------------------------------------------------------------------------


@compiled
def begin(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    ring: np.ndarray,
    i: int,
    start: int,
    start_s: float,
) -> None:
    """Put a plant at the beginning of its start phase: all machines idle, no parts."""
    for s in range(spec.shape[0]):
        station[i, s].buffer = 0
        station[i, s].keep_on = spec[s].end - spec[s].first
        for state in range(6):
            station[i, s].count[state] = 0
        station[i, s].count[IDLE] = spec[s].end - spec[s].first
        for k in range(spec[s].first, spec[s].end):
            machine[i, k].state = IDLE
            machine[i, k].due_s = np.inf
            machine[i, k].life_s = np.inf
            if spec[s].kind[LIFE] != NEVER_FAILS:
                machine[i, k].life_s = draw_s(spec, data, core, i, s, LIFE)
    core[i].time_s = -start_s
    core[i].event = LIMIT
    core[i].fed = -1
    core[i].start = start
    core[i].phase = STARTING_UP
    core[i].blocked = 0
    core[i].power_kw = power_kw(spec, station, i)
    core[i].next_arrival_s = next_arrival_s(spec, data, core, i)
    core[i].fade_weight = core[i].fade_kw = core[i].fade_parts_per_s = 0.0
    core[i].read_s, core[i].read_kj, core[i].read_made = -start_s, 0.0, 0
    core[i].energy_kj, core[i].made = 0.0, 0
    ring[i, 0, 0] = core[i].tail_s = -start_s
    ring[i, 0, 1] = ring[i, 0, 2] = core[i].tail_kj = core[i].tail_made = 0.0
    core[i].head, core[i].tail = 1, 0
    zero_meter(core, station, ring, i)


@compiled
def zero_meter(core: np.ndarray, station: np.ndarray, ring: np.ndarray, i: int) -> None:
    """Count anew; the readings of the window are restated, so that it still reaches back."""
    wrap = ring.shape[1] - 1
    for reading in range(core[i].tail, core[i].head):
        ring[i, reading & wrap, 1] -= core[i].energy_kj
        ring[i, reading & wrap, 2] -= core[i].made
    core[i].tail_kj -= core[i].energy_kj
    core[i].tail_made -= core[i].made
    core[i].read_kj -= core[i].energy_kj
    core[i].read_made -= core[i].made
    core[i].energy_kj = 0.0
    core[i].arrived = core[i].made = core[i].discarded = core[i].started_up = core[i].decisions = 0
    for s in range(station.shape[1]):
        for state in range(6):
            station[i, s].state_s[state] = 0.0


@compiled
def is_full(core: np.ndarray, ring: np.ndarray, i: int) -> bool:
    """Whether the ring has no room for a reading more."""
    return core[i].head - core[i].tail + 1 > ring.shape[1]


@compiled
def run_start_phase(
    spec: np.ndarray,
    data: np.ndarray,
    task: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    ring: np.ndarray,
    i: int,
    targets: np.ndarray,
) -> bool:
    """Run a plant to its first decision after clock 0; False where the ring is full: grow it and call again."""
    for s in range(spec.shape[0]):
        targets[i, s] = spec[s].end - spec[s].first
    while core[i].time_s < 0.0:
        if is_full(core, ring, i):
            return False
        if core[i].start == RANDOM:
            for s in range(spec.shape[0]):
                targets[i, s] = int(uniform(core, i, CHOICE) * (spec[s].end - spec[s].first + 1))
        if advance(spec, data, core, station, machine, i, targets, 0.0) != LIMIT:
            average(task, core, ring, i)
    if is_full(core, ring, i):
        return False
    zero_meter(core, station, ring, i)
    advance(spec, data, core, station, machine, i, targets, np.inf)
    core[i].phase = RUNNING
    return True


@compiled
def average(task: np.ndarray, core: np.ndarray, ring: np.ndarray, i: int) -> tuple[float, float]:
    """Parts per minute and mean power as `preference.py` averages them, after the reading at this decision."""
    time_s, window_s = core[i].time_s, task[0].window_s
    if task[0].exponential:
        span_s = time_s - core[i].read_s
        if span_s > 0.0:
            fade = math.exp(-span_s / window_s)
            core[i].fade_weight = core[i].fade_weight * fade + 1.0 - fade
            core[i].fade_kw = core[i].fade_kw * fade + (1.0 - fade) * (core[i].energy_kj - core[i].read_kj) / span_s
            core[i].fade_parts_per_s *= fade
        core[i].fade_parts_per_s += (core[i].made - core[i].read_made) / window_s
        core[i].read_s, core[i].read_kj, core[i].read_made = time_s, core[i].energy_kj, core[i].made
        if core[i].fade_weight > 0.0:
            return 60.0 * core[i].fade_parts_per_s / core[i].fade_weight, core[i].fade_kw / core[i].fade_weight
        return 0.0, 0.0
    wrap = ring.shape[1] - 1
    at = core[i].head & wrap
    ring[i, at, 0] = time_s
    ring[i, at, 1] = core[i].energy_kj
    ring[i, at, 2] = core[i].made
    core[i].head += 1
    if core[i].head == core[i].tail + 2:
        core[i].next_s = time_s
    while core[i].next_s <= time_s - window_s:
        core[i].tail += 1
        core[i].tail_s = core[i].next_s
        core[i].tail_kj = ring[i, core[i].tail & wrap, 1]
        core[i].tail_made = ring[i, core[i].tail & wrap, 2]
        core[i].next_s = ring[i, (core[i].tail + 1) & wrap, 0]
    span_s = time_s - core[i].tail_s
    if span_s > 0.0:
        return 60.0 * (core[i].made - core[i].tail_made) / span_s, (core[i].energy_kj - core[i].tail_kj) / span_s
    return 0.0, 0.0


@compiled
def composite(kind: int, phi: float, r_prod: float, r_energy: float) -> float:
    """r_prod σ(20 r_energy), or φ r_prod + (1 − φ) r_energy."""
    if kind == SIGMOID:
        return r_prod / (1.0 + math.exp(-SIGMOID_GAIN * r_energy))
    return phi * r_prod + (1.0 - phi) * r_energy


@compiled
def work_kj(spec: np.ndarray, station: np.ndarray, i: int) -> float:
    """Energy of the busy machines since clock 0."""
    total_kj = 0.0
    for s in range(spec.shape[0]):
        total_kj += spec[s].kw[BUSY] * station[i, s].state_s[BUSY]
    return total_kj


@compiled
def observe(
    spec: np.ndarray,
    task: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    ring: np.ndarray,
    i: int,
    since_s: float,
    since_kj: float,
    since_work_kj: float,
    since_made: int,
    since_discarded: int,
    buffers: np.ndarray,
    machines: np.ndarray,
    scores: np.ndarray,
    shown: np.ndarray,
) -> None:
    """Read the meter at a plant's decision and fill in its row of observation, info and reward."""
    for s in range(spec.shape[0]):
        buffers[i, s] = station[i, s].buffer
    for k in range(machine.shape[1]):
        machines[i, k] = machine[i, k].state
    parts_per_min, kw = average(task, core, ring, i)
    r_prod = min(parts_per_min / task[0].full_parts_per_min, 1.0)
    r_energy = max(1.0 - kw / task[0].full_kw, 0.0)
    score = composite(task[0].score, task[0].phi, r_prod, r_energy)
    scores[i, 0] = r_prod
    scores[i, 1] = r_energy
    scores[i, 2] = score
    made, used_kj = core[i].made - since_made, core[i].energy_kj - since_kj
    shown[i].time_s = core[i].time_s
    shown[i].elapsed_s = core[i].time_s - since_s
    shown[i].parts_made = core[i].made
    shown[i].parts_discarded = core[i].discarded
    shown[i].parts_arrived = core[i].arrived
    shown[i].energy_kj = core[i].energy_kj
    shown[i].made = made
    shown[i].lost = core[i].discarded - since_discarded
    shown[i].used_kj = used_kj
    shown[i].wasted_kj = max(used_kj - (work_kj(spec, station, i) - since_work_kj), 0.0)
    shown[i].window_parts_per_min = parts_per_min
    shown[i].window_kw = kw
    shown[i].event = core[i].event
    for state in range(5):
        shown[i].energy_by_state_kj[state] = 0.0
        shown[i].machines_by_state[state] = 0
    for s in range(spec.shape[0]):
        for state in range(6):
            column = IDLE if state == BLOCKED else state
            shown[i].energy_by_state_kj[column] += spec[s].kw[state] * station[i, s].state_s[state]
            shown[i].machines_by_state[column] += station[i, s].count[state]
    if task[0].reward == INCREMENT:
        shown[i].reward = task[0].increment_scale * (task[0].weight_kj_per_part * made - used_kj)
    elif task[0].reward == SCORE_LINEAR:
        shown[i].reward = composite(LINEAR, task[0].phi, r_prod, r_energy)
    else:
        shown[i].reward = score
    shown[i].truncated = core[i].decisions >= task[0].episode_decisions or core[i].time_s >= task[0].episode_s


@compiled
def start_all(
    spec: np.ndarray,
    data: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    ring: np.ndarray,
    mask: np.ndarray,
    start: int,
    start_s: float,
) -> None:
    """Put the plants of `mask` at the beginning of their start phase."""
    for i in range(core.shape[0]):
        if mask[i]:
            begin(spec, data, core, station, machine, ring, i, start, start_s)


@compiled
def finish_starts(
    spec: np.ndarray,
    data: np.ndarray,
    task: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    ring: np.ndarray,
    targets: np.ndarray,
    buffers: np.ndarray,
    machines: np.ndarray,
    scores: np.ndarray,
    shown: np.ndarray,
) -> bool:
    """Run every plant that is in its start phase to its first decision; True where the ring has to grow first."""
    full = False
    for i in range(core.shape[0]):
        if core[i].phase == STARTING_UP:
            if run_start_phase(spec, data, task, core, station, machine, ring, i, targets):
                reward, truncated = shown[i].reward, shown[i].truncated
                observe(
                    spec, task, core, station, machine, ring, i, 0.0, 0.0, 0.0, 0, 0, buffers, machines, scores, shown
                )
                shown[i].reward, shown[i].truncated = reward, truncated
            else:
                full = True
        full |= is_full(core, ring, i)
    return full


@compiled
def step_all(
    spec: np.ndarray,
    data: np.ndarray,
    task: np.ndarray,
    core: np.ndarray,
    station: np.ndarray,
    machine: np.ndarray,
    ring: np.ndarray,
    targets: np.ndarray,
    start_s: float,
    buffers: np.ndarray,
    machines: np.ndarray,
    scores: np.ndarray,
    shown: np.ndarray,
) -> tuple[bool, bool]:
    """Step every plant to its next decision; ended ones are put at the beginning of a start phase (`NEXT_STEP`).

    Returns whether an episode ended, and whether `finish_starts` has to be called.
    """
    ended, call = False, False
    for i in range(core.shape[0]):
        if core[i].phase == ENDED:
            begin(spec, data, core, station, machine, ring, i, ALL_ON, start_s)
            shown[i].reward, shown[i].truncated = 0.0, False
            call = True
            continue
        since_s, since_kj, since_work_kj = core[i].time_s, core[i].energy_kj, work_kj(spec, station, i)
        since_made, since_discarded = core[i].made, core[i].discarded
        advance(spec, data, core, station, machine, i, targets, np.inf)
        core[i].decisions += 1
        observe(
            spec,
            task,
            core,
            station,
            machine,
            ring,
            i,
            since_s,
            since_kj,
            since_work_kj,
            since_made,
            since_discarded,
            buffers,
            machines,
            scores,
            shown,
        )
        if shown[i].truncated:
            ended = True
            if task[0].autoreset == NEXT_STEP:
                core[i].phase = ENDED
        call |= is_full(core, ring, i)
    return ended, call
