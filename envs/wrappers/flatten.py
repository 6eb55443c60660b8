"""Flat float32 observations."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class FlatFloat32(gymnasium.ObservationWrapper[np.ndarray, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Flattens the observation as Gymnasium does (one-hot codes, keys in order), always to float32.

    `gymnasium.wrappers.FlattenObservation` gives the same numbers, but as float64 as soon as a part is discrete.
    Errors: a `ValueError` for a space without a flat form of fixed size.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        if not env.observation_space.is_np_flattenable:
            raise ValueError(f"The observation space {env.observation_space} has no flat form of fixed size.")
        flat = spaces.flatten_space(env.observation_space)
        assert isinstance(flat, spaces.Box)
        self.observation_space = spaces.Box(
            flat.low.astype(np.float32), flat.high.astype(np.float32), flat.shape, np.float32
        )

    def observation(self, observation: Any) -> np.ndarray:
        """The observation as a vector, float32."""
        flat = spaces.flatten(self.env.observation_space, observation)
        return np.asarray(flat, np.float32)
