"""Films of an agent at work."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector.utils import batch_space, iterate
from PIL import Image

from daif.experiments.environments import make_env
from daif.experiments.evaluate import begin, stack, tell_time
from daif.experiments.protocol import Agent
from daif.experiments.settings import SettingsError


def write_film(
    env_id: str, env_kwargs: Mapping[str, Any], agent: Agent, path: Path, *, frames: int, seed: int, frame_ms: int = 80
) -> None:
    """Write a GIF of the first decisions, a frame each.

    Args:
        env_id: the environment; it must render `rgb_array`.
        env_kwargs: its arguments.
        agent: acts greedily.
        path: the GIF.
        frames: how many.
        seed: of the environment.
        frame_ms: how long a frame is shown.
    """
    if path.suffix.lower() != ".gif":
        raise SettingsError(f"The film {path} must end in .gif.")
    env = make_env(env_id, env_kwargs, render_mode="rgb_array")
    try:
        observation, info = env.reset(seed=seed)
        begin(agent, 1)
        pictures = []
        for _ in range(frames):
            pictures.append(Image.fromarray(np.asarray(env.render(), dtype=np.uint8)))
            if "time_s" in info:
                tell_time(agent, np.array([info["time_s"]]))
            actions = agent.act(stack(agent.observation_space, [observation]), deterministic=True)
            action = next(iter(iterate(batch_space(agent.action_space, 1), actions)))
            observation, _, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                observation, info = env.reset()
                begin(agent, 1)
    finally:
        env.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=frame_ms, loop=0)
