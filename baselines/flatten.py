"""Flattening of batched observations, one-hot for categories, equal to `gymnasium.spaces.flatten` row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

_Part = Callable[[Any], list[np.ndarray]]


class BatchFlattener:
    """Turns a batch of observations into one float32 array of shape (batch, size).

    Discrete and MultiDiscrete parts become one-hot, the parts of Dict and Tuple follow each other in the order of the
    space. `space` is the flat Box.

    Args:
        space: of a single observation.

    Raises:
        ValueError: a space that has no fixed flat size, such as Text or Sequence.
    """

    def __init__(self, space: spaces.Space) -> None:
        self.source = space
        self._parts = _parts(space)
        flat = spaces.flatten_space(space)
        if not isinstance(flat, spaces.Box):
            raise ValueError(f"Observations of {space} have no fixed flat size.")
        self.size = int(flat.shape[0])
        self.space = spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)

    def __call__(self, observations: Any) -> np.ndarray:
        """Return the flat batch."""
        return np.concatenate(self._parts(observations), axis=1, dtype=np.float32, casting="unsafe")

    def single(self, observation: Any) -> np.ndarray:
        """Return a single observation, flat."""
        return np.asarray(spaces.flatten(self.source, observation), dtype=np.float32)


def _parts(space: spaces.Space) -> _Part:
    if isinstance(space, spaces.Dict):
        named = [(key, _parts(part)) for key, part in space.spaces.items()]
        return lambda batch: [array for key, part in named for array in part(batch[key])]
    if isinstance(space, spaces.Tuple):
        listed = [_parts(part) for part in space.spaces]
        return lambda batch: [array for part, item in zip(listed, batch, strict=True) for array in part(item)]
    if isinstance(space, spaces.Discrete):
        return _one_hot(np.asarray([space.n]), np.asarray([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        return _one_hot(space.nvec.reshape(-1), np.asarray(space.start).reshape(-1))
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return lambda batch: [np.asarray(batch).reshape(len(batch), -1)]
    raise ValueError(f"Observations of {space} have no fixed flat size.")


def _one_hot(sizes: np.ndarray, start: np.ndarray) -> _Part:
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]) - start
    total = int(sizes.sum())

    def encode(batch: Any) -> list[np.ndarray]:
        values = np.asarray(batch).reshape(len(batch), -1)
        flat = np.zeros((len(values), total), dtype=np.float32)
        np.put_along_axis(flat, values + offsets, 1.0, axis=1)
        return [flat]

    return encode
