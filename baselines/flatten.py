"""Flattening of batched observations, one-hot for categories, equal to `gymnasium.spaces.flatten` row by row."""

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
from gymnasium import spaces

_Part = Callable[[Any], list[np.ndarray]]


class BatchFlattener:
    """Turns a batch of observations into one float32 array of shape (batch, size).

    Discrete and MultiDiscrete parts become one-hot, the parts of Dict and Tuple follow each other in the order of the
    space. `space` is the flat Box.

    Args:
        space: of a single observation.
        pooled: see a MultiDiscrete of equal components as the number of components with each value, which is all that
            matters where the components are exchangeable.

    Raises:
        ValueError: a space that has no fixed flat size, such as Text or Sequence.
    """

    def __init__(self, space: spaces.Space, *, pooled: bool = False) -> None:
        self._parts = _parts(space, pooled)
        flat = spaces.flatten_space(_counted(space) if pooled else space)
        if not isinstance(flat, spaces.Box):
            raise ValueError(f"Observations of {space} have no fixed flat size.")
        self.size = int(flat.shape[0])
        self.space = spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)

    def __call__(self, observations: Any) -> np.ndarray:
        """Return the flat batch."""
        return np.concatenate(self._parts(observations), axis=1, dtype=np.float32, casting="unsafe")

    def single(self, observation: Any) -> np.ndarray:
        """Return a single observation, flat."""
        return self(_batch_of_one(observation))[0]


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: _batch_of_one(part) for key, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_batch_of_one(part) for part in observation)
    return np.asarray(observation)[None]


def _is_exchangeable(space: spaces.Space) -> TypeGuard[spaces.MultiDiscrete]:
    return isinstance(space, spaces.MultiDiscrete) and space.nvec.size > 1 and len(set(space.nvec.ravel())) == 1


def _counted(space: spaces.Space) -> spaces.Space:
    """The space of an observation whose exchangeable components are counted."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _counted(part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple(tuple(_counted(part) for part in space.spaces))
    if _is_exchangeable(space):
        return spaces.MultiDiscrete([space.nvec.size + 1] * int(space.nvec.flat[0]))
    return space


def _parts(space: spaces.Space, pooled: bool) -> _Part:
    if isinstance(space, spaces.Dict):
        named = [(key, _parts(part, pooled)) for key, part in space.spaces.items()]
        return lambda batch: [array for key, part in named for array in part(batch[key])]
    if isinstance(space, spaces.Tuple):
        listed = [_parts(part, pooled) for part in space.spaces]
        return lambda batch: [array for part, item in zip(listed, batch, strict=True) for array in part(item)]
    if isinstance(space, spaces.Discrete):
        return _one_hot(np.asarray([space.n]), np.asarray([space.start]))
    if pooled and _is_exchangeable(space):
        return _counts(int(space.nvec.flat[0]), np.asarray(space.start).reshape(-1), space.nvec.size)
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


def _counts(values: int, start: np.ndarray, components: int) -> _Part:
    encode = _one_hot(np.full(values, components + 1), np.zeros(values, dtype=np.int64))

    def count(batch: Any) -> list[np.ndarray]:
        seen = np.asarray(batch).reshape(len(batch), -1) - start
        return encode(np.stack([(seen == value).sum(1) for value in range(values)], axis=1))

    return count
