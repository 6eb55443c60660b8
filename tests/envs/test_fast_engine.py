"""The compiled engine: the same plant as SimPy's, conserved, reproducible, and at home in Gymnasium."""

import gymnasium
import numpy as np
import psutil
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import stats

import envs  # noqa: F401
from envs.energy_control.config import BUSY, DEPARTURE, FAILED, IDLE, START_UP, Plant, plant_names
from envs.energy_control.vector import INFO_KEYS, EnergyControlVectorEnv

ID = "daif/EnergyControl-v0"
SHORT = {"start_s": 3600.0}


# Plants ---------------------------------------------------------------------------------------------------------------


def deterministic(low: float, high: float) -> st.SearchStrategy[dict]:
    return st.floats(low, high).map(lambda mean_s: {"kind": "deterministic", "mean_s": mean_s})


def without_ties(plant: dict) -> dict:
    """Add roots of primes to the times, so that no two kinds of event fall on one instant."""
    roots = iter(np.sqrt([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47]) / 97.0)
    plant["arrivals"]["interarrival"]["mean_s"] += next(roots)
    for i, station in enumerate(plant["stations"]):
        station = plant["stations"][i] = dict(station)
        for name in ("processing", "start_up", "failure", "repair"):
            if station[name] is not None:
                station[name] = {**station[name], "mean_s": station[name]["mean_s"] + next(roots)}
    return plant


def random_times(low: float, high: float) -> st.SearchStrategy[dict]:
    mean_s = st.floats(low, high)
    return st.one_of(
        mean_s.map(lambda m: {"kind": "exponential", "mean_s": m}),
        st.builds(lambda m, k: {"kind": "erlang", "mean_s": m, "phases": k}, mean_s, st.integers(1, 5)),
        st.builds(lambda m, cv: {"kind": "lognormal", "mean_s": m, "cv": cv}, mean_s, st.floats(0.1, 2.0)),
        mean_s.map(lambda m: {"kind": "deterministic", "mean_s": m}),
        st.lists(mean_s, min_size=1, max_size=5).map(lambda values: {"kind": "empirical", "values": values}),
    )


def make_plants(times, stations: int = 3) -> st.SearchStrategy[dict]:
    powers = st.builds(
        lambda kw: dict(zip(("busy_kw", "idle_kw", "start_up_kw", "standby_kw", "failed_kw"), kw, strict=True)),
        st.tuples(*[st.floats(1.0, 20.0)] * 3, *[st.floats(0.0, 3.0)] * 2),
    )
    station = st.builds(
        lambda machines, buffer, processing, start_up, failure, repair, powers: {
            "machines": machines,
            "buffer": buffer,
            "processing": processing,
            "start_up": start_up,
            "failure": failure,
            "repair": repair,
            "powers": powers,
        },
        st.integers(1, 7),
        st.integers(1, 8),
        times(20.0, 120.0),
        times(5.0, 60.0),
        st.none() | times(100.0, 900.0),
        times(10.0, 90.0),
        powers,
    )
    profile = st.none() | st.builds(
        lambda low, high: {"kind": "day", "hours": [0, 0.05, 0.6, 5], "factors": [low, high, 0.0, 1.0]},
        st.floats(0.0, 1.0),
        st.floats(0.1, 2.0),
    )
    return st.builds(
        lambda interarrival, profile, stations, assignment: {
            "name": "drawn",
            "arrivals": {"interarrival": dict(interarrival), "profile": profile},
            "stations": list(stations),
            "assignment": assignment,
        },
        times(8.0, 60.0),
        profile,
        st.lists(station, min_size=1, max_size=stations),
        st.sampled_from(["pooled", "index"]),
    )


