"""What a plant is: typed, validated and immutable, read from YAML.

A plant is a tuple of stations in series, fed by one arrival process. Every random time is a `Distribution` of one flat
shape (kind, mean, one parameter, sample values), so that a plant turns into plain arrays without a lookup.

Errors: every bad value raises `SettingError`, a `ValueError` whose message is one sentence with the value and what is
allowed.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from envs.checks import SettingError, choice, closest, number, whole

STATES: tuple[str, ...] = ("standby", "start_up", "idle", "busy", "failed")
"""Names of the machine states, in the order of their codes."""
STANDBY, START_UP, IDLE, BUSY, FAILED = range(5)
BLOCKED = 5
"""A sixth state, only in lines of stations: job done, no room downstream; it draws and is booked as idle."""

EVENTS: tuple[str, ...] = ("arrival", "departure", "discard")
"""Names of the kinds of decision, in the order of their codes."""
ARRIVAL, DEPARTURE, DISCARD = range(3)

ASSIGNMENTS: tuple[str, ...] = ("pooled", "index")
DISTRIBUTIONS: tuple[str, ...] = ("exponential", "erlang", "lognormal", "deterministic", "empirical")
"""Kinds of distribution, in the order of `Distribution.code`."""
PLANTS_FOLDER = Path(__file__).parent / "plants"

MAX_MACHINES = 1000
MAX_BUFFER = 10_000
MAX_TIME_S = 1e9
MAX_POWER_KW = 1e6
DAY_S = 86_400.0

Built = TypeVar("Built")


def _mapping(value: object, what: str, cls: type, extra: Sequence[str] = ()) -> dict[str, Any]:
    """`value` as a dict whose keys are all fields of the dataclass `cls` (or `extra`), the required ones present."""
    if not isinstance(value, Mapping):
        raise SettingError(f"{what} must be a mapping of settings, not {value!r}.")
    fields = [f for f in dataclasses.fields(cls) if f.init]
    allowed = [f.name for f in fields] + list(extra)
    for key in value:
        if key not in allowed:
            close = closest(key, allowed)
            raise SettingError(f"{what} has no setting {key!r}{close}; allowed: {', '.join(allowed)}.")
    for f in fields:
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in value:
            raise SettingError(f"{what} lacks the setting {f.name!r}.")
    return dict(value)


@dataclass(frozen=True)
class Distribution:
    """A random time in seconds."""

    kind: str
    """One of exponential, erlang, lognormal, deterministic, empirical."""
    mean_s: float = math.nan
    """Mean, in seconds; of an empirical one it follows from `values`."""
    phases: int = 1
    """Erlang only: number of exponential phases."""
    cv: float = 1.0
    """Lognormal only: coefficient of variation, standard deviation over mean."""
    values: tuple[float, ...] = ()
    """Empirical only: the sample that is drawn from, with replacement, in seconds."""

    def __post_init__(self) -> None:
        choice(self.kind, "The distribution", DISTRIBUTIONS)
        if self.kind == "empirical":
            if not self.values:
                raise SettingError(
                    "An empirical distribution needs at least one value (`values` or `csv`); it has none."
                )
            values = tuple(number(v, "A value of an empirical distribution", 0.0, MAX_TIME_S) for v in self.values)
            object.__setattr__(self, "values", values)
            object.__setattr__(self, "mean_s", math.fsum(values) / len(values))
        elif self.values:
            raise SettingError(f"Only an empirical distribution has values, not a {self.kind} one.")
        if isinstance(self.mean_s, float) and math.isnan(self.mean_s):
            raise SettingError(f"The {self.kind} distribution has no mean; `mean_s` must be a number of seconds.")
        mean_s = number(self.mean_s, f"The mean of the {self.kind} distribution (mean_s)", 0.0, MAX_TIME_S)
        object.__setattr__(self, "mean_s", mean_s)
        if mean_s == 0.0 and self.kind not in ("deterministic", "empirical"):
            raise SettingError(f"The mean of the {self.kind} distribution (mean_s) is 0; it must be above 0.")
        whole(self.phases, "The number of phases of an Erlang distribution", 1, 1000)
        object.__setattr__(self, "cv", number(self.cv, "The coefficient of variation (cv)", 0.0, 100.0, above=True))
        if self.phases != 1 and self.kind != "erlang":
            raise SettingError(f"Only an erlang distribution has phases, not a {self.kind} one.")
        if self.cv != 1.0 and self.kind != "lognormal":
            raise SettingError(f"Only a lognormal distribution has a cv, not a {self.kind} one.")

    @classmethod
    def from_dict(cls, data: object, what: str = "The distribution", folder: Path | None = None) -> Distribution:
        """Read a mapping such as `{kind: lognormal, mean_s: 80, cv: 0.5}` or `{kind: empirical, csv: times.csv}`.

        Relative CSV paths start at `folder`; `column` names the column, by default the first one.
        """
        settings = _mapping(data, what, cls, extra=("csv", "column"))
        path, column = settings.pop("csv", None), settings.pop("column", None)
        if path is not None:
            if settings.get("values"):
                raise SettingError(f"{what} has both `values` and `csv`; give one of them.")
            settings["values"] = read_sample(Path(folder or ".") / str(path), column)
        elif column is not None:
            raise SettingError(f"{what} names a column ({column!r}) but no `csv` file.")
        values = settings.get("values", ())
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise SettingError(f"The values of {what.lower()} must be a list of numbers, not {values!r}.")
        settings["values"] = tuple(values)
        if settings.get("mean_s", 0.0) is None:
            settings["mean_s"] = math.nan
        try:
            return cls(**settings)
        except SettingError as error:
            raise SettingError(f"{what}: {error}") from None

    @property
    def code(self) -> int:
        """Index of the kind in `DISTRIBUTIONS`."""
        return DISTRIBUTIONS.index(self.kind)

    @property
    def is_exponential(self) -> bool:
        """Whether it is memoryless."""
        return self.kind == "exponential" or (self.kind == "erlang" and self.phases == 1)

    @property
    def parameter(self) -> float:
        """The kind's one parameter beside the mean: phases (erlang), sigma of the logarithm (lognormal), or 0."""
        if self.kind == "erlang":
            return float(self.phases)
        return math.sqrt(math.log1p(self.cv**2)) if self.kind == "lognormal" else 0.0

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draw `size` times in seconds, float64."""
        if self.kind == "exponential":
            return rng.exponential(self.mean_s, size)
        if self.kind == "erlang":
            return rng.gamma(self.phases, self.mean_s / self.phases, size)
        if self.kind == "lognormal":
            sigma = self.parameter
            return rng.lognormal(math.log(self.mean_s) - 0.5 * sigma**2, sigma, size)
        if self.kind == "empirical":
            return rng.choice(np.asarray(self.values), size)
        return np.full(size, self.mean_s)


def read_sample(path: Path, column: str | None = None) -> tuple[float, ...]:
    """Read a column of times in seconds from a CSV file, with or without a header line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"The sample {str(path)!r} cannot be read: {getattr(error, 'strerror', error)}.") from None
    index = 0
    if column is not None:
        header = [name.strip() for name in rows[0]] if rows else []
        if column not in header:
            raise SettingError(f"The sample {path.name!r} has no column {column!r}{closest(column, header)}.")
        index, rows = header.index(column), rows[1:]
    elif rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    for row in rows:
        if len(row) <= index or not _is_number(row[index]):
            raise SettingError(f"The sample {path.name!r} has a line without a number: {','.join(row)!r}.")
    return tuple(float(row[index]) for row in rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Powers:
    """Electrical power of one machine by state, in kW; a blocked machine (lines only) draws idle power."""

    busy_kw: float
    """Working on a part."""
    idle_kw: float
    """Ready, without a part."""
    start_up_kw: float
    """Between standby and ready."""
    standby_kw: float = 0.0
    """Switched off."""
    failed_kw: float = 0.0
    """Under repair."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            power_kw = number(getattr(self, f.name), f"The power {f.name}", 0.0, MAX_POWER_KW)
            object.__setattr__(self, f.name, power_kw)
        if max(self.by_state_kw) == 0.0:
            raise SettingError("All powers are 0 kW; at least one must be above 0.")

    @property
    def by_state_kw(self) -> tuple[float, float, float, float, float]:
        """Powers in the order of `STATES`."""
        return (self.standby_kw, self.start_up_kw, self.idle_kw, self.busy_kw, self.failed_kw)


@dataclass(frozen=True)
class Station:
    """Identical machines in parallel behind one buffer."""

    machines: int
    """Number of machines."""
    buffer: int
    """Parts that can wait; every part passes through the buffer."""
    processing: Distribution
    """Time of one job."""
    start_up: Distribution
    """Time from standby to idle; may be 0."""
    powers: Powers
    """Power by state."""
    failure: Distribution | None = None
    """Busy time between failures; None: the machines never fail."""
    repair: Distribution = field(default_factory=lambda: Distribution("deterministic", 0.0))
    """Time of one repair; may be 0."""

    def __post_init__(self) -> None:
        whole(self.machines, "The number of machines", 1, MAX_MACHINES)
        whole(self.buffer, "The buffer capacity (buffer)", 1, MAX_BUFFER)
        for name in ("processing", "failure"):
            distribution = getattr(self, name)
            if distribution is not None and distribution.mean_s <= 0.0:
                raise SettingError(f"The mean of {name} is 0 s; it must be above 0.")

    @classmethod
    def from_dict(cls, data: object, what: str = "The station", folder: Path | None = None) -> Station:
        """Read one entry of `stations`."""
        settings = _mapping(data, what, cls)
        for name in ("processing", "start_up", "failure", "repair"):
            if name == "failure" and settings.get(name, None) is None:
                settings[name] = None
            elif name in settings:
                settings[name] = Distribution.from_dict(settings[name], f"{what}, {name}", folder)
        powers = _mapping(settings["powers"], f"{what}, powers", Powers)
        try:
            settings["powers"] = Powers(**powers)
            return cls(**settings)
        except SettingError as error:
            raise SettingError(f"{what}: {error}") from None


@dataclass(frozen=True)
class Profile:
    """Arrival rate over time: a piecewise-constant factor on the nominal rate.

    The factor is `factors[i]` from `times_s[i]` on; with a period, time is taken modulo it. The first time is 0, and
    before 0 (the start phase) the first factor holds, or the period's. The plant's clock is 0 at the end of the start
    phase. Interarrival times are drawn in operational time u, du = factor(t) dt, exact for a Poisson process.
    """

    times_s: tuple[float, ...]
    """Starts of the pieces in seconds, ascending from 0."""
    factors: tuple[float, ...]
    """Factor on the nominal rate in each piece, at least 0."""
    period_s: float = math.inf
    """Length of a cycle in seconds; infinite: the last factor holds for ever."""

    def __post_init__(self) -> None:
        if len(self.times_s) != len(self.factors) or not self.times_s:
            raise SettingError(
                f"The demand profile has {len(self.times_s)} times and {len(self.factors)} factors; "
                "it needs as many of both, at least one."
            )
        times = tuple(number(t, "A time of the demand profile", 0.0, MAX_TIME_S) for t in self.times_s)
        factors = tuple(number(f, "A factor of the demand profile", 0.0, 1000.0) for f in self.factors)
        if times[0] != 0.0 or any(b <= a for a, b in itertools.pairwise(times)):
            raise SettingError(f"The times of the demand profile must ascend from 0, not {list(times)}.")
        if not self.period_s > times[-1]:
            raise SettingError(f"The demand profile's period is {self.period_s:g} s; it must exceed {times[-1]:g} s.")
        if max(factors) == 0.0 or (math.isinf(self.period_s) and factors[-1] == 0.0):
            raise SettingError(
                "The demand profile ends in no demand at all; its last or some periodic factor must be above 0."
            )
        object.__setattr__(self, "times_s", times)
        object.__setattr__(self, "factors", factors)

    @classmethod
    def from_dict(cls, data: object) -> Profile:
        """Read one of three kinds.

        - `{kind: day, hours: [0, 6, 22], factors: [0.4, 1, 0.4]}`: by hour of the day, every day;
        - `{kind: jump, times_s: [0, 864000], factors: [1, 0.77]}`: changes once and for all;
        - `{kind: drift, until_s: 864000, factor: 0.77, steps: 100}`: from 1 to `factor` in equal steps.
        """
        what = "The demand profile"
        if not isinstance(data, Mapping):
            raise SettingError(f"{what} must be a mapping of settings, not {data!r}.")
        kinds = {"day": ("hours", "factors"), "jump": ("times_s", "factors"), "drift": ("until_s", "factor", "steps")}
        kind = choice(data.get("kind"), f"{what}'s kind", tuple(kinds))
        allowed = ("kind", *kinds[kind])
        for key in data:
            if key not in allowed:
                close = closest(key, allowed)
                raise SettingError(
                    f"{what} of kind {kind} has no setting {key!r}{close}; allowed: {', '.join(allowed)}."
                )
        for key in kinds[kind]:
            if key not in data and key != "steps":
                raise SettingError(f"{what} of kind {kind} lacks the setting {key!r}.")
        if kind == "drift":
            until_s = number(data["until_s"], f"{what}'s until_s", 0.0, MAX_TIME_S, above=True)
            last = number(data["factor"], f"{what}'s factor", 0.0, 1000.0, above=True)
            steps = whole(data.get("steps", 100), f"{what}'s steps", 1, 10_000)
            shares = [i / steps for i in range(steps + 1)]
            return cls(tuple(s * until_s for s in shares), tuple(1.0 + s * (last - 1.0) for s in shares))
        for key in kinds[kind]:
            if isinstance(data[key], str) or not isinstance(data[key], Sequence):
                raise SettingError(f"{what}'s {key} must be a list of numbers, not {data[key]!r}.")
        if kind == "day":
            hours = [number(h, f"{what}'s hour", 0.0, 24.0) for h in data["hours"]]
            return cls(tuple(3600.0 * h for h in hours), tuple(data["factors"]), DAY_S)
        return cls(tuple(data["times_s"]), tuple(data["factors"]))

    @property
    def mean_factor(self) -> float:
        """Mean factor over a period, or the last factor without one."""
        if math.isinf(self.period_s):
            return self.factors[-1]
        ends = (*self.times_s[1:], self.period_s)
        return sum(f * (b - a) for f, a, b in zip(self.factors, self.times_s, ends, strict=True)) / self.period_s


@dataclass(frozen=True)
class Arrivals:
    """The parts that come to the plant."""

    interarrival: Distribution
    """Time between parts at the nominal rate."""
    profile: Profile | None = None
    """Changes of the rate over time; None: it is constant."""

    def __post_init__(self) -> None:
        if self.interarrival.mean_s <= 0.0:
            raise SettingError("The mean of interarrival is 0 s; it must be above 0.")

    @classmethod
    def from_dict(cls, data: object, folder: Path | None = None) -> Arrivals:
        """Read the entry `arrivals`."""
        settings = _mapping(data, "The entry arrivals", cls)
        settings["interarrival"] = Distribution.from_dict(settings["interarrival"], "Arrivals, interarrival", folder)
        if settings.get("profile") is not None:
            settings["profile"] = Profile.from_dict(settings["profile"])
        return cls(**settings)


@dataclass(frozen=True)
class Plant:
    """Stations in series, fed by one arrival process; the last one's departures are the parts made."""

    name: str
    """Short name, as in `plant=NAME`."""
    arrivals: Arrivals
    """The parts that come."""
    stations: tuple[Station, ...]
    """The workstations, in the order a part visits them; most plants have one."""
    assignment: str = "pooled"
    """Who is meant by n machines on: pooled (any n) or index (those with index below n)."""
    description: str = ""
    """One sentence for lists."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SettingError(f"The plant's name must be a text, not {self.name!r}.")
        if not self.stations:
            raise SettingError("The plant has no stations; it needs at least one.")
        choice(self.assignment, "The assignment", ASSIGNMENTS)
        whole(self.machines, "The number of machines of all stations", 1, MAX_MACHINES)

    @classmethod
    def from_dict(cls, data: object, folder: Path | None = None) -> Plant:
        """Read a mapping with the fields of `Plant`; relative CSV paths start at `folder`."""
        settings = _mapping(data, "The plant", cls)
        stations = settings["stations"]
        if isinstance(stations, str) or not isinstance(stations, Sequence) or not stations:
            raise SettingError(f"The entry stations must be a list of at least one station, not {stations!r}.")
        settings["arrivals"] = Arrivals.from_dict(settings["arrivals"], folder)
        settings["stations"] = tuple(
            Station.from_dict(station, f"Station {i + 1}" if len(stations) > 1 else "The station", folder)
            for i, station in enumerate(stations)
        )
        return cls(**settings)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Plant:
        """Read a YAML file; the name defaults to the file's."""
        path = Path(path)
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(
                f"The plant {str(path)!r} cannot be read: {getattr(error, 'strerror', error)}."
            ) from None
        except yaml.YAMLError as error:
            place = " ".join(str(error).split())
            raise SettingError(f"The plant {str(path)!r} is not valid YAML: {place}.") from None
        if isinstance(data, Mapping):
            data = {"name": path.stem, **data}
        return cls.from_dict(data, path.parent)

    @property
    def machines(self) -> int:
        """Number of machines of all stations."""
        return sum(station.machines for station in self.stations)

    @property
    def full_power_kw(self) -> float:
        """Power with every machine in its hungriest state: 90 kW in the paper's plant."""
        return sum(station.machines * max(station.powers.by_state_kw) for station in self.stations)

    @property
    def nominal_parts_per_min(self) -> float:
        """Arrival rate without a profile: 3 parts per minute in the paper's plant."""
        return 60.0 / self.arrivals.interarrival.mean_s


def plant_names() -> list[str]:
    """Names of the plants that are shipped."""
    return sorted(path.stem for path in PLANTS_FOLDER.glob("*.yaml"))


def load_plant(plant: str | Path | Plant | Mapping[str, Any]) -> Plant:
    """Turn the name of a shipped plant, the path of a YAML file or a mapping into a `Plant`."""
    if isinstance(plant, Plant):
        return plant
    if isinstance(plant, Mapping):
        return Plant.from_dict(plant)
    if not isinstance(plant, (str, Path)):
        raise SettingError(f"A plant is given by name, path, mapping or Plant, not {plant!r}.")
    names = plant_names()
    if str(plant) in names:
        return Plant.from_yaml(PLANTS_FOLDER / f"{plant}.yaml")
    if Path(plant).suffix in (".yaml", ".yml") or Path(plant).is_file():
        return Plant.from_yaml(plant)
    raise SettingError(
        f"The plant {str(plant)!r} is unknown{closest(plant, names)}; allowed: {', '.join(names)}, or a YAML file."
    )
