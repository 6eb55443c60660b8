"""Batched flattening equals Gymnasium's, observation by observation."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

import envs  # noqa: F401
from baselines.flatten import BatchFlattener

SPACES = [
    spaces.Discrete(5),
    spaces.Discrete(4, start=-2),
    spaces.MultiDiscrete([3, 5, 2]),
    spaces.MultiDiscrete([3, 2], start=[1, -1]),
    spaces.MultiDiscrete([[2, 3], [4, 2]]),
    spaces.MultiBinary(4),
    spaces.MultiBinary((2, 2)),
    spaces.Box(-1.0, 1.0, (3,), np.float32),
    spaces.Box(0, 255, (2, 3), np.uint8),
    spaces.Dict(
        b=spaces.Discrete(3), a=spaces.Box(0, 1, (2,)), c=spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(2)))
    ),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_equals_gymnasium(space):
    flatten = BatchFlattener(space)
    batched = batch_space(space, 50)
    batched.seed(0)
    batch = batched.sample()
    ours = flatten(batch)
    theirs = np.stack([spaces.flatten(space, one) for one in iterate(batched, batch)])
    assert ours.dtype == np.float32
    assert ours.shape == (50, flatten.size)
    np.testing.assert_array_equal(ours, theirs.astype(np.float32))
    assert all(flatten.space.contains(row) for row in ours)


def test_the_workstation_flattens_to_the_papers_44_numbers():
    plants = gymnasium.make_vec("daif/EnergyControl-v0", 4, vectorization_mode="vector_entry_point")
    seen, _ = plants.reset(seed=0)
    flatten = BatchFlattener(plants.single_observation_space)
    flat = flatten(seen)
    assert flat.shape == (4, 44)
    np.testing.assert_array_equal(flat[:, :11].argmax(axis=1), seen["buffer"])
    np.testing.assert_array_equal(flat[:, 11:41].reshape(4, 6, 5).argmax(axis=2), seen["machines"])
    np.testing.assert_array_equal(flat[:, 41:], seen["scores"])


def test_a_space_without_a_flat_size_is_refused():
    with pytest.raises(ValueError, match="no fixed flat size"):
        BatchFlattener(spaces.Sequence(spaces.Discrete(2)))


def test_exchangeable_components_are_counted():
    space = spaces.Dict(buffer=spaces.Discrete(3), machines=spaces.MultiDiscrete([4] * 5, start=[1] * 5))
    flatten = BatchFlattener(space, pooled=True)
    batch = {"buffer": np.array([1, 1]), "machines": np.array([[1, 2, 3, 4, 4], [4, 4, 3, 1, 2]])}
    flat = flatten(batch)
    assert flat.shape == (2, flatten.size) == (2, 3 + 4 * 6)
    np.testing.assert_array_equal(flat[0], flat[1])
    np.testing.assert_array_equal(flat[0], np.concatenate([[0, 1, 0], np.eye(6)[[1, 1, 1, 2]].ravel()]))
    np.testing.assert_array_equal(flatten.single({"buffer": 1, "machines": batch["machines"][0]}), flat[0])
    assert flatten.space.contains(flat[0])