# The same plant as SimPy's --------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    plant=make_plants(deterministic).map(without_ties),
    seed=st.integers(0, 2**32 - 1),
    steadiness=st.integers(1, 15),
    options=st.sampled_from([{"start": "empty"}, {"start_s": 0.0}, {"start_s": 1234.5}]),
    score_average=st.sampled_from(["window", "exponential"]),
    window_s=st.sampled_from([100.0, 900.0, 28_800.0]),
    reward=st.sampled_from(["score", "score-linear", "increment"]),
    score=st.sampled_from(["sigmoid", "linear"]),
)
def test_without_chance_both_engines_are_equal_event_for_event(
    plant, seed, steadiness, options, score_average, window_s, reward, score
):
    settings_ = {"plant": plant, "observe_event": True, "reward": reward, "score": score, "episode_decisions": 150}
    settings_ |= {"score_average": score_average, "window_s": window_s}
    pair = [gymnasium.make(ID, engine=engine, **settings_) for engine in ("simpy", "fast")]
    assert pair[0].observation_space == pair[1].observation_space
    assert pair[0].action_space == pair[1].action_space
    pair[0].action_space.seed(seed)
    seen = [env.reset(seed=seed, options=options) for env in pair]
    plants = pair[1].unwrapped._plants
    action, tied = pair[0].action_space.sample(), False
    for step in range(151):
        # Two machines may be due at one instant by different sums, job + repair and repair + job, in an order up to
        # rounding; from there on the engines may part.
        tied = tied or (np.diff(np.sort(due_times(plants))) < 1e-6).any()
        try:
            for ours, theirs in zip(*seen, strict=True):
                assert_equal(ours, theirs)
        except AssertionError:
            if tied:
                return
            raise
        if step == 150:
            return
        if step % steadiness == 0:
            action = pair[0].action_space.sample()
        outcomes = [env.step(action) for env in pair]
        assert outcomes[0][2:4] == outcomes[1][2:4] == (False, step == 149)
        seen = [({**observation, "reward": reward}, info) for observation, reward, _, _, info in outcomes]


def due_times(plants) -> np.ndarray:
    """When something happens next, by machine, and when a part arrives."""
    due_s = np.append(plants._state["machine"]["due_s"][0], plants._state["core"]["next_arrival_s"][0])
    return due_s[np.isfinite(due_s)]


def assert_equal(ours: dict, theirs: dict) -> None:
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        np.testing.assert_allclose(value, theirs[key], rtol=1e-6, atol=1e-6, err_msg=key)
        assert np.shape(value) == np.shape(theirs[key])


class Recorder:
    """Figures of one plant from what it shows at its decisions; the buffer's and the start-ups' too."""

    def __init__(self, observation, info, capacity: int) -> None:
        self.start = info
        self.levels = np.zeros(capacity + 1)
        self.starts = 0
        self.decisions = 0
        self.gaps: list[float] = []
        self._last_departure_s = None
        self._machines = observation["machines"]

    def add(self, buffer: int, machines: np.ndarray, info: dict) -> None:
        self.levels[buffer] += 1
        self.starts += int(((machines == START_UP) & (self._machines != START_UP)).sum())
        self._machines = machines
        self.decisions += 1
        if info["event"] == DEPARTURE:
            if self._last_departure_s is not None:
                self.gaps.append(info["time_s"] - self._last_departure_s)
            self._last_departure_s = info["time_s"]
        self.end = info

    def figures(self) -> dict[str, float]:
        hours = (self.end["time_s"] - self.start["time_s"]) / 3600.0
        by_state = self.end["energy_by_state_kj"] - self.start["energy_by_state_kj"]
        figures = {
            "throughput": (self.end["parts_made"] - self.start["parts_made"]) / hours,
            "discarded": (self.end["parts_discarded"] - self.start["parts_discarded"]) / hours,
            "power": (self.end["energy_kj"] - self.start["energy_kj"]) / hours,
            "decisions": self.decisions / hours,
            "start-ups": self.starts / hours,
        }
        figures |= {f"energy {state}": energy / hours for state, energy in enumerate(by_state)}
        return figures | {f"buffer {level}": n / self.decisions for level, n in enumerate(self.levels)}


def with_simpy(plant, policy, replications, decisions, seed):
    env = gymnasium.make(ID, plant=plant, window_s=600.0, disable_env_checker=True)
    for i in range(replications):
        observation, info = env.reset(seed=seed + i, options={"start_s": 7200.0})
        recorder = Recorder(observation, info, int(env.observation_space["buffer"].n) - 1)
        for _ in range(decisions):
            observation, _, _, _, info = env.step(policy(np.array([observation["buffer"]]), observation["machines"])[0])
            recorder.add(observation["buffer"], observation["machines"], info)
        yield recorder


