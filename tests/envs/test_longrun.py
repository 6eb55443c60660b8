"""Long-run figures of rules against the published ones and against the vector environment."""

import gymnasium
import numpy as np
import pytest

import envs  # noqa: F401
from envs.energy_control.config import load_plant
from envs.energy_control.longrun import rule_table, simulate
from envs.energy_control.optimal import Optimiser

# Policy: parts/min, kW, discarded/min, busy, idle, failed, and the half-width of the interval of each (200 × 30 days).
PUBLISHED = {
    6: (2.9905, 79.268, 0.0090, 4.171, 1.796, 0.0332),
    5: (2.9391, 69.570, 0.0610, 4.101, 0.867, 0.0326),
    4: (2.6916, 58.330, 0.3087, 3.756, 0.214, 0.0299),
    3: (2.1222, 44.557, 0.8779, 2.961, 0.016, 0.0236),
    2: (1.4225, 29.762, 1.5774, 1.984, 0.000, 0.0158),
}
HALF_WIDTH = (0.0012, 0.013, 0.0005, 0.0015, 0.0015, 0.0003)


def assert_agrees(sample: np.ndarray, expected: float, half_width: float) -> None:
    error = sample.std(ddof=1) / np.sqrt(len(sample))
    assert sample.mean() == pytest.approx(expected, abs=4.5 * error + half_width)


@pytest.mark.parametrize("n", PUBLISHED)
def test_constants_give_the_published_figures(n):
    run = simulate("paper", n, days=30, replications=20, seed=40)
    figures = (run.parts_per_min, run.power_kw, run.discarded_per_min, *run.machines.T[[3, 2, 4]])
    for sample, expected, half_width in zip(figures, PUBLISHED[n], HALF_WIDTH, strict=True):
        assert_agrees(sample, expected, half_width)
    np.testing.assert_allclose(run.machines.sum(axis=1), 6.0)
    assert (run.started_per_min[:] <= 4.0 / (30 * 1440)).all()  # none, but for those left from the warm-up


def test_keeping_on_what_is_needed_gives_the_published_figures():
    rule = rule_table(load_plant("paper"), lambda event, parts, working, n: min(parts + working, 6))
    run = simulate("paper", rule, days=30, replications=20, seed=40, assignment="index")
    assert_agrees(run.parts_per_min, 2.9875, 0.0012)
    assert_agrees(run.power_kw, 69.88, 0.013)


def test_all_on_agrees_with_the_exact_chain():
    exact = Optimiser("paper").all_on
    run = simulate("paper", 6, days=60, replications=40, seed=1)
    assert_agrees(run.parts_per_min, exact.parts_per_min, 0.0002)
    assert_agrees(run.power_kw, exact.power_kw, 0.02)


def test_hysteresis_beats_constants_as_published():
    def hysteresis(event, parts, working, n):
        return 6 if parts >= 4 else 3 if parts == 0 else max(n, 3)

    all_on, switched = (simulate("paper", rule, days=30, replications=10, seed=3) for rule in (6, hysteresis))
    loss_pct = 100.0 * (1.0 - switched.parts_per_min.mean() / all_on.parts_per_min.mean())
    saving_pct = 100.0 * (1.0 - switched.power_kw.mean() / all_on.power_kw.mean())
    assert 0.0 < loss_pct < 1.0
    assert saving_pct > 12.0


def test_it_is_the_vector_environment_without_looking():
    env = gymnasium.make_vec("daif/EnergyControl-v0", num_envs=3)
    _, infos = env.reset(seed=9, options={"start_s": 3600.0})
    while infos["time_s"].min() < 6 * 3600.0:
        last = {key: infos[key].copy() for key in ("time_s", "parts_made", "energy_kj", "window_kw")}
        _, _, _, _, infos = env.step(np.full(3, 6))
    run = simulate("paper", 6, days=0.25, replications=3, seed=9, warm_up_s=3600.0)
    env_kw = last["energy_kj"] / last["time_s"]
    np.testing.assert_allclose(run.power_kw, env_kw, rtol=0.01)
    np.testing.assert_allclose(run.parts_per_min, 60.0 * last["parts_made"] / last["time_s"], rtol=0.01)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"plant": "two-stage"}, "one station"),
        ({"rule": 7}, "from 0 to 6"),
        ({"rule": lambda event, parts, working, n: parts}, "from 0 to 6"),
        ({"rule": np.zeros((3, 3, 3, 3))}, "shape"),
        ({"days": 0.0}, "days"),
        ({"replications": 0}, "replications"),
        ({"assignment": "none"}, "assignment"),
    ],
)
def test_bad_arguments_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        simulate(**{"plant": "paper", "rule": 6, **settings})


@pytest.mark.slow
def test_a_hundred_years_of_one_plant():
    years = 100.0
    run = simulate("paper", 5, days=365.25 * years, replications=1, seed=0)
    assert run.machines.sum() == pytest.approx(6.0, rel=1e-9)
    power_kw = run.machines @ np.array([0.0, 10.0, 9.3, 15.0, 0.0])
    assert run.power_kw[0] == pytest.approx(power_kw[0], rel=1e-9)
    assert run.parts_per_min[0] == pytest.approx(2.9391, abs=0.002)
    assert run.parts_per_min[0] + run.discarded_per_min[0] == pytest.approx(3.0, abs=0.002)
