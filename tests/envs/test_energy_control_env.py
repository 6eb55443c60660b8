"""The Gymnasium environment of the workstation: contract, observations, scores, rewards, info, episodes, pictures."""

import copy
import math
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FlattenObservation
from stable_baselines3.common.env_checker import check_env as check_sb3_env

import envs  # noqa: F401 - registers
from envs.energy_control.config import BUSY, load_plant
from envs.energy_control.env import EnergyControlEnv

INFO_KEYS = {
    "time_s", "elapsed_s", "parts_made", "parts_discarded", "parts_arrived", "energy_kj", "energy_by_state_kj", "made",
    "lost", "used_kj", "wasted_kj", "machines_by_state", "window_parts_per_min", "window_kw", "event",
}  # fmt: skip


def make(**settings: object) -> gymnasium.Env:
    return gymnasium.make("daif/EnergyControl-v0", **settings)


def ride(env: gymnasium.Env, decisions: int, seed: int = 0, **reset: object) -> list[tuple]:
    """Reset, then take random actions; what reset and each step returned, reset's in the form of a step's."""
    env.action_space.seed(seed)
    observation, info = env.reset(seed=seed, **reset)
    return [(observation, 0.0, False, False, info)] + [env.step(env.action_space.sample()) for _ in range(decisions)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"observe_event": True, "reward": "increment"},
        {"assignment": "index", "reward": "score-linear", "score": "linear", "score_average": "exponential"},
        *({"plant": name} for name in ("large", "two-stage", "shift-profile")),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_both_checkers_pass_without_a_warning(settings, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # the checker renders in every mode
    env = make(**settings)
    check_env(env.unwrapped)
    check_sb3_env(env)
    check_sb3_env(FlattenObservation(env))


def test_spaces_of_the_paper():
    env = make()
    assert env.action_space == gymnasium.spaces.Discrete(7)
    assert list(env.observation_space) == ["buffer", "machines", "scores"]
    assert FlattenObservation(env).observation_space.shape == (44,)
    assert FlattenObservation(make(observe_event=True)).observation_space.shape == (47,)
    assert list(make(observe_event=True).observation_space) == ["buffer", "event", "machines", "scores"]


def test_the_flat_observation_holds_the_same_as_the_dict():
    env, flat = make(), FlattenObservation(make())
    for (seen, *_), (numbers, *_) in zip(ride(env, 50), ride(flat, 50), strict=True):
        assert np.argmax(numbers[:11]) == seen["buffer"]
        assert np.argmax(numbers[11:41].reshape(6, 5), axis=1).tolist() == seen["machines"].tolist()
        assert numbers[41:] == pytest.approx(seen["scores"])


@pytest.mark.parametrize("settings", [{}, {"plant": "two-stage"}, {"observe_event": True}], ids=str)
def test_one_seed_one_trajectory(settings):
    first, second, other = (ride(make(**settings), 300, seed) for seed in (5, 5, 6))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_equal(one, two)
    assert first[-1][4]["time_s"] != other[-1][4]["time_s"]


def test_an_environment_does_not_depend_on_another():
    alone = ride(make(), 100)
    env, noise = make(), make()
    noise.reset(seed=99)
    env.action_space.seed(0)
    observation, info = env.reset(seed=0)
    interleaved = [(observation, 0.0, False, False, info)]
    for _ in range(100):
        noise.step(3)
        interleaved.append(env.step(env.action_space.sample()))
    np.testing.assert_equal(interleaved, alone)


def test_a_reset_without_a_seed_goes_on_with_new_random_numbers():
    env = make()
    times = [env.reset(seed=seed)[1]["energy_kj"] for seed in (3, None, None, 3)]
    assert times[0] == times[3]
    assert len(set(times)) == 3


def test_observations_and_infos_are_not_reused():
    env = make()
    first = env.reset(seed=0)
    kept = copy.deepcopy(first)
    for _ in range(20):
        env.step(2)
    np.testing.assert_equal(first, kept)


def test_info_adds_up():
    trip = ride(make(), 2000, options={"start": "empty"})
    assert set(trip[0][4]) == INFO_KEYS
    made = lost = 0
    used_kj = wasted_kj = time_s = 0.0
    for observation, _, terminated, _, info in trip:
        made, lost = made + info["made"], lost + info["lost"]
        used_kj, wasted_kj, time_s = (
            used_kj + info["used_kj"],
            wasted_kj + info["wasted_kj"],
            time_s + info["elapsed_s"],
        )
        assert terminated is False
        assert (info["parts_made"], info["parts_discarded"]) == (made, lost)
        assert info["energy_kj"] == pytest.approx(used_kj, rel=1e-12)
        assert info["energy_kj"] == pytest.approx(info["energy_by_state_kj"].sum(), rel=1e-12)
        assert used_kj - wasted_kj == pytest.approx(info["energy_by_state_kj"][BUSY], rel=1e-9)
        assert info["time_s"] == pytest.approx(time_s)
        assert info["machines_by_state"].tolist() == np.bincount(observation["machines"], minlength=5).tolist()
        assert info["lost"] == (info["event"] == 2)
        assert info["made"] == (info["event"] == 1)
        # nothing was in the plant at time 0; a busy or failed machine holds a part
        inside = observation["buffer"] + info["machines_by_state"][3:].sum()
        assert info["parts_arrived"] == info["parts_made"] + info["parts_discarded"] + inside
    assert wasted_kj > 0.0


def test_the_event_is_observed_on_demand():
    for observation, *_, info in ride(make(observe_event=True), 300):
        assert observation["event"] == info["event"]


def test_a_long_run_by_way_of_gymnasium():
    """Constant n = 5 for 20 days: 2.9391 parts/min and 69.570 kW; 95 % of replications lie within 0.02 and 0.23."""
    env = make()
    env.reset(seed=4)
    info = {"time_s": 0.0}
    while info["time_s"] < 20 * 86_400.0:
        *_, info = env.step(5)
    assert 60.0 * info["parts_made"] / info["time_s"] == pytest.approx(2.9391, abs=0.04)
    assert info["energy_kj"] / info["time_s"] == pytest.approx(69.570, abs=0.45)


@pytest.mark.parametrize("window_s", [1.0, 600.0, 28_800.0])
def test_the_window_is_the_mean_since_its_oldest_decision(window_s):
    history = [(0.0, 0.0, 0)]
    for observation, _, _, _, info in ride(make(window_s=window_s), 1500, options={"start": "empty"}):
        now = (info["time_s"], info["energy_kj"], info["parts_made"])
        history.append(now)
        old = [h for h in history[:-1] if h[0] <= now[0] - window_s]
        began = old[-1] if old else history[0]
        span_s = now[0] - began[0]
        assert info["window_kw"] == pytest.approx((now[1] - began[1]) / span_s)
        assert info["window_parts_per_min"] == pytest.approx(60.0 * (now[2] - began[2]) / span_s)
        r_prod = min(info["window_parts_per_min"] / 3.0, 1.0)
        r_energy = 1.0 - info["window_kw"] / 90.0
        composite = r_prod / (1.0 + math.exp(-20.0 * r_energy))
        assert observation["scores"] == pytest.approx([r_prod, r_energy, composite], abs=1e-6)


def test_the_window_remembers_the_start_phase():
    """After a day all on, the first scores are those of its last eight hours, though the meter begins at 0."""
    observation, info = make().reset(seed=0)
    assert info["time_s"] < 300.0
    assert info["energy_kj"] < 90.0 * 300.0
    assert 2.7 < info["window_parts_per_min"] < 3.3
    assert 74.0 < info["window_kw"] < 84.0
    assert observation["scores"][0] > 0.9


def test_the_exponential_average_fades():
    """Against sums over the whole history: power by exact weights, each part with weight exp(-age / τ) / τ."""
    tau_s = 600.0
    spans: list[tuple[float, float, float]] = []
    parts: list[float] = []
    trip = ride(make(window_s=tau_s, score_average="exponential"), 400, options={"start": "empty"})
    for _, _, _, _, info in trip:
        now_s = info["time_s"]
        if info["elapsed_s"] > 0.0:
            spans.append((now_s - info["elapsed_s"], now_s, info["used_kj"] / info["elapsed_s"]))
        parts += [now_s] * info["made"]
        weight = 1.0 - math.exp(-now_s / tau_s)
        kw = sum(p * (math.exp((b - now_s) / tau_s) - math.exp((a - now_s) / tau_s)) for a, b, p in spans) / weight
        rate = sum(math.exp((t - now_s) / tau_s) for t in parts) / tau_s / weight
        assert info["window_kw"] == pytest.approx(kw)
        assert info["window_parts_per_min"] == pytest.approx(60.0 * rate, abs=1e-9)


@pytest.mark.parametrize("score", ["sigmoid", "linear"])
@pytest.mark.parametrize("reward", ["score", "score-linear", "increment"])
def test_rewards(reward, score):
    phi, weight, scale = 0.9, 5000.0, 0.01
    env = make(reward=reward, score=score, phi=phi, weight_kj_per_part=weight, reward_scale=scale)
    for observation, got, _, _, info in ride(env, 300)[1:]:
        r_prod, r_energy, composite = observation["scores"].tolist()
        linear = phi * r_prod + (1.0 - phi) * r_energy
        if score == "linear":
            assert composite == pytest.approx(linear, abs=1e-6)
        expected = {
            "score": composite,
            "score-linear": linear,
            "increment": scale * (weight * info["made"] - info["used_kj"]),
        }[reward]
        assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert isinstance(got, float)


def test_the_increments_add_up_to_the_value_of_the_whole_run():
    trip = ride(make(reward="increment", weight_kj_per_part=8000.0), 2000)
    first, last = trip[0][4], trip[-1][4]
    total = sum(step[1] for step in trip)
    worth = 8000.0 * (last["parts_made"] - first["parts_made"]) - (last["energy_kj"] - first["energy_kj"])
    assert total == pytest.approx(worth / (90.0 * 20.0), rel=1e-9)


def test_start_phases():
    all_on, random, empty = (make().reset(seed=1, options={"start": s})[1] for s in ("all-on", "random", "empty"))
    assert all_on["window_kw"] == pytest.approx(79.3, abs=6.0)
    assert random["window_kw"] < 60.0
    assert empty["time_s"] == empty["elapsed_s"]
    assert empty["machines_by_state"].tolist() == [0, 0, 6, 0, 0]
    assert empty["energy_kj"] == pytest.approx(6 * 9.3 * empty["time_s"])
    short = make().reset(seed=1, options={"start": "all-on", "start_s": 60.0})[1]
    assert short["window_kw"] != all_on["window_kw"]


def test_episodes_are_truncated_and_never_terminated():
    env = make(episode_decisions=7)
    flags = [step[2:4] for step in ride(env, 7)]
    assert flags == [(False, False)] * 7 + [(False, True)]
    env = make(episode_s=600.0)
    env.reset(seed=0)
    truncated, before_s = False, 0.0
    while not truncated:
        _, _, terminated, truncated, info = env.step(6)
        assert terminated is False
        if not truncated:
            before_s = info["time_s"]
    assert before_s < 600.0 <= info["time_s"]


def test_a_line_has_a_number_for_each_station():
    env = make(plant="two-stage")
    assert env.action_space == gymnasium.spaces.MultiDiscrete([5, 6])
    assert list(env.observation_space) == ["buffer_1", "buffer_2", "machines_1", "machines_2", "scores"]
    seen_blocked = False
    for observation, _, _, _, info in ride(env, 2000):
        assert env.observation_space.contains({**observation})
        machines = np.concatenate([observation["machines_1"], observation["machines_2"]])
        counts = np.bincount(machines, minlength=6)
        seen_blocked |= bool(counts[5])
        counts[2] += counts[5]
        assert info["machines_by_state"].tolist() == counts[:5].tolist()
    assert seen_blocked


BAD_ARGUMENTS = [
    ({"plant": "papper"}, r"'papper' is unknown \(did you mean 'paper'\?\)"),
    ({"assignment": "polled"}, r"did you mean 'pooled'"),
    ({"reward": "scores"}, r"'scores' is unknown \(did you mean 'score'\?\); allowed: score, score-linear, increment"),
    ({"score": "tanh"}, r"'tanh' is unknown; allowed: sigmoid, linear"),
    ({"score_average": "exponental"}, r"did you mean 'exponential'"),
    ({"phi": 1.5}, r"phi is 1.5; it must be at least 0 and at most 1"),
    ({"phi": math.nan}, r"phi is nan"),
    ({"window_s": 0.0}, r"window_s is 0; it must be above 0"),
    ({"weight_kj_per_part": -1.0}, r"weight_kj_per_part is -1"),
    ({"reward_scale": 0.0}, r"reward_scale is 0; it must be above 0"),
    ({"episode_decisions": 0}, r"episode_decisions is 0; it must be from 1"),
    ({"episode_s": -5.0}, r"episode_s is -5; it must be above 0"),
    ({"episode_s": "long"}, r"episode_s must be a number, not 'long'"),
    ({"windw_s": 60.0}, r"no argument 'windw_s' \(did you mean 'window_s'\?\); allowed: engine, plant"),
    ({"engine": "fats"}, r"engine 'fats' is unknown \(did you mean 'fast'\?\)"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_ARGUMENTS)
def test_bad_arguments_get_one_clear_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "all-of"}, r"start 'all-of' is unknown \(did you mean 'all-on'\?\)"),
        ({"strat": "empty"}, r"option 'strat' is unknown \(did you mean 'start'\?\)"),
        ({"start_s": -1.0}, r"start_s is -1"),
        ({"start": "empty", "start_s": 60.0}, r"'empty' has no start phase, so start_s must be 0, not 60"),
    ],
)
def test_bad_options_get_one_clear_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        make().reset(seed=0, options=options)


