"""Controllers of short sight: their costs against the stationary distribution, their policies against the front."""

import numpy as np
import pytest

from envs.energy_control.config import BUSY, IDLE
from envs.energy_control.foresight import ShortSight
from envs.energy_control.optimal import Optimiser, dense_front

LOST_KJ = 20_000.0


@pytest.fixture(scope="module")
def optimiser() -> Optimiser:
    return Optimiser("paper")


def test_a_decision_of_an_idle_plant_costs_idling_until_a_part_arrives(optimiser: Optimiser) -> None:
    chain = optimiser.chain
    idle = chain.decision_index(np.array([False]), np.array([[1, 0, 0, chain.rates.machines, 0, 0]]))[0]
    costs = ShortSight(optimiser, LOST_KJ).by_action(np.zeros(len(chain.decisions)))[idle]
    # one machine takes the part, or fails; of the others as many idle as are kept on
    others_kw = np.arange(chain.rates.machines) * chain.rates.kw[IDLE]
    rate = chain.rates.arrival + chain.rates.job
    assert costs[1:] == pytest.approx(others_kw / rate, rel=0.05, abs=1.0)
    assert np.diff(costs[1:]).min() > 0.0


def test_costs_of_decisions_add_up_to_the_long_run_cost(optimiser: Optimiser) -> None:
    chain = optimiser.chain
    actions = optimiser.solve(8000.0).policy._actions
    costs = ShortSight(optimiser, LOST_KJ).by_action(np.zeros(len(chain.decisions)))
    share, outcome = optimiser._long_run(actions)
    lost = chain.rates.arrival * share[chain.running[:, 0] == chain.rates.buffer].sum()
    expected_kw = outcome.power_kw - share @ chain.running[:, 4] * chain.rates.kw[BUSY] + lost * LOST_KJ
    by_decision = optimiser.visits(actions) @ costs[np.arange(len(actions)), actions]
    assert by_decision == pytest.approx(expected_kw, rel=1e-4)


def test_ten_decisions_see_far_enough_and_five_do_not(optimiser: Optimiser) -> None:
    front = dense_front("paper")

    def distance(actions: np.ndarray) -> float:
        loss, saving = optimiser.loss_and_saving_pct(actions)
        return front.saving_pct(loss) - saving

    sight = ShortSight(optimiser, LOST_KJ)
    assert distance(sight.within(10)) < 0.05
    assert distance(sight.within(5)) > 0.5
    assert distance(sight.discounted(0.95)) < 0.02
    assert distance(sight.discounted(0.8)) > 0.1
