"""A DQN that keeps learning does so from its own replay memory, as often as in training, and leaves the trained one."""

import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from baselines.continual_dqn import ContinualDQN
from baselines.sb3 import DQNSettings, PPOSettings, SB3Learner

SPACE = spaces.Box(-1.0, 1.0, (3,), dtype=np.float32)
SETTINGS = DQNSettings(
    num_envs=4, buffer_size=40, train_freq=2, gradient_steps=3, batch_size=8, hidden=(8,), learning_starts=0,
    target_update_interval=24,
)  # fmt: skip


def trained() -> SB3Learner:
    learner = SB3Learner(SPACE, spaces.Discrete(2, start=1), SETTINGS, seed=0)
    buffer = learner.model.replay_buffer
    for i in range(13):  # the buffer holds 10 steps of 4 environments
        seen = np.full((4, 3), i / 20.0, dtype=np.float32)
        buffer.add(seen, seen, np.zeros(4), np.arange(4) + 4.0 * i, np.zeros(4), [{}] * 4)
    return learner


def run(agent: ContinualDQN, steps: int, num_envs: int = 3) -> list[list[int]]:
    agent.begin(num_envs)
    generator, actions = np.random.default_rng(0), []
    for i in range(steps):
        actions.append(agent.act(generator.uniform(-1, 1, (num_envs, 3)).astype(np.float32)).tolist())
        agent.receive(np.full(num_envs, 100.0 + i), {})
    return actions


def test_it_continues_from_the_latest_of_its_replay_memory() -> None:
    agent = ContinualDQN(trained())
    agent.begin(3)
    buffer = agent.model.replay_buffer
    assert buffer is not None
    assert buffer.rewards.shape == (13, 3)  # 40 transitions as 13 steps of 3, the oldest one left out
    assert buffer.rewards.ravel().tolist() == list(range(13, 52))
    assert buffer.full
    run(agent, 3)
    buffer = agent.model.replay_buffer
    assert sorted(buffer.rewards.ravel().tolist())[-6:] == [100.0] * 3 + [101.0] * 3


def test_it_learns_as_often_as_in_training_and_the_trained_one_stays() -> None:
    learner = trained()
    before = copy.deepcopy(learner.state())
    first, second = ContinualDQN(learner), ContinualDQN(learner)
    actions = run(first, 17)
    assert {action for step in actions for action in step} <= {1, 2}
    assert actions == run(second, 17), "the seed decides"
    assert first.figures() == {"decisions": 48, "gradient_steps": 18}  # 3 for each 2 steps of 4 environments
    after = learner.state()
    for name in ("policy", "policy.optimizer"):
        assert str(before[0][name]) == str(after[0][name])
    assert all(np.array_equal(before[1][name], after[1][name]) for name in before[1])
    networks = (learner.model.q_net, first.model.q_net)
    assert not torch.equal(*(torch.nn.utils.parameters_to_vector(net.parameters()) for net in networks))


def test_another_algorithm_is_refused() -> None:
    settings = PPOSettings(n_steps=8, batch_size=8, hidden=(8,))
    with pytest.raises(ValueError, match="only DQN keeps learning"):
        ContinualDQN(SB3Learner(SPACE, spaces.Discrete(2), settings, seed=0))
