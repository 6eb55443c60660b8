"""The memory's rows against a plain loop over one long trajectory."""

import numpy as np
import pytest

from daif.memory import Memory, Segment


def _segment(
    first: int, length: int = 6, envs: int = 2, ends: tuple[int, ...] = (), cuts: tuple[int, ...] = ()
) -> Segment:
    time = first + np.arange(length + 1)
    observations = np.stack([time + 1000 * n for n in range(envs)], 1)[..., None].astype(np.float32)
    flags = np.zeros((2, length, envs), dtype=bool)
    flags[0, list(ends)], flags[1, list(cuts)] = True, True
    outcomes = observations[:-1] + 1.0
    return Segment(observations, observations[:-1] * 0 + 2, outcomes, flags[0], flags[1], observations[:-1] * 10)


@pytest.mark.parametrize(("shortest", "longest"), [(6, 6), (1, 6), (2, 2)])
def test_rows_are_pairs_of_one_environment_with_discounted_sums(shortest: int, longest: int) -> None:
    memory = Memory(3)
    for k in range(5):  # the first two are overwritten
        memory.add(_segment(100 * k))
    assert len(memory) == 3
    rows = memory.rows(500, np.random.default_rng(0), shortest=shortest, longest=longest, discount=0.9)
    assert set(rows.horizon.tolist()) == set(range(shortest, longest + 1))
    columns = (rows.observation, rows.next_observation, rows.outcomes, rows.code)
    starts, ends, sums, codes = (column[:, 0] for column in columns)
    for start, end, h, y, discount, code in zip(starts, ends, rows.horizon, sums, rows.discount, codes, strict=True):
        assert end == start + h
        assert start % 1000 >= 200
        assert float(y) == pytest.approx(sum(0.9**k * (float(start) + k + 1) for k in range(int(h))), rel=1e-5)
        assert float(discount) == pytest.approx(0.9 ** int(h))
        assert code == 10 * start


def test_nothing_counts_behind_a_terminal_state_and_rows_across_a_truncation_are_invalid() -> None:
    memory = Memory(1)
    memory.add(_segment(0, envs=1, ends=(2,)))
    rows = memory.rows(50, np.random.default_rng(0), shortest=6, longest=6, discount=1.0)
    assert set(rows.outcomes[:, 0].tolist()) == {1.0 + 2.0 + 3.0}
    assert set(rows.discount.tolist()) == {0.0}
    assert set(rows.valid.tolist()) == {1.0}
    memory.add(_segment(0, envs=1, cuts=(2,)))
    rows = memory.rows(200, np.random.default_rng(0), shortest=1, longest=1, discount=1.0)
    for start, valid in zip(rows.observation[:, 0], rows.valid, strict=True):
        assert valid == (start != 2)


def test_a_memory_continues_from_its_saved_state() -> None:
    one, other = Memory(3), Memory(3)
    for k in range(4):
        one.add(_segment(100 * k))
    other.load_state(one.state())
    one.add(_segment(1000))
    other.add(_segment(1000))
    for name, array in one.state().items():
        np.testing.assert_array_equal(array, other.state()[name])