def with_fast(plant, policy, replications, decisions, seed):
    env = gymnasium.make_vec(ID, num_envs=replications, plant=plant, window_s=600.0)
    observation, infos = env.reset(seed=seed, options={"start_s": 7200.0})

    def rows(infos):
        shown = {key: infos[key] for key in ("time_s", "energy_kj", "energy_by_state_kj", "parts_made")}
        shown |= {key: infos[key] for key in ("parts_discarded", "event")}
        return [{key: value[i] for key, value in shown.items()} for i in range(replications)]

    recorders = [
        Recorder({"machines": machines}, info, int(env.single_observation_space["buffer"].n) - 1)
        for machines, info in zip(observation["machines"], rows(infos), strict=True)
    ]
    for _ in range(decisions):
        observation, _, _, _, infos = env.step(policy(observation["buffer"], observation["machines"]))
        for i, info in enumerate(rows(infos)):
            recorders[i].add(observation["buffer"][i], observation["machines"][i], info)
    return recorders


def assert_no_difference(plant, policy, replications: int, decisions: int, comparisons: int) -> None:
    """Welch's test on every figure and the Kolmogorov-Smirnov test on inter-departure times, at 1 % all in all."""
    ours = list(with_simpy(plant, policy, replications, decisions, seed=1000))
    theirs = with_fast(plant, policy, replications, decisions, seed=5000)
    samples = [[recorder.figures() for recorder in recorders] for recorders in (ours, theirs)]
    names = list(samples[0][0])
    alpha = 0.01 / comparisons / (len(names) + 1)
    for name in names:
        a, b = (np.array([figures[name] for figures in sample]) for sample in samples)
        if np.ptp(a) == 0.0 and np.ptp(b) == 0.0:
            assert a[0] == b[0], name
        else:
            assert stats.ttest_ind(a, b, equal_var=False).pvalue > alpha, (name, a.mean(), b.mean())
    # Every twentieth gap: near ones are not independent.
    gaps = [np.concatenate([recorder.gaps[::20] for recorder in recorders]) for recorders in (ours, theirs)]
    assert stats.ks_2samp(*gaps).pvalue > alpha


def all_on(buffer, machines):
    return np.full(len(buffer), np.shape(machines)[-1])


def four(buffer, machines):
    return np.full(len(buffer), 4)


def by_load(buffer, machines):
    at_work = np.isin(np.atleast_2d(machines), (BUSY, FAILED)).sum(axis=1)
    return np.minimum(buffer + at_work, np.shape(machines)[-1])


@pytest.mark.parametrize("policy", [four, by_load])
def test_engines_agree_on_the_paper_plant(policy):
    assert_no_difference("paper", policy, replications=12, decisions=4000, comparisons=2)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [all_on, four, by_load])
@pytest.mark.parametrize("plant", ["paper", "high-load", "low-load", "shift-profile", "random"])
def test_engines_agree_on_many_plants(plant, policy):
    if plant == "random":
        plant = Plant.from_dict(
            {
                "name": "mixed",
                "arrivals": {"interarrival": {"kind": "erlang", "mean_s": 18, "phases": 3}},
                "assignment": "index",
                "stations": [
                    {
                        "machines": 6,
                        "buffer": 5,
                        "processing": {"kind": "lognormal", "mean_s": 80, "cv": 0.7},
                        "start_up": {"kind": "empirical", "values": [10, 20, 20, 70]},
                        "failure": {"kind": "exponential", "mean_s": 700},
                        "repair": {"kind": "erlang", "mean_s": 200, "phases": 2},
                        "powers": {"busy_kw": 15, "idle_kw": 9, "start_up_kw": 10, "standby_kw": 1, "failed_kw": 2},
                    }
                ],
            }
        )
    assert_no_difference(plant, policy, replications=20, decisions=15_000, comparisons=15)


# Conservation ---------------------------------------------------------------------------------------------------------


