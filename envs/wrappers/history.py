"""Frames of recent history as the observation."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.checks import whole


class HistoryFrames(gymnasium.Wrapper[np.ndarray, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """The last `frames` observations, flat, each with the action that led to it.

    Observation: `Box` of shape (frames, observation + action), float32, oldest first; a frame is the flat observation
    followed by the flat action before it (discrete actions one-hot). At reset every frame holds the first
    observation, without an action (zeros). `actions=False` leaves the actions out.
    Errors: a `ValueError` for a space without a flat form of fixed size.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], frames: int = 4, actions: bool = True) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, frames=frames, actions=actions)
        gymnasium.Wrapper.__init__(self, env)
        self._frames = whole(frames, "The number of frames", 1, 1_000_000)
        parts = [env.observation_space, env.action_space] if actions else [env.observation_space]
        for space in parts:
            if not space.is_np_flattenable:
                raise ValueError(f"The space {space} has no flat form of fixed size.")
        boxes = [spaces.flatten_space(space) for space in parts]
        low, high = (
            np.concatenate([np.asarray(getattr(box, end), np.float32).ravel() for box in boxes])
            for end in ("low", "high")
        )
        if actions:  # the frames of the reset hold no action
            taken = slice(int(np.prod(boxes[0].shape or (1,))), None)
            low[taken], high[taken] = np.minimum(low[taken], 0.0), np.maximum(high[taken], 0.0)
        self.observation_space = spaces.Box(np.tile(low, (frames, 1)), np.tile(high, (frames, 1)), dtype=np.float32)
        self._actions = actions
        self._history = np.zeros((frames, len(low)), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Fill the history with the first observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._history[:] = 0.0
        flat = np.asarray(spaces.flatten(self.env.observation_space, observation))
        self._history[:, : len(flat)] = flat
        return self._history.copy(), info

    def step(self, action: Any) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and shift the history by a frame."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._history[:-1] = self._history[1:]
        flat = np.asarray(spaces.flatten(self.env.observation_space, observation))
        self._history[-1, : len(flat)] = flat
        if self._actions:
            self._history[-1, len(flat) :] = np.asarray(spaces.flatten(self.env.action_space, action))
        return self._history.copy(), reward, terminated, truncated, info
