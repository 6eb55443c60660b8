"""Wrappers, and the tiny environments with a known optimum."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FlattenObservation
from stable_baselines3.common.env_checker import check_env as check_sb3_env

import envs  # noqa: F401 - registers
from envs.wrappers import DelayedReward, FlatFloat32, HistoryFrames, PreferenceScore

START = {"start": "empty"}


def workstation(**settings: object) -> gymnasium.Env:
    return gymnasium.make("daif/EnergyControl-v0", **settings)


class Counting(gymnasium.Env):
    """Rewards 1, 2, 3, ...; truncated after 7 steps."""

    observation_space = gymnasium.spaces.Discrete(8)
    action_space = gymnasium.spaces.Box(1.0, 2.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step = 0
        return 0, {}

    def step(self, action):
        self._step += 1
        return self._step, float(self._step), False, self._step == 7, {}


@pytest.mark.parametrize("wrap", [FlatFloat32, HistoryFrames, PreferenceScore, lambda env: DelayedReward(env, 3)])
@pytest.mark.filterwarnings("error")
def test_wrapped_workstations_pass_both_checkers(wrap):
    env = wrap(workstation())
    # Gymnasium's checker refuses any wrapper on principle; what it warns of has been looked at in the wrapped one
    with pytest.warns(UserWarning, match="different from the unwrapped version"):
        check_env(env, skip_render_check=True)
    if len(env.observation_space.shape or (0,)) == 1:
        check_sb3_env(env)


def test_flat_numbers_are_gymnasiums_in_float32():
    ours, theirs = FlatFloat32(workstation()), FlattenObservation(workstation())
    assert ours.observation_space.shape == (44,)
    assert ours.observation_space.dtype == np.float32
    one, two = ours.reset(seed=3)[0], theirs.reset(seed=3)[0]
    for action in (0, 3, 6, 2):
        assert one.dtype == np.float32
        assert ours.observation_space.contains(one)
        assert one == pytest.approx(two)
        one, two = ours.step(action)[0], theirs.step(action)[0]


@pytest.mark.parametrize(
    ("delay", "accumulate", "expected"),
    [
        (0, False, [1, 2, 3, 4, 5, 6, 7]),
        (2, False, [0, 0, 1, 2, 3, 4, 5 + 6 + 7]),
        (9, False, [0, 0, 0, 0, 0, 0, 28]),
        (1, True, [1, 2, 3, 4, 5, 6, 7]),
        (3, True, [0, 0, 6, 0, 0, 15, 7]),
    ],
)
def test_rewards_come_late_but_in_full(delay, accumulate, expected):
    env = DelayedReward(Counting(), delay, accumulate)
    for _ in range(2):  # a second episode owes nothing from the first
        env.reset(seed=0)
        steps = [env.step(env.action_space.sample()) for _ in range(7)]
        assert [step[1] for step in steps] == expected
        assert [step[4]["undelayed_reward"] for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    env.reset()
    env.step(env.action_space.sample())
    env.reset()
    assert env.step(env.action_space.sample())[1] == expected[0]


def test_the_preference_score_takes_the_place_of_the_reward():
    env = PreferenceScore(workstation(reward="increment"))
    observation, info = env.reset(seed=0)
    assert info["preference_score"] == observation["scores"][2]
    observation, reward, *_, info = env.step(4)
    assert reward == info["preference_score"] == observation["scores"][2]
    plain = workstation(reward="increment")
    plain.reset(seed=0)
    assert info["reward"] == plain.step(4)[1]
    own = PreferenceScore(Counting(), lambda observation, info: -observation)
    own.reset()
    assert own.step(own.action_space.sample())[1] == -1.0


def test_history_frames_hold_observations_and_actions():
    env, plain = HistoryFrames(workstation(), 3), FlattenObservation(workstation())
    first = plain.reset(seed=1)[0]
    history, _ = env.reset(seed=1)
    assert history.shape == (3, 44 + 7)
    assert (history[:, 44:] == 0).all()
    assert history[:, :44] == pytest.approx(np.tile(first, (3, 1)))
    flat = [first, first, first]
    kept = history.copy()
    for action in (2, 5):
        flat = [*flat[1:], plain.step(action)[0]]
        later = env.step(action)[0]
        assert env.observation_space.contains(later)
        assert later[:, :44] == pytest.approx(np.array(flat))
        assert later[-1, 44:].tolist() == np.eye(7)[action].tolist()
    assert later[-2, 44:].tolist() == np.eye(7)[2].tolist()
    assert (history == kept).all()


def test_history_frames_of_real_actions():
    env = HistoryFrames(Counting(), 2)
    history, _ = env.reset(seed=0)
    assert env.observation_space.contains(history)  # no action yet: zeros, outside the action space
    action = np.array([1.25, 2.0], np.float32)
    later = env.step(action)[0]
    assert later[-1].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 1.25, 2.0]
    assert HistoryFrames(Counting(), 2, actions=False).reset()[0].shape == (2, 8)


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda: DelayedReward(Counting(), -1), "delay of the reward is -1"),
        (lambda: DelayedReward(Counting(), 0, accumulate=True), "delay of the reward is 0; it must be from 1"),
        (lambda: HistoryFrames(Counting(), 0), "number of frames is 0"),
        (lambda: PreferenceScore(Counting(), 3.0), "must be a function of observation and info, not 3.0"),
        (lambda: gymnasium.make("daif/Chain-v0", length=1), "length of the chain is 1; it must be from 2"),
        (lambda: gymnasium.make("daif/Identity-v0", actions=1), "number of actions is 1"),
    ],
)
def test_bad_settings_get_one_clear_sentence(wrap, message):
    with pytest.raises(ValueError, match=message):
        wrap()


@pytest.mark.parametrize("name", ["Identity", "IdentityContinuous", "Chain"])
@pytest.mark.filterwarnings("error")
def test_toys_pass_both_checkers(name):
    env = gymnasium.make(f"daif/{name}-v0")
    check_env(env.unwrapped)
    check_sb3_env(env)


def play(env: gymnasium.Env, policy) -> float:
    observation, _ = env.reset(seed=0)
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total, over = total + reward, terminated or truncated
    return total


@pytest.mark.parametrize("name", ["Identity", "IdentityContinuous"])
def test_the_identity_is_optimal(name):
    env = gymnasium.make(f"daif/{name}-v0")
    assert play(env, lambda seen: seen) == env.unwrapped.optimal_return


def test_other_policies_earn_what_the_docstrings_say():
    rng = np.random.default_rng(17)  # not the environment's own numbers
    env = gymnasium.make("daif/Identity-v0", actions=4, steps=20_000)
    assert play(env, lambda _: int(rng.integers(4))) == pytest.approx(5_000, abs=4 * np.sqrt(20_000 * 3 / 16))
    env = gymnasium.make("daif/IdentityContinuous-v0", steps=20_000)
    assert play(env, lambda seen: 0 * seen) == pytest.approx(-20_000 / 3, rel=0.03)
    assert play(env, lambda seen: rng.uniform(-1, 1, seen.shape)) == pytest.approx(-2 * 20_000 / 3, rel=0.03)


def test_the_chain_pays_patience():
    env = gymnasium.make("daif/Chain-v0", length=5, small=0.2)
    places = []
    assert play(env, lambda place: places.append(place) or 1) == env.unwrapped.optimal_return == 1.0
    assert places == [0, 1, 2, 3]
    assert play(env, lambda _: 0) == 0.2
    assert play(env, lambda place: int(place < 2)) == 0.2
