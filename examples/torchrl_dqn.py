"""TorchRL: DQN on the workstation.

pip install torchrl
python examples/torchrl_dqn.py [decisions]
"""

import sys

import numpy as np
import torch
from comparison import compare, make
from tensordict import TensorDict
from tensordict.nn import TensorDictSequential
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import GymWrapper
from torchrl.modules import EGreedyModule, QValueActor
from torchrl.objectives import DQNLoss, SoftUpdate

FRAMES = 64


def main(decisions: int = 50_000, days: float = 2.0) -> dict[str, float]:
    """Train, then compare with all machines on."""
    torch.manual_seed(0)
    env = GymWrapper(make(), categorical_action_encoding=True)
    env.set_seed(0)
    inputs, actions = env.observation_spec["observation"].shape[-1], env.action_spec.n
    network = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, actions))
    actor = QValueActor(network, in_keys=["observation"], spec=env.action_spec)
    explore = EGreedyModule(env.action_spec, annealing_num_steps=decisions // 3, eps_init=1.0, eps_end=0.05)
    collector = Collector(env, TensorDictSequential(actor, explore), frames_per_batch=FRAMES, total_frames=decisions)
    memory = TensorDictReplayBuffer(storage=LazyTensorStorage(50_000), batch_size=64)
    loss_of = DQNLoss(actor, action_space=env.action_spec, delay_value=True)
    loss_of.make_value_estimator(gamma=0.99)
    target = SoftUpdate(loss_of, eps=0.99)
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=5e-4)
    for frames in collector:
        explore.step(frames.numel())
        memory.extend(frames.reshape(-1))
        for _ in range(FRAMES // 4):
            loss = loss_of(memory.sample())["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            target.step()
    collector.shutdown()

    @torch.no_grad()
    def act(observation: np.ndarray) -> int:
        return int(actor(TensorDict({"observation": torch.as_tensor(observation)}))["action"])

    return compare(act, days)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
