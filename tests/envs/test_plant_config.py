"""Plant configurations: what is shipped, the distributions, and one clear sentence for each bad value."""

import copy
import math

import numpy as np
import pytest

from envs.checks import SettingError
from envs.energy_control.config import (
    Distribution,
    Plant,
    Profile,
    load_plant,
    plant_names,
)

POWERS = {"busy_kw": 15, "idle_kw": 9.3, "start_up_kw": 10}
GOOD = {
    "name": "good",
    "arrivals": {"interarrival": {"kind": "exponential", "mean_s": 20}},
    "stations": [
        {
            "machines": 6,
            "buffer": 10,
            "processing": {"kind": "exponential", "mean_s": 83.7},
            "start_up": {"kind": "exponential", "mean_s": 30},
            "powers": POWERS,
        }
    ],
}


def changed(path: str, value: object) -> dict:
    """GOOD with the value at `path` (keys and indices joined by dots) replaced or added."""
    data = copy.deepcopy(GOOD)
    *keys, last = path.split(".")
    place: object = data
    for key in keys:
        place = place[int(key) if isinstance(place, list) else key]
    place[last] = value
    return data


def test_the_paper_plant_has_the_published_parameters():
    plant = load_plant("paper")
    (station,) = plant.stations
    assert (station.machines, station.buffer) == (6, 10)
    assert (plant.nominal_parts_per_min, plant.full_power_kw) == (3.0, 90.0)
    assert plant.arrivals.interarrival == Distribution("exponential", 20.0)
    assert station.processing == Distribution("exponential", 83.7)
    assert station.start_up == Distribution("exponential", 30.0)
    assert station.failure == Distribution("exponential", 3600.0)
    assert station.repair == Distribution("deterministic", 30.0)
    assert station.powers.by_state_kw == (0.0, 10.0, 9.3, 15.0, 0.0)
    assert plant.assignment == "pooled"


def test_the_family_is_shipped():
    family = {"paper", "paper-2024", "high-load", "low-load", "large", "two-stage", "shift-profile", "jump"}
    assert family <= set(plant_names())
    assert load_plant("paper-2024").stations[0].powers.standby_kw == 1.5
    assert load_plant("large").machines == 20
    assert len(load_plant("two-stage").stations) == 2
    assert all(load_plant(name).description for name in plant_names())


@pytest.mark.parametrize(
    "distribution",
    [
        Distribution("exponential", 80.0),
        Distribution("erlang", 80.0, phases=4),
        Distribution("lognormal", 80.0, cv=0.5),
        Distribution("deterministic", 80.0),
        Distribution("empirical", values=(20.0, 60.0, 160.0)),
    ],
    ids=lambda d: d.kind,
)
def test_samples_have_the_mean_and_the_variance_asked_for(distribution):
    times = distribution.sample(np.random.default_rng(7), 200_000)
    variation = {"exponential": 1.0, "erlang": 0.5, "lognormal": 0.5, "deterministic": 0.0}.get(
        distribution.kind, np.std([20.0, 60.0, 160.0]) / 80.0
    )
    assert times.min() >= 0.0
    assert times.mean() == pytest.approx(80.0, rel=5.0 * variation / math.sqrt(200_000) + 1e-12)
    assert times.std() / 80.0 == pytest.approx(variation, rel=0.02)


def test_a_plant_file_reads_its_sample_beside_it(tmp_path):
    (tmp_path / "times.csv").write_text("part,seconds\na,50\nb,70\n")
    (tmp_path / "mine.yaml").write_text(
        "arrivals: {interarrival: {kind: exponential, mean_s: 20}}\n"
        "stations:\n"
        "  - machines: 2\n"
        "    buffer: 3\n"
        "    processing: {kind: empirical, csv: times.csv, column: seconds}\n"
        "    start_up: {kind: deterministic, mean_s: 0}\n"
        "    powers: {busy_kw: 2, idle_kw: 1, start_up_kw: 1}\n"
    )
    plant = load_plant(tmp_path / "mine.yaml")
    assert plant.name == "mine"
    assert plant.stations[0].processing.values == (50.0, 70.0)
    assert plant.stations[0].processing.mean_s == 60.0
    assert plant.stations[0].failure is None


def test_profiles_of_three_kinds():
    day = Profile.from_dict({"kind": "day", "hours": [0, 6, 18], "factors": [0.5, 2, 1]})
    assert day.times_s == (0.0, 21_600.0, 64_800.0)
    assert day.mean_factor == pytest.approx((6 * 0.5 + 12 * 2 + 6 * 1) / 24)
    jump = Profile.from_dict({"kind": "jump", "times_s": [0, 100], "factors": [1, 0.5]})
    assert (jump.period_s, jump.mean_factor) == (math.inf, 0.5)
    drift = Profile.from_dict({"kind": "drift", "until_s": 1000, "factor": 2, "steps": 4})
    assert drift.times_s == (0.0, 250.0, 500.0, 750.0, 1000.0)
    assert drift.factors == (1.0, 1.25, 1.5, 1.75, 2.0)


