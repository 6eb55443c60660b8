"""Each sign of a training gone wrong is named, and a healthy epoch has none."""

import math

import pytest

from daif.health import diagnose

HEALTHY = {"efe/total": 0.5, "model/complexity": 0.4, "policy/entropy": 0.9, "rollout/reward_mean": 1e9}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"efe/state": math.nan}, "efe/state is not finite"),
        ({"critic/loss": 1e9}, "critic/loss has exploded"),
        ({"model/complexity": 1e-6}, "posterior has collapsed"),
        ({"policy/entropy": 0.0}, "policy has collapsed"),
    ],
)
def test_each_sign_is_named(change: dict[str, float], word: str) -> None:
    assert diagnose(HEALTHY, discrete_actions=True) == []
    (sign,) = diagnose(HEALTHY | change, discrete_actions=True)
    assert word in sign


def test_the_entropy_of_a_density_may_be_negative() -> None:
    assert diagnose(HEALTHY | {"policy/entropy": -2.0}, discrete_actions=False) == []
