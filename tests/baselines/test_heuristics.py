"""Rules: their definitions by hand, any size of plant, and their published or exact figures on the plant."""

import numpy as np
import pytest
from gymnasium import spaces

from baselines import heuristics
from baselines.heuristics import RULES, ConstantSettings, HysteresisSettings, ThresholdLinearSettings, rule_candidates
from daif.experiments.environments import spaces_of
from daif.experiments.evaluate import PlantEvaluator, PlantProtocol, Policy
from daif.experiments.statistics import student_interval

STANDBY, START_UP, IDLE, BUSY, FAILED = range(5)


def plant_spaces(machines=6, buffer=10):
    seen = spaces.Dict(
        buffer=spaces.Discrete(buffer + 1),
        machines=spaces.MultiDiscrete([5] * machines),
        scores=spaces.Box(0.0, 1.0, (3,), np.float32),
    )
    return seen, spaces.Discrete(machines + 1)


def observations(buffers, machines):
    return {
        "buffer": np.asarray(buffers),
        "machines": np.asarray(machines),
        "scores": np.zeros((len(buffers), 3), dtype=np.float32),
    }


def test_parts_inside_by_hand():
    seen = observations([0, 3], [[BUSY, FAILED, IDLE], [STANDBY, START_UP, BUSY]])
    assert heuristics.parts_inside(seen).tolist() == [2, 4]


def test_busy_plus_waiting_by_hand():
    rule = RULES["busy-plus-waiting"](*plant_spaces(3))
    seen = observations([0, 3, 0], [[BUSY, FAILED, IDLE], [STANDBY, START_UP, BUSY], [IDLE, IDLE, STANDBY]])
    assert rule.act(seen).tolist() == [2, 3, 0]


def test_threshold_linear_by_hand():
    rule = RULES["threshold-linear"](*plant_spaces(6), ThresholdLinearSettings(0.4, 1.0, 2))
    seen = observations([0, 4, 10], [[IDLE] * 6, [BUSY] * 3 + [IDLE] * 3, [BUSY] * 6])
    # w = 0, 7, 16: floor(1) = 1 -> 2; floor(3.8) = 3; floor(7.4) = 7 -> 6
    assert rule.act(seen).tolist() == [2, 3, 6]


def test_hysteresis_remembers_its_mode():
    rule = RULES["hysteresis"](*plant_spaces(6), HysteresisSettings(low=1, high=4, n_low=3, n_high=6))
    rule.begin(2)
    machines = [[BUSY] * 6] * 2
    path = [[2, 2], [1, 3], [3, 1], [4, 3], [2, 4]]
    modes = [rule.act(observations(buffers, machines)).tolist() for buffers in path]
    assert modes == [[6, 6], [3, 6], [3, 3], [6, 3], [6, 6]]
    rule.begin(2)
    assert rule.act(observations([2, 2], machines)).tolist() == [6, 6]


def test_random_is_uniform_and_seeded():
    seen, action = plant_spaces(4)
    batch = observations([0] * 20_000, [[IDLE] * 4] * 20_000)
    draws = RULES["random"](seen, action, seed=3).act(batch)
    counts = np.bincount(draws, minlength=5)
    # 4000 each with a standard deviation of 57
    assert np.abs(counts - 4000).max() < 5 * 57
    assert np.array_equal(draws, RULES["random"](seen, action, seed=3).act(batch))
    assert not np.array_equal(draws, RULES["random"](seen, action, seed=4).act(batch))


@pytest.mark.parametrize(
    "action",
    [spaces.Box(-2.0, 3.0, (2,)), spaces.MultiDiscrete([3, 4]), spaces.MultiBinary(3), spaces.Discrete(3, start=5)],
)
def test_random_fits_any_action_space(action):
    rule = RULES["random"](spaces.Box(-1, 1, (4,)), action)
    draws = rule.act(np.zeros((30, 4), dtype=np.float32))
    assert len(draws) == 30
    assert all(action.contains(draw) for draw in draws)


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("machines", [5, 6, 20])
def test_rules_give_valid_actions_on_plants_of_any_size(name, machines):
    seen, action = plant_spaces(machines, 15)
    rng = np.random.default_rng(0)
    batch = observations(rng.integers(0, 16, 200), rng.integers(0, 5, (200, machines)))
    if name in ("constant", "hysteresis"):
        settings = {
            "constant": ConstantSettings(machines - 1),
            "hysteresis": HysteresisSettings(n_low=2, n_high=machines),
        }[name]
        rule = RULES[name](seen, action, settings)
    else:
        rule = RULES[name](seen, action)
    chosen = rule.act(batch)
    assert chosen.shape == (200,)
    assert all(action.contains(n) for n in chosen)


def test_all_on_fits_several_stations():
    rule = RULES["all-on"](spaces.Discrete(2), spaces.MultiDiscrete([4, 3]))
    assert rule.act(np.zeros(2, dtype=np.int64)).tolist() == [[3, 2], [3, 2]]


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("constant", ConstantSettings(7), "n is 7; 0 to 6 machines"),
        ("threshold-linear", ThresholdLinearSettings(n_max=9), "n_max is 9"),
    ],
)
def test_settings_beyond_the_plant_are_refused(name, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        RULES[name](*plant_spaces(6), settings)


def test_contradictory_thresholds_are_refused():
    with pytest.raises(ValueError, match="low is 4 and high 4"):
        HysteresisSettings(low=4, high=4)


def test_other_environments_are_refused():
    with pytest.raises(ValueError, match="reads the parts 'buffer' and 'machines'"):
        RULES["busy-plus-waiting"](spaces.Box(-1, 1, (4,)), spaces.Discrete(2))


@pytest.mark.parametrize(("machines", "buffer"), [(1, 1), (2, 3), (6, 10), (20, 30)])
def test_the_grid_fits_every_plant(machines, buffer):
    seen, action = plant_spaces(machines, buffer)
    candidates = rule_candidates(machines, buffer)
    rules = [RULES[name](seen, action, settings) for name, settings in candidates]
    assert {"all-on", "busy-plus-waiting", "threshold-linear"} <= {name for name, _ in candidates}
    assert len({(name, settings) for name, settings in candidates}) == len(rules)


def test_rules_on_the_plant_agree_with_the_long_run_figures():
    """Loss and saving of the constant n = 5 are 1.72 % and 12.23 % in the long run (200 replications of 30 days)."""
    seen, action = spaces_of("daif/EnergyControl-v0", {})
    policies = {str(n): Policy(RULES["constant"](seen, action, ConstantSettings(n))) for n in (5, 4, 3)} | {
        "all-on": Policy(RULES["all-on"](seen, action))
    }
    scores = PlantEvaluator({}, PlantProtocol(160, 1.5, 0.1)).evaluate(policies)
    for name, loss, saving in (("5", 1.72, 12.23), ("4", 10.00, 26.41), ("3", 29.04, 43.79)):
        for values, expected in ((scores[name].loss_pct, loss), (scores[name].saving_pct, saving)):
            interval = student_interval(values, 0.999)
            assert interval.low < expected < interval.high
            assert interval.half_width < 0.02 * expected + 0.1  # narrow enough to tell the rules apart
    assert np.all(scores["all-on"].loss_pct == 0.0)
    assert np.all(scores["all-on"].saving_pct == 0.0)