def parts_inside(observation: dict) -> np.ndarray:
    inside = 0
    for key, value in observation.items():
        if key.startswith("buffer"):
            inside = inside + value
        elif key.startswith("machines"):
            inside = inside + (np.isin(value, (BUSY, FAILED)) | (value == 5)).sum(axis=1)
    return inside


@settings(max_examples=25, deadline=None)
@given(
    plant=make_plants(random_times).map(Plant.from_dict),
    seed=st.integers(0, 2**32 - 1),
    steadiness=st.integers(1, 20),
    start=st.sampled_from(["all-on", "random"]),
    steps=st.integers(50, 400),
)
def test_parts_energy_and_machines_are_conserved(plant, seed, steadiness, start, steps):
    env = gymnasium.make_vec(ID, num_envs=4, plant=plant, observe_event=True, window_s=500.0)
    env.action_space.seed(seed % 2**31)
    observation, infos = env.reset(seed=seed, options={"start": start, "start_s": 600.0})
    powers = np.array([station.powers.by_state_kw for station in plant.stations])
    inside = parts_inside(observation) - infos["parts_arrived"] + infos["parts_made"] + infos["parts_discarded"]
    time_s = np.zeros(4)
    for step in range(steps):
        assert observation in env.observation_space
        if step % steadiness == 0:
            actions = env.action_space.sample()
        observation, _, terminated, truncated, infos = env.step(actions)
        balance = infos["parts_arrived"] - infos["parts_made"] - infos["parts_discarded"] + inside
        assert (parts_inside(observation) == balance).all()
        assert (infos["machines_by_state"].sum(axis=1) == plant.machines).all()
        np.testing.assert_allclose(infos["energy_by_state_kj"].sum(axis=1), infos["energy_kj"], rtol=1e-9)
        state_s = env.plants._state["station"]["state_s"]
        busiest = sum(station.machines for station in plant.stations)
        np.testing.assert_allclose(state_s.sum(axis=(1, 2)), busiest * infos["time_s"], rtol=1e-9)
        kw = np.concatenate([powers, powers[:, [IDLE]]], axis=1)
        np.testing.assert_allclose((state_s * kw).sum(axis=(1, 2)), infos["energy_kj"], rtol=1e-9)
        np.testing.assert_allclose(
            infos["elapsed_s"], infos["time_s"] - time_s if step else infos["elapsed_s"], atol=1e-6
        )
        assert (infos["wasted_kj"] >= 0.0).all()
        assert (infos["wasted_kj"] <= infos["used_kj"] + 1e-9).all()
        assert not terminated.any()
        assert not truncated.any()
        time_s = infos["time_s"].copy()


@pytest.mark.parametrize("plant", plant_names())
def test_shipped_plants_run_within_their_spaces(plant):
    env = gymnasium.make_vec(ID, num_envs=3, plant=plant, observe_event=True)
    observation, infos = env.reset(seed=1, options=SHORT)
    assert observation in env.observation_space
    for _ in range(300):
        observation, reward, _, _, infos = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert ((reward >= 0.0) & (reward <= 1.0)).all()
    assert set(infos) == {*INFO_KEYS, *(f"_{key}" for key in INFO_KEYS)}


# Gymnasium's contract -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_the_single_environment_passes_the_checker():
    check_env(gymnasium.make(ID, engine="fast", episode_decisions=20).unwrapped)
    check_env(gymnasium.make(ID, engine="fast", plant="two-stage").unwrapped)


def test_first_plant_of_the_vector_is_the_single_one():
    single = gymnasium.make(ID, engine="fast", observe_event=True)
    many = gymnasium.make_vec(ID, num_envs=3, observe_event=True)
    observation, info = single.reset(seed=7, options=SHORT)
    observations, infos = many.reset(seed=7, options=SHORT)
    for step in range(200):
        action = step % 7
        for key, value in observation.items():
            assert np.array_equal(value, observations[key][0])
        for key, value in info.items():
            assert np.array_equal(value, infos[key][0])
        observation, reward, _, _, info = single.step(action)
        observations, rewards, _, _, infos = many.step(np.full(3, action))
        assert reward == rewards[0]


