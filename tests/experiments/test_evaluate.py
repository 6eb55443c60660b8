"""Evaluations: by hand where the outcome is known; the workstation's protocol against oracles and optimum."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from baselines.heuristics import RULES, ConstantSettings
from daif.experiments.environments import describe_spaces, find_env, make_env, make_vector, spaces_of
from daif.experiments.evaluate import (
    PERIODIC_SEED,
    REPORTED_SEED,
    PlantEvaluator,
    PlantProtocol,
    PlantScores,
    Policy,
    all_on_action,
    evaluate_episodes,
)
from daif.experiments.optimum import reference_front, saving_at
from daif.experiments.registry import AGENTS, BuildContext
from daif.experiments.settings import SettingsError
from daif.experiments.statistics import student_interval

PLANT = "daif/EnergyControl-v0"


class Dice(gymnasium.Env):
    """An episode as long as the seeded die says; the reward is the action."""

    observation_space = spaces.Dict(left=spaces.Discrete(10))
    action_space = spaces.Box(0.0, 2.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 7))
        return {"left": self.left}, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        return {"left": self.left}, float(action[0]), self.left == 0, False, {}


class Doubler:
    """Acts 1 when greedy and 2 when not, and keeps how many environments it was asked for."""

    observation_space = Dice.observation_space
    action_space = Dice.action_space

    def __init__(self):
        self.batches = []

    def begin(self, num_envs):
        self.begun = num_envs

    def act(self, observations, *, deterministic=False):
        self.batches.append(len(observations["left"]))
        return np.full((len(observations["left"]), 1), 1.0 if deterministic else 2.0, dtype=np.float32)


@pytest.fixture(scope="module", autouse=True)
def dice():
    gymnasium.register("test/Dice-v0", Dice)
    gymnasium.register("test/Endless-v0", "gymnasium.envs.classic_control:PendulumEnv")
    yield
    del gymnasium.registry["test/Dice-v0"], gymnasium.registry["test/Endless-v0"]


def expected_lengths(episodes, seed):
    lengths = []
    for i in range(episodes):
        env = Dice()
        env.reset(seed=seed + i)
        lengths.append(env.left)
    return lengths


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_episodes_by_hand(batch):
    agent = Doubler()
    scores = evaluate_episodes("test/Dice-v0", {}, agent, episodes=9, seed=50, deterministic=False, batch=batch)
    assert scores.lengths.tolist() == expected_lengths(9, 50)
    assert scores.returns.tolist() == [2.0 * length for length in scores.lengths]
    assert sum(agent.batches) == scores.lengths.sum()  # finished episodes are not asked again
    greedy = evaluate_episodes("test/Dice-v0", {}, agent, episodes=9, seed=50)
    assert greedy.returns.tolist() == expected_lengths(9, 50)
    assert agent.begun == 9
    assert scores.summary()["mean_reward"]["value"] == pytest.approx(scores.returns.mean())


def test_episodes_without_an_end_are_cut_and_counted():
    agent = RULES["random"](*spaces_of("test/Endless-v0", {}))
    scores = evaluate_episodes("test/Endless-v0", {}, agent, episodes=3, max_decisions=50)
    assert scores.lengths.tolist() == [50, 50, 50]
    assert scores.summary()["cut_episodes"] == 3


def test_an_episode_that_ends_at_the_bound_is_not_cut():
    longest = max(expected_lengths(9, 50))
    scores = evaluate_episodes("test/Dice-v0", {}, Doubler(), episodes=9, seed=50, max_decisions=longest)
    assert scores.cut == 0
    fewer = evaluate_episodes("test/Dice-v0", {}, Doubler(), episodes=9, seed=50, max_decisions=longest - 1)
    assert fewer.cut == expected_lengths(9, 50).count(longest)


def rule(name, settings=None, seed=0):
    return RULES[name](*spaces_of(PLANT, {}), settings, seed=seed)


def test_common_random_numbers_make_loss_and_saving_those_of_pairs():
    """All machines on has no loss and no saving against itself, to the last bit, whatever it is called."""
    evaluator = PlantEvaluator({}, PlantProtocol(3, 0.2, 0.05))
    scores = evaluator.evaluate({"a": Policy(rule("all-on")), "b": Policy(rule("constant", ConstantSettings(6)))})
    for one in scores.values():
        assert np.all(one.loss_pct == 0.0)
        assert np.all(one.saving_pct == 0.0)
    five = evaluator.evaluate({"five": Policy(rule("constant", ConstantSettings(5)))})["five"]
    alone = PlantEvaluator({}, PlantProtocol(3, 0.2, 0.05)).evaluate({"five": Policy(rule("constant"))})["five"]
    np.testing.assert_array_equal(five.loss_pct, alone.loss_pct)  # the kept reference is the measured one
    np.testing.assert_array_equal(five.power_kw, alone.power_kw)


def test_policies_of_one_batch_do_not_touch_each_other():
    protocol = PlantProtocol(4, 0.2, 0.05)
    together = PlantEvaluator({}, protocol).evaluate(
        {"h": Policy(rule("hysteresis")), "r": Policy(rule("random", seed=1)), "b": Policy(rule("busy-plus-waiting"))}
    )
    alone = PlantEvaluator({}, protocol).evaluate({"r": Policy(rule("random", seed=1))})
    np.testing.assert_array_equal(together["r"].power_kw, alone["r"].power_kw)


def test_power_by_state_adds_up_and_the_figures_follow_from_each_other():
    scores = PlantEvaluator({}, PlantProtocol(4, 0.3, 0.1)).evaluate({"c": Policy(rule("constant"))})["c"]
    np.testing.assert_allclose(scores.power_by_state_kw.sum(axis=1), scores.power_kw, rtol=1e-9)
    np.testing.assert_allclose(scores.kj_per_part * scores.parts_per_min / 60.0, scores.power_kw)
    np.testing.assert_allclose(scores.objective_kw(1200.0), 20.0 * scores.parts_per_min - scores.power_kw)


def test_a_plant_that_makes_nothing_has_no_energy_per_part():
    class Off:
        observation_space, action_space = spaces_of(PLANT, {})

        def act(self, observations, *, deterministic=False):
            return np.zeros(len(observations["buffer"]), dtype=np.int64)

    scores = PlantEvaluator({}, PlantProtocol(2, 0.1, 0.05)).evaluate({"off": Policy(Off())})["off"]
    assert np.all(scores.parts_per_min == 0.0)
    summary = scores.summary()
    assert summary["kj_per_part"] == {"value": None, "low": None, "high": None}
    assert summary["production_loss_pct"]["value"] == 100.0


def test_the_protocol_counts_its_days_only():
    """What happens in the response day is left out: a policy that is wild there and all-on afterwards loses nothing."""

    class WildAtFirst:
        observation_space, action_space = spaces_of(PLANT, {})

        def __init__(self, wild_decisions):
            self.left = wild_decisions

        def act(self, observations, *, deterministic=False):
            self.left -= 1
            return np.full(len(observations["buffer"]), 1 if self.left >= 0 else 6)

    protocol = PlantProtocol(6, 1.0, 0.3)
    scores = PlantEvaluator({}, protocol).evaluate(
        {"early": Policy(WildAtFirst(500)), "late": Policy(WildAtFirst(10_000))}
    )
    assert np.abs(scores["early"].saving_pct).max() < 0.5
    assert scores["late"].saving_pct.min() > 20.0


def test_all_on_agrees_with_its_long_run_figures():
    scores = PlantEvaluator({}, PlantProtocol(96, 1.5, 0.1)).evaluate({"all-on": Policy(rule("all-on"))})["all-on"]
    for values, expected, narrow in ((scores.parts_per_min, 2.9905, 0.03), (scores.power_kw, 79.268, 0.3)):
        interval = student_interval(values, 0.999)
        assert interval.low < expected < interval.high
        assert interval.half_width < narrow


def test_the_optimal_agent_reaches_the_exact_optimum_and_no_rule_beats_it():
    weight = 8000.0
    observation_space, action_space = spaces_of(PLANT, {"observe_event": True})
    entry = AGENTS["optimal"]
    context = BuildContext(observation_space, action_space, 0, "cpu", {"observe_event": True})
    optimal = entry.build(context, entry.build_settings({"weight": weight}))
    policies = {"optimal": Policy(optimal)} | {
        name: Policy(rule(name)) for name in ("constant", "hysteresis", "threshold-linear", "busy-plus-waiting")
    }
    scores = PlantEvaluator({}, PlantProtocol(64, 2.0, 0.2)).evaluate(policies)
    loss, saving = (student_interval(v, 0.999) for v in (scores["optimal"].loss_pct, scores["optimal"].saving_pct))
    assert loss.low < 0.4413 < loss.high
    assert saving.low < 18.464 < saving.high
    assert saving.half_width < 0.6
    best = scores["optimal"].objective_kw(weight)
    for name in policies:
        if name != "optimal":  # paired differences on the same plants
            assert student_interval(best - scores[name].objective_kw(weight), 0.999).low > 0.0


def test_seeds_of_evaluations_are_apart_from_those_of_training():
    assert PERIODIC_SEED >= 1_000_000_000
    assert PERIODIC_SEED + 1_000_000 < REPORTED_SEED < 2**31 - 1_000_000


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"replications": 0}, "replications is 0"), ({"days": 0.0}, "days is 0"), ({"days": float("nan")}, "days is nan"),
     ({"response_days": -1.0}, "response_days is -1")],
)  # fmt: skip
def test_impossible_protocols_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        PlantProtocol(**settings)


def test_agents_for_other_observations_are_refused():
    agent = RULES["random"](spaces.Box(-1, 1, (44,)), spaces.Discrete(7))
    with pytest.raises(ValueError, match="is a Dict space"):
        PlantEvaluator({}, PlantProtocol(1, 0.1, 0.0)).evaluate({"a": Policy(agent)})


def test_all_on_is_the_largest_action():
    assert all_on_action(spaces.Discrete(7)) == 6
    assert all_on_action(spaces.MultiDiscrete([7, 4])).tolist() == [6, 3]
    with pytest.raises(ValueError, match="not of Box"):
        all_on_action(spaces.Box(0, 1))


def test_the_shipped_front_agrees_with_the_reference():
    front = reference_front()
    assert np.all(np.diff(front[:, 0]) >= 0)
    assert np.all(np.diff(front[:, 1]) >= 0)
    for loss, saving in (
        (0.1124, 14.0139),
        (0.4413, 18.4644),
        (0.8660, 19.7503),
        (2.1321, 21.3695),
        (12.8201, 30.7660),
    ):
        assert saving_at(loss) == pytest.approx(saving, abs=0.01)


def test_environments_by_name():
    assert find_env("envs:daif/EnergyControl-v0").id == PLANT
    with pytest.raises(SettingsError, match="did you mean 'daif/EnergyControl-v0'"):
        find_env("daif/EnergyControl-v1")
    with pytest.raises(SettingsError, match=r"CartPole-v1 cannot be made: .*nonsense"):
        make_env("CartPole-v1", {"nonsense": 1})
    with pytest.raises(ValueError, match="assignmnt"):
        make_vector(PLANT, {"assignmnt": "index"}, 2)
    assert describe_spaces(*spaces_of("CartPole-v1", {})).endswith("-> Discrete(2)")


def test_scores_of_one_replication_have_no_interval():
    one = np.array([1.0])
    scores = PlantScores(one, one, one, one, one, np.ones((1, 5)))
    assert scores.summary()["power_kw"] == {"value": 1.0, "low": None, "high": None}
