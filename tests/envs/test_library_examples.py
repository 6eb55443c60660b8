"""The examples with other reinforcement-learning libraries run, each where its library is installed."""

import importlib
import math
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "library"),
    [
        ("sb3_dqn", "stable_baselines3"),
        ("sb3_contrib_qrdqn", "sb3_contrib"),
        ("cleanrl_style_ppo", "torch"),
        ("tianshou_dqn", "tianshou"),
        ("torchrl_dqn", "torchrl"),
        ("rllib_ppo", "ray.rllib"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_an_example_trains_and_is_compared(example, library, monkeypatch):
    pytest.importorskip(library)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in ("comparison", example):
        monkeypatch.delitem(sys.modules, name, raising=False)
    figures = importlib.import_module(example).main(decisions=4000, days=0.1)
    assert set(figures) == {"loss_pct", "saving_pct"}
    assert all(math.isfinite(value) for value in figures.values())
    assert figures["saving_pct"] < 100.0