def rollout(env: EnergyControlVectorEnv, steps: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(steps):
        observation, reward, _, truncated, infos = env.step(rng.integers(0, 7, env.num_envs))
        seen += [*observation.values(), reward, truncated, *(infos[key] for key in INFO_KEYS)]
    return seen


def test_a_second_reset_is_like_the_first():
    first = EnergyControlVectorEnv(3, score_average="exponential", reward="increment")
    first.reset(seed=8, options=SHORT)
    rollout(first, 70, seed=0)
    second = EnergyControlVectorEnv(3, score_average="exponential", reward="increment")
    for env in (first, second):
        env.reset(seed=9, options=SHORT)
    assert all(np.array_equal(a, b) for a, b in zip(rollout(first, 50, 1), rollout(second, 50, 1), strict=True))
    windows = [EnergyControlVectorEnv(3), EnergyControlVectorEnv(3)]
    windows[0].reset(seed=8, options=SHORT)
    rollout(windows[0], 70, seed=0)
    for env in windows:
        env.reset(seed=9, options=SHORT)
    assert all(np.array_equal(a, b) for a, b in zip(*(rollout(env, 50, 1) for env in windows), strict=True))


def test_same_seed_same_trajectory_and_other_seed_another():
    runs = []
    for seed in (3, 3, 4):
        env = gymnasium.make_vec(ID, num_envs=5)
        env.reset(seed=seed, options=SHORT)
        runs.append(rollout(env, 50, seed=0))
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


def test_plant_i_follows_from_seed_plus_i():
    env = gymnasium.make_vec(ID, num_envs=5)
    firsts = [env.reset(seed=seed, options=SHORT)[1]["energy_kj"].copy() for seed in (3, 4)]
    assert np.array_equal(firsts[0][1:], firsts[1][:-1])
    assert len(np.unique(firsts[0])) == 5


def test_two_policies_on_one_seed_see_the_same_arrivals():
    arrived = []
    for n in (6, 2):
        env = gymnasium.make_vec(ID, num_envs=3)
        env.reset(seed=3, options={"start": "empty"})
        times = [set(), set(), set()]
        for _ in range(400):
            _, _, _, _, infos = env.step(np.full(3, n))
            for i in np.flatnonzero(infos["event"] != DEPARTURE):
                times[i].add(infos["time_s"][i])
        arrived.append(times)
    for ours, theirs in zip(*arrived, strict=True):
        shorter = min(max(ours), max(theirs))
        assert {t for t in ours if t <= shorter} == {t for t in theirs if t <= shorter}


@pytest.mark.parametrize("autoreset_mode", list(AutoresetMode))
@pytest.mark.parametrize("score_average", ["window", "exponential"])
def test_a_restored_state_has_the_same_future(autoreset_mode, score_average):
    settings_ = {"autoreset_mode": autoreset_mode, "score_average": score_average}
    if autoreset_mode != AutoresetMode.DISABLED:
        settings_["episode_decisions"] = 37
    env = EnergyControlVectorEnv(4, **settings_)
    env.reset(seed=1, options=SHORT)
    rollout(env, 60, seed=1)
    state = env.get_state()
    after = rollout(env, 60, seed=2)
    env.set_state(state)
    assert all(np.array_equal(a, b) for a, b in zip(after, rollout(env, 60, seed=2), strict=True))
    other = EnergyControlVectorEnv(4, **settings_)
    other.set_state(state)
    assert all(np.array_equal(a, b) for a, b in zip(after, rollout(other, 60, seed=2), strict=True))


def test_a_state_of_another_plant_is_refused():
    env = EnergyControlVectorEnv(2)
    env.reset(seed=1, options=SHORT)
    state = env.get_state()
    with pytest.raises(ValueError, match="shape"):
        EnergyControlVectorEnv(3).set_state(state)
    del state["core"]
    with pytest.raises(ValueError, match="lacks the array 'core'"):
        env.set_state(state)


def test_next_step_autoreset():
    env = EnergyControlVectorEnv(3, episode_decisions=10)
    env.reset(seed=1, options={"start": "empty"})
    for episode in range(3):
        for step in range(10):
            _, _, _, truncated, infos = env.step(np.full(3, 6))
            assert truncated.all() == truncated.any() == (step == 9)
        _, reward, _, truncated, infos = env.step(np.full(3, 99) % 7)
        assert (reward == 0.0).all()
        assert not truncated.any()
        assert (infos["time_s"] == infos["elapsed_s"]).all(), episode


def test_same_step_autoreset():
    env = EnergyControlVectorEnv(3, episode_s=400.0, autoreset_mode=AutoresetMode.SAME_STEP)
    twin = EnergyControlVectorEnv(3, autoreset_mode=AutoresetMode.DISABLED)
    for e in (env, twin):
        e.reset(seed=[4, 9, 23], options=SHORT)
    alive = np.ones(3, dtype=bool)
    while alive.any():
        observation, reward, _, truncated, infos = env.step(np.full(3, 6))
        last, twin_reward, _, _, twin_infos = twin.step(np.full(3, 6))
        assert np.array_equal(reward[alive], twin_reward[alive])
        assert ("final_obs" in infos) == truncated.any()
        for i in np.flatnonzero(alive & truncated):
            assert twin_infos["time_s"][i] >= 400.0
            assert infos["_final_obs"][i]
            assert infos["final_obs"][i] in env.single_observation_space
            for key, value in last.items():
                assert np.array_equal(infos["final_obs"][i][key], value[i])
            for key in INFO_KEYS:
                assert np.array_equal(infos["final_info"][key][i], twin_infos[key][i])
            assert infos["time_s"][i] == infos["elapsed_s"][i] < 400.0
        for i in np.flatnonzero(alive & ~truncated):
            for key, value in last.items():
                assert np.array_equal(observation[key][i], value[i])
        alive &= ~truncated


def test_disabled_autoreset_waits_for_the_mask():
    env = EnergyControlVectorEnv(3, episode_decisions=4, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3, dtype=np.int64))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    env.reset(seed=1, options=SHORT)
    for _ in range(4):
        observation, _, _, truncated, _ = env.step(np.full(3, 6))
    assert truncated.all()
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset_mask"):
        env.step(np.full(3, 6))
    mask = np.array([True, False, True])
    after, infos = env.reset(seed=[5, None, 6], options={**SHORT, "reset_mask": mask})
    assert np.array_equal(after["machines"][1], observation["machines"][1])
    assert np.array_equal(infos["_time_s"], mask)
    env.reset(options={**SHORT, "reset_mask": ~mask})
    env.step(np.full(3, 6))


