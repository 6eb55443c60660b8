"""Stable-Baselines3 as learners: the adapter's contract, schedules over epochs, and resumption bit for bit."""

import random

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import envs  # noqa: F401
from baselines.outcome_reward import OutcomeReward
from baselines.sb3 import DQNSettings, GymnasiumVecEnv, PPOSettings, SACSettings, SB3Learner
from daif.experiments.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from daif.experiments.environments import make_vector, maker, spaces_of

_OFF_POLICY = {"learning_starts": 50, "batch_size": 16, "hidden": (8,)}
_PPO = {"n_steps": 50, "batch_size": 50, "num_envs": 2, "hidden": (8,)}
SMALL = {
    "dqn": (
        "CartPole-v1",
        DQNSettings(total_steps=1200, epoch_steps=300, buffer_size=500, exploration_fraction=0.5, **_OFF_POLICY),
    ),
    "ppo": ("CartPole-v1", PPOSettings(total_steps=1200, epoch_steps=300, n_epochs=2, learning_rate_end=0.0, **_PPO)),
    "ppo-box": ("Pendulum-v1", PPOSettings(total_steps=400, epoch_steps=200, n_epochs=1, **_PPO)),
    "sac": ("Pendulum-v1", SACSettings(total_steps=400, epoch_steps=200, buffer_size=300, **_OFF_POLICY)),
    "sac-sde": ("Pendulum-v1", SACSettings(total_steps=200, epoch_steps=100, use_sde=True, **_OFF_POLICY)),
    "ppo-plant": (
        "daif/EnergyControl-v0",
        PPOSettings(
            total_steps=640, epoch_steps=320, n_steps=20, batch_size=80, num_envs=8, n_epochs=1, signal="outcomes"
        ),
    ),
}


class Countdown(gymnasium.Env):
    """Terminates after three steps in state 3, with its step as the reward, or is cut off after two by a limit."""

    observation_space = spaces.Discrete(4)
    action_space = spaces.Discrete(2, start=1)

    def __init__(self, limit=10):
        self.limit = limit
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 0
        return 0, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.state += 1
        return self.state, float(self.state), self.state == 3, self.state >= self.limit, {}


def make(name, seed=0):
    env, settings = SMALL[name]
    observation_space, action_space = spaces_of(env, {})
    return SB3Learner(observation_space, action_space, settings, seed=seed), maker(env, {})


def test_the_adapter_reports_the_end_of_an_episode_as_stable_baselines3_expects():
    envs_ = SyncVectorEnv([Countdown, lambda: Countdown(limit=2)], autoreset_mode=AutoresetMode.SAME_STEP)
    adapter = GymnasiumVecEnv(envs_, seed=0)
    assert adapter.reset().argmax(axis=1).tolist() == [0, 0]
    actions = np.zeros(2, dtype=np.int64)
    seen, rewards, done, infos = adapter.step(actions)
    assert (seen.argmax(axis=1).tolist(), rewards.tolist(), done.tolist(), infos) == (
        [1, 1],
        [1, 1],
        [False] * 2,
        [{}, {}],
    )
    seen, rewards, done, infos = adapter.step(actions)
    assert seen.argmax(axis=1).tolist() == [2, 0]  # the second one has been reset already
    assert done.tolist() == [False, True]
    assert infos[1]["terminal_observation"].argmax() == 2
    assert infos[1]["TimeLimit.truncated"] is True
    seen, rewards, done, infos = adapter.step(actions)
    assert seen.argmax(axis=1).tolist() == [0, 1]
    assert infos[0]["terminal_observation"].argmax() == 3
    assert infos[0]["TimeLimit.truncated"] is False
    assert adapter.metrics()["rollout/ep_rew_mean"] == pytest.approx((3 + 6) / 2)
    assert adapter.metrics()["rollout/ep_len_mean"] == pytest.approx((2 + 3) / 2)


def test_the_adapter_refuses_the_other_autoreset():
    with pytest.raises(ValueError, match="SAME_STEP"):
        GymnasiumVecEnv(SyncVectorEnv([Countdown]), seed=0)


def test_the_adapter_carries_the_workstations_final_observation():
    plants = make_vector("daif/EnergyControl-v0", {"episode_decisions": 3}, 4)
    adapter = GymnasiumVecEnv(plants, seed=0)
    adapter.reset()
    for _ in range(2):
        _, _, done, _ = adapter.step(np.full(4, 6))
        assert not done.any()
    seen, _, done, infos = adapter.step(np.full(4, 6))
    assert done.all()
    for i in range(4):
        assert infos[i]["TimeLimit.truncated"] is True
        assert infos[i]["terminal_observation"].shape == seen[i].shape
        assert adapter.observation_space.contains(infos[i]["terminal_observation"])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_resumption_is_bit_for_bit(name, tmp_path):
    straight, make_envs = make(name)
    expected = [straight.learn_epoch(make_envs, epoch) for epoch in range(straight.epochs)]
    first, make_envs = make(name)
    got = [first.learn_epoch(make_envs, 0)]
    first.act(sample_batch(first, 5))  # what happens between epochs must not matter to training
    tensors, arrays, metadata = first.state()
    save_checkpoint(tmp_path / "c.ckpt", Checkpoint("e", "a", "s", 1, first.decisions, tensors, arrays, metadata, {}))
    saved = load_checkpoint(tmp_path / "c.ckpt")
    second, make_envs = make(name)
    second.load_state(saved.tensors, saved.arrays, saved.metadata)
    assert second.decisions == first.decisions
    got += [second.learn_epoch(make_envs, epoch) for epoch in range(1, second.epochs)]
    assert got == expected
    a, b = straight.model.policy.state_dict(), second.model.policy.state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    batch = sample_batch(second, 7)
    assert np.array_equal(straight.act(batch, deterministic=True), second.act(batch, deterministic=True))


