"""Observation layouts and likelihoods: equal to Gymnasium's flattening, normalised, differentiable."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import given, settings
from hypothesis import strategies as st

from world_models.likelihood import ObservationCodec, View

LEAVES = st.one_of(
    st.integers(1, 5).map(spaces.Discrete),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 4), st.integers(-3, 3)),
    st.lists(st.integers(1, 4), min_size=1, max_size=4).map(spaces.MultiDiscrete),
    st.integers(1, 4).map(spaces.MultiBinary),
    st.integers(1, 3).map(lambda n: spaces.Box(0.0, 1.0, (n,))),
    st.integers(1, 3).map(lambda n: spaces.Box(-np.inf, np.inf, (n,))),
    st.just(spaces.Box(0, 255, (4, 4, 3), dtype=np.uint8)),
)
SPACES = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3).map(spaces.Dict),
    max_leaves=4,
)


@given(SPACES, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_flattening_a_batch_equals_gymnasium_row_by_row(space: spaces.Space, seed: int) -> None:
    batched = batch_space(space, 3)
    batched.seed(seed)
    observations = batched.sample()
    flat = ObservationCodec(space).flatten(observations)
    for i in range(3):
        row = _row(observations, i)
        np.testing.assert_allclose(flat[i], spaces.flatten(space, row), rtol=1e-6)


def _row(observations: object, i: int) -> object:
    if isinstance(observations, dict):
        return {key: _row(value, i) for key, value in observations.items()}
    return np.asarray(observations)[i]


def test_the_plant_flattens_to_the_papers_44_numbers() -> None:
    space = spaces.Dict(
        {"buffer": spaces.Discrete(11), "machines": spaces.MultiDiscrete([5] * 6), "scores": spaces.Box(0, 1, (3,))}
    )
    assert ObservationCodec(space).size == 44


def test_categorical_probabilities_sum_to_one_over_every_state() -> None:
    space = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.MultiDiscrete([2, 2, 3])})
    codec = ObservationCodec(space)
    distribution = codec.distribution(torch.randn(codec.num_parameters, dtype=torch.float64))
    total = 0.0
    for a in range(3):
        for b in np.ndindex(2, 2, 3):
            flat = codec.flatten({"a": np.array([a]), "b": np.array([b])})
            total += float(distribution.log_prob(torch.from_numpy(flat).double()).exp())
    assert total == pytest.approx(1.0, abs=1e-9)


def test_unit_interval_density_integrates_to_one() -> None:
    codec = ObservationCodec(spaces.Box(0.0, 1.0, (1,)))
    grid = torch.linspace(0.0, 1.0, 20001, dtype=torch.float64).unsqueeze(-1)
    for logit in (-8.0, -0.01, 0.0, 3.0):
        density = codec.distribution(torch.full((1,), logit, dtype=torch.float64)).log_prob(grid).exp()
        assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-4)


def test_gaussian_entropy_is_the_closed_form_and_mean_divides_by_the_number_of_variables() -> None:
    codec = ObservationCodec(spaces.Box(-np.inf, np.inf, (2,)))
    raw = torch.tensor([0.3, -0.2, 0.5, 1.5])
    scale = torch.nn.functional.softplus(raw[2:]) + 1e-3
    expected = float((0.5 * math.log(2 * math.pi * math.e) + scale.log()).sum())
    distribution = codec.distribution(raw)
    assert float(distribution.entropy("sum")) == pytest.approx(expected, abs=1e-5)
    assert float(distribution.entropy("mean")) == pytest.approx(expected / 2, abs=1e-5)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.MultiDiscrete([3, 3, 2]),
        spaces.MultiBinary(3),
        spaces.Box(0.0, 1.0, (2,)),
        spaces.Box(-np.inf, np.inf, (2,)),
    ],
)
def test_gradients_pass_through_a_sampled_observation(space: spaces.Space) -> None:
    codec = ObservationCodec(space)
    parameters = torch.full((codec.num_parameters,), 0.3, requires_grad=True)
    torch.manual_seed(0)
    (codec.distribution(parameters).rsample() * torch.arange(1.0, codec.size + 1)).sum().backward()
    assert parameters.grad is not None
    assert parameters.grad.abs().sum() > 0


def test_running_normalisation_gives_zero_mean_and_unit_variance() -> None:
    codec = ObservationCodec(spaces.Box(-np.inf, np.inf, (2,)))
    data = torch.from_numpy(np.random.default_rng(0).normal([5.0, -3.0], [2.0, 0.1], size=(4000, 2))).float()
    for chunk in data.split(500):
        codec.update(chunk)
    normalised = codec.normalise(data)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(2), atol=2e-3, rtol=0)
    torch.testing.assert_close(normalised.std(0), torch.ones(2), atol=2e-2, rtol=0)
    torch.testing.assert_close(codec.denormalise(normalised), data)


def test_a_pooled_view_counts_the_machines_and_does_not_change_under_their_permutation() -> None:
    space = spaces.Dict({"buffer": spaces.Discrete(3), "machines": spaces.MultiDiscrete([4] * 5)})
    codec = ObservationCodec(space)
    view = View(codec, pooled=True)
    one = {"buffer": np.array([1]), "machines": np.array([[0, 1, 2, 3, 3]])}
    other = {"buffer": np.array([1]), "machines": np.array([[3, 3, 2, 0, 1]])}
    seen, permuted = (view(torch.from_numpy(codec.flatten(each))) for each in (one, other))
    torch.testing.assert_close(seen, permuted)
    counts = torch.nn.functional.one_hot(torch.tensor([1, 1, 1, 2]), 6).flatten()
    torch.testing.assert_close(seen[0], torch.cat([torch.tensor([0, 1, 0]), counts]).float())


def test_a_view_of_all_parts_is_the_observation_and_of_one_part_its_columns() -> None:
    codec = ObservationCodec(spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(0.0, 1.0, (2,))}))
    flat = torch.rand(4, 5)
    assert torch.equal(View(codec)(flat), flat)
    torch.testing.assert_close(View(codec, ("b",))(flat), flat[:, 3:])


def test_unknown_parts_and_spaces_are_named() -> None:
    codec = ObservationCodec(spaces.Dict({"buffer": spaces.Discrete(3)}))
    with pytest.raises(ValueError, match=r"'bufer'.*'buffer'"):
        View(codec, ("bufer",))
    with pytest.raises(ValueError, match="no likelihood"):
        ObservationCodec(spaces.Text(5))