@pytest.mark.parametrize("action", [-1, 7, 2.0, "3", None, [1, 2], np.array([1])])
def test_bad_actions_get_one_clear_sentence(action):
    env = make().unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"is not in Discrete\(7\)\."):
        env.step(action)


@pytest.mark.parametrize("action", [3, [1, 2, 3], [1], [5, 0], [0.0, 1.0]])
def test_bad_actions_of_a_line_get_one_clear_sentence(action):
    env = make(plant="two-stage").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"is not in MultiDiscrete\(\[5 6\]\)\."):
        env.step(action)


@pytest.mark.parametrize("action", [3, np.int64(3), np.int32(3), np.array(3)])
def test_whole_numbers_of_every_kind_are_actions(action):
    env = make().unwrapped
    env.reset(seed=0)
    env.step(action)
    assert env.unwrapped._simulation.stations[0].target == 3


def test_a_step_before_the_reset_is_refused():
    env = EnergyControlEnv()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        EnergyControlEnv(render_mode="ansi").render()


def test_a_plant_object_and_a_mapping_do_as_well_as_a_name():
    plant = load_plant("paper")
    by_name, by_object = (ride(make(plant=p), 50) for p in ("paper", plant))
    np.testing.assert_equal(by_name, by_object)


@pytest.mark.parametrize("name", ["paper", "two-stage", "large"])
def test_pictures(name):
    env = make(plant=name, render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    for _ in range(40):
        env.step(env.action_space.sample() * 0)
    second = env.render()
    assert second.shape == first.shape
    assert not np.array_equal(first, second)
    assert "matplotlib.pyplot" not in sys.modules or sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_the_text_shows_buffer_and_machines():
    env = make(render_mode="ansi")
    observation, _ = env.reset(seed=0, options={"start": "empty"})
    text = env.render()
    assert f"{observation['buffer']:>2}/10" in text
    assert "machines [iiiiii]" in text


def test_the_window_opens_and_closes(monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = make(render_mode="human")
    env.reset(seed=0)
    env.step(3)
    env.close()
    env.close()


def test_metadata():
    metadata = EnergyControlEnv.metadata
    assert set(metadata["render_modes"]) == {"human", "rgb_array", "ansi"}
    assert metadata["render_fps"] > 0
    assert make(render_mode="rgb_array_list").render_mode == "rgb_array_list"
    with pytest.raises(ValueError, match="render mode 'rgb' is unknown"):
        EnergyControlEnv(render_mode="rgb")


def test_gymnasium_imports_the_package_by_itself():
    assert gymnasium.make("envs:daif/EnergyControl-v0").spec.id == "daif/EnergyControl-v0"


def test_a_vector_of_simpy_plants():
    vector = gymnasium.make_vec("daif/EnergyControl-v0", num_envs=3, engine="simpy")
    observation, info = vector.reset(seed=7)
    single_observation, single_info = make().reset(seed=8)
    assert observation["machines"].shape == (3, 6)
    assert observation["machines"][1].tolist() == single_observation["machines"].tolist()
    assert info["energy_kj"][1] == single_info["energy_kj"]
    assert info["energy_by_state_kj"].shape == (3, 5)
    vector.step(np.array([1, 2, 3]))
    vector.close()
