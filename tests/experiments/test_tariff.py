"""Prices by the hour: read, refused, followed."""

from pathlib import Path

import numpy as np
import pytest

from daif.experiments.config import resolve
from daif.experiments.evaluate import PlantEvaluator, PlantProtocol, Policy
from daif.experiments.run_time_preference import prefer
from daif.experiments.settings import SettingsError
from daif.experiments.tariff import Tariff
from daif.experiments.train import build_agent


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_prices_hold_from_their_hour_on_and_repeat_every_day(tmp_path):
    tariff = Tariff.read(write(tmp_path / "t.csv", "hour,price\n0,0.5\n6,2\n22,0.5\n"))
    hours = np.array([0.0, 5.99, 6.0, 21.9, 22.0, 24.0, 30.0])
    np.testing.assert_array_equal(tariff.at(3600.0 * hours), [0.5, 0.5, 2.0, 2.0, 0.5, 0.5, 2.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hour,price\n1,2\n", "begins with the hour 0"),
        ("hour,price\n0,2\n0,3\n", "must rise"),
        ("hour,price\n0,2\n24,3\n", "below 24"),
        ("hour,price\n0,-2\n", "above 0"),
        ("hour,price\n0,nan\n", "above 0"),
        ("hour,cost\n0,2\n", "columns hour and price"),
        ("hour,price\n0,dear\n", "columns hour and price"),
    ],
)
def test_what_is_no_tariff_is_refused(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        Tariff.read(write(tmp_path / "t.csv", text))
    with pytest.raises(SettingsError, match="cannot be read"):
        Tariff.read(tmp_path / "none.csv")


def test_the_preference_follows_the_price():
    agent = build_agent(resolve(agent="daif", preset="fast", seed=0))
    tariff = Tariff((0.0, 6.0), (1.0, 4.0))
    follows = prefer(agent, {"weight": 8000.0}, {}, tariff)
    follows.now(3600.0 * np.array([1.0, 7.0, 25.0]))
    weights = agent.run_time_weights[:, 0]
    assert weights.shape == (3,)
    assert weights[0] == weights[2] == pytest.approx(4.0 * float(weights[1]))
    plant = {"buffer": [0] * 3, "machines": [[2] * 6] * 3, "event": [0] * 3, "scores": np.zeros((3, 3))}
    assert follows.act({name: np.asarray(part) for name, part in plant.items()}).shape == (3,)
    with pytest.raises(SettingsError, match="at a price of the tariff"):
        prefer(agent, {"weight": 8000.0}, {}, Tariff((0.0,), (1000.0,)))
    with pytest.raises(SettingsError, match="needs the worth of a part"):
        prefer(agent, {}, {}, tariff)


def test_cost_is_energy_where_the_price_is_constant_and_counts_hours_where_it_is_not():
    protocol = PlantProtocol(2, days=0.5, response_days=0.1)
    agent = build_agent(resolve(agent="constant", preset="none", settings={"n": 4}))
    scores = {
        prices: PlantEvaluator({}, protocol, tariff=Tariff((0.0, 12.0), prices)).evaluate({"n": Policy(agent)})["n"]
        for prices in ((3.0, 3.0), (1.0, 1000.0))
    }
    level = scores[3.0, 3.0]
    assert level.cost_saving_pct == pytest.approx(level.saving_pct, abs=1e-9)
    assert scores[1.0, 1000.0].cost_saving_pct != pytest.approx(level.saving_pct, abs=1e-3)
    assert PlantEvaluator({}, protocol).evaluate({"n": Policy(agent)})["n"].cost_saving_pct is None