def test_a_full_history_grows_without_a_trace():
    """A burst of arrivals beyond what the ring was laid out for, in the start phase and after it."""
    values = [0.1] * 50 + [400.0]
    plant = {
        "name": "bursts",
        "arrivals": {"interarrival": {"kind": "empirical", "values": values}},
        "stations": [
            {
                "machines": 2,
                "buffer": 3,
                "processing": {"kind": "exponential", "mean_s": 5.0},
                "start_up": {"kind": "exponential", "mean_s": 5.0},
                "powers": {"busy_kw": 1.0, "idle_kw": 0.5, "start_up_kw": 0.7},
            }
        ],
    }
    small, roomy = (EnergyControlVectorEnv(3, plant=plant, window_s=3000.0) for _ in range(2))
    small.plants._state["ring"] = np.zeros((3, 2, 3))
    roomy.plants._state["ring"] = np.zeros((3, 2**14, 3))
    for env in (small, roomy):
        env.reset(seed=2, options={"start_s": 2000.0})
    assert 2 < small.plants._state["ring"].shape[1] < 2**14
    for _ in range(1500):
        ours, theirs = (env.step(np.full(3, 1)) for env in (small, roomy))
        assert np.array_equal(ours[0]["scores"], theirs[0]["scores"])


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"plant": "papr"}, "did you mean 'paper'"),
        ({"num_envs": 0}, "number of environments is 0"),
        ({"rewards": "score"}, "did you mean 'reward'"),
        ({"reward": "scores"}, "did you mean 'score'"),
        ({"episode_decisions": 0}, "episode_decisions"),
        ({"episode_s": -1.0}, "episode_s"),
        ({"window_s": 0.0}, "window_s"),
        ({"assignment": "any"}, "assignment"),
        ({"render_mode": "human"}, "render"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(settings_, words):
    with pytest.raises(ValueError, match=words):
        EnergyControlVectorEnv(**{"num_envs": 2, **settings_})


@pytest.mark.parametrize(
    "actions", [[7, 0], [-1, 0], [1.0, 2.0], [1], [[1], [2]], [True, False], 3], ids=lambda a: str(a).replace(" ", "")
)
def test_bad_actions_are_refused_in_a_sentence(actions):
    env = EnergyControlVectorEnv(2)
    env.reset(seed=0, options=SHORT)
    with pytest.raises(ValueError, match="actions"):
        env.step(np.array(actions))


def test_bad_reset_arguments_are_refused_in_a_sentence():
    env = EnergyControlVectorEnv(2)
    with pytest.raises(ValueError, match="3 seeds for 2"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="did you mean 'start'"):
        env.reset(options={"strat": "all-on"})
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": [True, False]})


# Long runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings_", "choose", "parts_per_min", "power_kw"),
    [
        ({}, lambda rng: np.full(256, 4), 2.6916, 58.330),
        ({"assignment": "index"}, lambda rng: rng.integers(0, 7, 256), 2.1725, 55.49),
    ],
    ids=["four", "random by index"],
)
def test_published_figures(settings_, choose, parts_per_min, power_kw):
    env = gymnasium.make_vec(ID, num_envs=256, window_s=600.0, **settings_)
    env.reset(seed=20, options=SHORT)
    rng = np.random.default_rng(0)
    for _ in range(500):
        _, _, _, _, infos = env.step(choose(rng))
    start = {key: infos[key].copy() for key in ("time_s", "parts_made", "energy_kj")}
    for _ in range(3000):
        _, _, _, _, infos = env.step(choose(rng))
    span_s = infos["time_s"] - start["time_s"]
    made = 60.0 * (infos["parts_made"] - start["parts_made"]) / span_s
    used_kw = (infos["energy_kj"] - start["energy_kj"]) / span_s
    # 4.5 standard errors, and the published figures' own.
    assert made.mean() == pytest.approx(parts_per_min, abs=4.5 * made.std(ddof=1) / 16.0 + 0.002)
    assert used_kw.mean() == pytest.approx(power_kw, abs=4.5 * used_kw.std(ddof=1) / 16.0 + 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("plant", ["paper", "two-stage"])
def test_a_hundred_years_are_conserved_in_flat_memory(plant):
    env = gymnasium.make_vec(ID, num_envs=1024, plant=plant, window_s=3600.0)
    observation, infos = env.reset(seed=0, options=SHORT)
    inside = parts_inside(observation) - infos["parts_arrived"] + infos["parts_made"] + infos["parts_discarded"]
    rng = np.random.default_rng(0)
    shape = env.action_space.shape
    high = np.broadcast_to(env.single_action_space.nvec if len(shape) > 1 else env.single_action_space.n, shape)
    actions = rng.integers(1, high)
    process, first, year_s = psutil.Process(), None, 365.25 * 86_400.0
    step = 0
    while infos["time_s"].sum() < 100.0 * year_s:
        if step % 20 == 0:
            actions = rng.integers(1, high)
        observation, _, _, _, infos = env.step(actions)
        step += 1
        if step % 20_000 == 0:
            memory = process.memory_info().rss
            first = first or memory
            assert memory < first + 16 * 2**20
            assert min(value.min() for key, value in observation.items() if key.startswith("buffer")) >= 0
    balance = infos["parts_arrived"] - infos["parts_made"] - infos["parts_discarded"] + inside
    assert (parts_inside(observation) == balance).all()
    state_s = env.plants._state["station"]["state_s"]
    np.testing.assert_allclose(state_s.sum(axis=(1, 2)), env.plants.plant.machines * infos["time_s"], rtol=1e-9)
    np.testing.assert_allclose(infos["energy_by_state_kj"].sum(axis=1), infos["energy_kj"], rtol=1e-9)