def sample_batch(learner, size):
    from gymnasium.vector.utils import batch_space

    space = batch_space(learner.observation_space, size)
    space.seed(1)
    return space.sample()


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("deterministic", [True, False])
def test_actions_are_valid_and_greedy_ones_agree_with_stable_baselines3(name, deterministic):
    learner, make_envs = make(name)
    learner.learn_epoch(make_envs, 0)
    batch = sample_batch(learner, 64)
    actions = learner.act(batch, deterministic=deterministic)
    assert all(learner.action_space.contains(action) for action in actions)
    theirs, _ = learner.model.predict(learner.flatten(batch), deterministic=True)
    if deterministic:
        np.testing.assert_allclose(actions, theirs, rtol=1e-5, atol=1e-6)
    else:
        assert not np.array_equal(actions, learner.act(batch, deterministic=False))


def test_ppo_samples_its_own_distribution():
    learner, make_envs = make("ppo")
    learner.learn_epoch(make_envs, 0)
    one = sample_batch(learner, 1)
    batch = np.repeat(one, 20_000, axis=0)
    share = learner.act(batch, deterministic=False).mean()
    distribution = learner.model.policy.get_distribution(torch.from_numpy(learner.flatten(one))).distribution
    p = float(distribution.probs[0, 1].detach())
    assert abs(share - p) < 5 * np.sqrt(p * (1 - p) / 20_000)


def test_schedules_follow_the_whole_training():
    learner, make_envs = make("dqn")
    epsilon, rates = [], []
    for epoch in range(learner.epochs):
        learner.learn_epoch(make_envs, epoch)
        epsilon.append(learner.model.exploration_rate)
    # ε falls from 1 to 0.05 over half of the 1200 decisions; an epoch has 300
    assert epsilon == pytest.approx([0.525, 0.05, 0.05, 0.05])
    learner, make_envs = make("ppo")
    for epoch in range(learner.epochs):
        learner.learn_epoch(make_envs, epoch)
        rates.append(learner.model.policy.optimizer.param_groups[0]["lr"])
    done = np.array([300, 600, 900, 1200]) / 1200
    np.testing.assert_allclose(rates, 3e-4 * (1 - done), atol=1e-12)


def test_the_number_of_decisions_is_the_planned_one():
    learner, make_envs = make("ppo")
    for epoch in range(learner.epochs):
        learner.learn_epoch(make_envs, epoch)
    assert learner.decisions == learner.settings.total_steps


def test_global_generators_are_given_back():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    learner, make_envs = make("dqn")
    learner.learn_epoch(make_envs, 0)
    learner.act(sample_batch(learner, 3))
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002


def test_seeds_matter_and_repeat():
    def losses(seed):
        learner, make_envs = make("dqn", seed)
        return learner.learn_epoch(make_envs, 0)

    assert losses(0) == losses(0)
    assert losses(0) != losses(1)


def test_outcome_reward_by_hand():
    plants = OutcomeReward(make_vector("daif/EnergyControl-v0", {}, 16), 6744.5, 300.0)
    plants.reset(seed=0)
    lost_parts = 0.0
    for _ in range(400):
        _, rewards, _, _, info = plants.step(np.full(16, 3))
        np.testing.assert_allclose(rewards, -(6744.5 * info["lost"] + info["wasted_kj"]) / 300.0)
        lost_parts += info["lost"].sum()
    assert lost_parts > 0


def test_outcome_reward_of_a_cut_off_episode_is_that_of_its_last_step():
    a = OutcomeReward(make_vector("daif/EnergyControl-v0", {"episode_decisions": 5}, 8), 1000.0, 1.0)
    b = OutcomeReward(make_vector("daif/EnergyControl-v0", {}, 8), 1000.0, 1.0)
    a.reset(seed=3)
    b.reset(seed=3)
    for step in range(5):
        _, ours, _, truncated, _ = a.step(np.full(8, 4))
        _, endless, _, _, _ = b.step(np.full(8, 4))
        np.testing.assert_allclose(ours, endless)
        assert truncated.all() == (step == 4)


def test_outcome_reward_needs_the_workstation():
    rewards = OutcomeReward(make_vector("CartPole-v1", {}, 2), 1.0, 1.0)
    rewards.reset(seed=0)
    with pytest.raises(ValueError, match="needs the workstation"):
        rewards.step(np.zeros(2, dtype=np.int64))


def test_a_bandit_is_learned():
    """The identity test: the observation is the action that is rewarded."""

    class Identity(gymnasium.Env):
        observation_space = spaces.Discrete(3)
        action_space = spaces.Discrete(3)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.wanted, self.left = int(self.np_random.integers(3)), 20
            return self.wanted, {}

        def step(self, action):
            reward = float(action == self.wanted)
            self.wanted, self.left = int(self.np_random.integers(3)), self.left - 1
            return self.wanted, reward, False, self.left == 0, {}

    settings = PPOSettings(
        total_steps=6000,
        epoch_steps=2000,
        num_envs=4,
        n_steps=125,
        batch_size=125,
        learning_rate=5e-3,
        gamma=0.0,
        hidden=(16,),
    )
    learner = SB3Learner(Identity.observation_space, Identity.action_space, settings, seed=0)

    def make_envs(num_envs, seed):
        return SyncVectorEnv([Identity] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)

    for epoch in range(learner.epochs):
        learner.learn_epoch(make_envs, epoch)
    assert learner.act(np.arange(3), deterministic=True).tolist() == [0, 1, 2]