STATION = "stations.0"
HOSTILE = [
    (changed("machnes", 6), r"plant has no setting 'machnes'; allowed: name, arrivals"),
    (changed(f"{STATION}.machnes", 6), r"no setting 'machnes' \(did you mean 'machines'\?\)"),
    (changed(f"{STATION}.machines", 0), r"number of machines is 0; it must be from 1 to 1000"),
    (changed(f"{STATION}.machines", 10**6), r"number of machines is 1000000; it must be from 1 to 1000"),
    (changed(f"{STATION}.machines", 2.5), r"number of machines must be a whole number, not 2.5"),
    (changed(f"{STATION}.machines", True), r"must be a whole number, not True"),
    (changed(f"{STATION}.buffer", 0), r"buffer capacity \(buffer\) is 0; it must be from 1"),
    (changed(f"{STATION}.processing.mean_s", -83.7), r"is -83.7; it must be at least 0"),
    (changed(f"{STATION}.processing.mean_s", 0), r"is 0; it must be above 0"),
    (changed(f"{STATION}.processing.mean_s", math.nan), r"has no mean; `mean_s` must be a number"),
    (changed(f"{STATION}.processing.mean_s", math.inf), r"is inf; it must be at least 0 and at most 1e\+09"),
    (changed(f"{STATION}.processing.mean_s", None), r"has no mean; `mean_s` must be a number"),
    (changed(f"{STATION}.processing.mean_s", "83,7"), r"must be a number, not '83,7'"),
    (changed(f"{STATION}.processing", {"kind": "exponential"}), r"exponential distribution has no mean"),
    (changed(f"{STATION}.processing", {"kind": "expnential", "mean_s": 1}), r"'expnential' is unknown \(did you mean"),
    (changed(f"{STATION}.processing", {"kind": "empirical"}), r"needs at least one value"),
    (changed(f"{STATION}.processing", {"kind": "empirical", "csv": "no.csv"}), r"'no.csv' cannot be read"),
    (changed(f"{STATION}.processing", {"kind": "empirical", "values": [1, -2]}), r"is -2; it must be at least 0"),
    (changed(f"{STATION}.processing", {"kind": "empirical", "values": [0]}), r"mean of processing is 0 s"),
    (changed(f"{STATION}.processing", {"kind": "lognormal", "mean_s": 1, "cv": 0}), r"cv\) is 0; it must be above 0"),
    (
        changed(f"{STATION}.processing", {"kind": "erlang", "mean_s": 1, "phases": 0}),
        r"phases .* is 0; it must be from",
    ),
    (changed(f"{STATION}.processing", 83.7), r"must be a mapping of settings, not 83.7"),
    (changed(f"{STATION}.powers", {**POWERS, "idle_kw": math.nan}), r"power idle_kw is nan; it must be at least 0"),
    (changed(f"{STATION}.powers", {**POWERS, "busy_kw": -1}), r"power busy_kw is -1"),
    (changed(f"{STATION}.powers", {"busy_kw": 0, "idle_kw": 0, "start_up_kw": 0}), r"All powers are 0 kW"),
    (changed(f"{STATION}.powers", {"busy_kw": 1}), r"lacks the setting 'idle_kw'"),
    (changed("stations", []), r"must be a list of at least one station"),
    (changed("stations", GOOD["stations"] * 200), r"number of machines of all stations is 1200"),
    (changed("assignment", "poled"), r"'poled' is unknown \(did you mean 'pooled'\?\); allowed: pooled, index"),
    (changed("name", ""), r"name must be a text"),
    (changed("arrivals.interarrival.mean_s", 0), r"is 0; it must be above 0"),
    (changed("arrivals.profile", {"kind": "jump", "times_s": [0, 9], "factors": [1, 0]}), r"no demand at all"),
    (changed("arrivals.profile", {"kind": "jump", "times_s": [0, 0], "factors": [1, 1]}), r"must ascend from 0"),
    (changed("arrivals.profile", {"kind": "day", "hours": [0, 25], "factors": [1, 1]}), r"hour is 25"),
    (changed("arrivals.profile", {"kind": "day", "hours": [0], "factors": [1, 1]}), r"1 times and 2 factors"),
    (changed("arrivals.profile", {"kind": "week"}), r"'week' is unknown; allowed: day, jump, drift"),
    ([], r"must be a mapping of settings"),
]


@pytest.mark.parametrize(("data", "message"), HOSTILE)
def test_a_bad_value_gets_one_clear_sentence(data, message):
    with pytest.raises(SettingError, match=message) as caught:
        Plant.from_dict(data)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [("stations: [", "not valid YAML"), ("", "mapping of settings"), ("!!python/object:os.system x", "not valid YAML")],
)
def test_a_bad_file_gets_one_clear_sentence(tmp_path, content, message):
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(SettingError, match=message):
        load_plant(tmp_path / "bad.yaml")


def test_an_unknown_plant_names_the_closest():
    with pytest.raises(SettingError, match=r"'papre' is unknown \(did you mean 'paper'\?\); allowed: .*two-stage"):
        load_plant("papre")
    with pytest.raises(SettingError, match="cannot be read"):
        load_plant("missing.yaml")


def test_the_good_plant_is_good():
    assert Plant.from_dict(GOOD).machines == 6
