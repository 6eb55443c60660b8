"""What a policy loses and saves against all machines on, on the same random numbers; shared by the examples."""

from collections.abc import Callable

import gymnasium
import numpy as np

import envs  # noqa: F401 - registers the environments
from envs.wrappers import FlatFloat32


def make(**settings: object) -> gymnasium.Env:
    """The workstation as most libraries want it: flat float32 observations, episodes of 2000 decisions.

    The increment reward says at once what a decision costs, which suits value-based agents.
    """
    settings = {"reward": "increment", "observe_event": True, "episode_decisions": 2000, **settings}
    return FlatFloat32(gymnasium.make("daif/EnergyControl-v0", engine="fast", **settings))


def run(act: Callable[[np.ndarray], int], seed: int, days: float) -> tuple[float, float]:
    """Throughput in parts/min and mean power in kW over so many simulated days."""
    env = make(episode_decisions=None, episode_s=86_400.0 * days)
    observation, info = env.reset(seed=seed)
    truncated = False
    while not truncated:
        observation, _, _, truncated, info = env.step(int(act(observation)))
    return 60.0 * info["parts_made"] / info["time_s"], info["energy_kj"] / info["time_s"]


def compare(act: Callable[[np.ndarray], int], days: float = 2.0, seed: int = 1000) -> dict[str, float]:
    """Production loss and energy saving in percent of what all machines on would make and use."""
    parts, kw = run(act, seed, days)
    full_parts, full_kw = run(lambda _: 6, seed, days)
    return {"loss_pct": 100.0 * (1.0 - parts / full_parts), "saving_pct": 100.0 * (1.0 - kw / full_kw)}
