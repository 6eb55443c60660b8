"""Tianshou 2: DQN on the workstation.

pip install "tianshou>=2.0"
python examples/tianshou_dqn.py [decisions]
"""

import sys

import numpy as np
import torch
from comparison import compare, make
from tianshou.algorithm.modelfree.dqn import DQN, DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

NUM_ENVS = 4


def main(decisions: int = 50_000, days: float = 2.0) -> dict[str, float]:
    """Train, then compare with all machines on."""
    torch.manual_seed(0)
    env = make()
    training = DummyVectorEnv([make] * NUM_ENVS)
    training.seed(0)
    network = Net(state_shape=env.observation_space.shape, action_shape=env.action_space.n, hidden_sizes=[64, 64])
    policy = DiscreteQLearningPolicy(
        model=network, action_space=env.action_space, observation_space=env.observation_space, eps_training=0.1
    )
    algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(lr=5e-4), gamma=0.99, target_update_freq=250)
    collector = Collector(algorithm, training, VectorReplayBuffer(50_000, NUM_ENVS), exploration_noise=True)
    collector.reset()
    collector.collect(n_step=min(1000, decisions // 4), random=True)
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=decisions,
            collection_step_num_env_steps=4 * NUM_ENVS,
            update_step_num_gradient_steps_per_sample=0.25,
            verbose=False,
            show_progress=False,
        )
    )

    def act(observation: np.ndarray) -> int:
        with torch.no_grad():
            return int(policy(Batch(obs=observation[None], info=Batch())).act[0])

    return compare(act, days)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
