"""Ray RLlib: PPO on the workstation, in this process.

pip install "ray[rllib]"
python examples/rllib_ppo.py [decisions]
"""

import sys

import numpy as np
import ray
import torch
from comparison import compare, make
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.tune.registry import register_env

BATCH = 2000


def main(decisions: int = 50_000, days: float = 2.0) -> dict[str, float]:
    """Train, then compare with all machines on."""
    ray.init(num_cpus=1, include_dashboard=False, ignore_reinit_error=True, log_to_driver=False)
    register_env("daif/EnergyControl-v0", lambda settings: make(**settings))
    algorithm = (
        PPOConfig()
        .environment("daif/EnergyControl-v0", env_config={})
        .env_runners(num_env_runners=0)
        .training(train_batch_size_per_learner=BATCH, minibatch_size=250, num_epochs=5, lr=3e-4, gamma=0.99)
        .debugging(seed=0)
        .build_algo()
    )
    for _ in range(max(decisions // BATCH, 1)):
        algorithm.train()
    module = algorithm.get_module()

    @torch.no_grad()
    def act(observation: np.ndarray) -> int:
        out = module.forward_inference({Columns.OBS: torch.as_tensor(observation[None])})
        return int(out[Columns.ACTION_DIST_INPUTS].argmax())

    figures = compare(act, days)
    algorithm.stop()
    ray.shutdown()
    return figures


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
