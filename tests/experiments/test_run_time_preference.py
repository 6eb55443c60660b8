"""A trained agent takes another preference at once; one that can't says so."""

import numpy as np
import pytest

from daif.experiments.config import resolve
from daif.experiments.exact import chain_actions
from daif.experiments.run_time_preference import CANDIDATES, busy_kj_per_part, extrapolations, prefer
from daif.experiments.settings import SettingsError
from daif.experiments.train import build_agent
from envs.energy_control.optimal import Optimiser


def test_the_worth_of_a_part_becomes_the_weight_of_a_lost_one() -> None:
    agent = build_agent(resolve(agent="daif", preset="fast"))
    assert busy_kj_per_part({}) == pytest.approx(15.0 * 83.7)
    prefer(agent, {"weight": 5000.0}, {})
    by_worth = agent.run_time_weights.clone()
    prefer(agent, {"lost": 5000.0 - 15.0 * 83.7}, {})
    assert by_worth.allclose(agent.run_time_weights)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("all-on", {"weight": 5000.0}, "Only an agent that predicts outcomes"),
        ("daif", {"weight": 1e9}, "outside"),
        ("daif", {"wieght": 5000.0}, "no outcome 'wieght'"),
        ("daif", {"lost": "many"}, "must be a number"),
    ],
)
def test_what_cannot_be_preferred_is_named(name: str, weights: dict, message: str) -> None:
    agent = build_agent(resolve(agent=name, preset="fast" if name == "daif" else "none"))
    with pytest.raises(SettingsError, match=message):
        prefer(agent, weights, {})


def test_a_production_target_takes_the_least_weight_that_meets_it() -> None:
    agent = build_agent(resolve(agent="daif", preset="fast", seed=0))
    optimiser = Optimiser("paper")

    def loss_pct() -> float:
        return optimiser.loss_and_saving_pct(chain_actions(agent, optimiser.chain))[0]

    losses = []
    beyond = np.geomspace(120_000.0, 1_200_000.0, 1 + CANDIDATES // 2)[1:]
    for weight in (*np.geomspace(300.0, 120_000.0, CANDIDATES), *beyond):
        agent.prefer({"lost": float(weight)})
        losses.append(loss_pct())
    target = float(np.median(losses))
    prefer(agent, {"max_loss_pct": target}, {})
    assert loss_pct() == losses[int(np.argmax(np.array(losses) <= target))]
    with pytest.raises(SettingsError, match="the least loss that this agent reaches"):
        prefer(agent, {"max_loss_pct": min(losses) - 0.01}, {})


def test_a_weight_beyond_the_trained_range_is_said() -> None:
    agent = build_agent(resolve(agent="daif", preset="fast"))
    for weight in (300.0, 120_000.0):
        prefer(agent, {"lost": weight}, {})
        assert extrapolations(agent) == []
    prefer(agent, {"lost": 200_000.0}, {})
    (sentence,) = extrapolations(agent)
    assert sentence.startswith("The weight 2e+05 of 'lost' is outside 300..120000")
    assert extrapolations(build_agent(resolve(agent="all-on", preset="none"))) == []
