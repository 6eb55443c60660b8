"""The exact optimum of a plant and its front, as rows and as a reference series."""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from envs.energy_control import optimal

WEIGHTS = (178200.0, 58200.0, 34200.0, 23914.0, 13000.0, 8000.0, 5000.0, 3000.0, 1600.0, 1330.0)
"""Worths of a part in kJ that spread over the front of the plant `paper`."""


def optimum_rows(env_kwargs: Mapping[str, Any], weights: Sequence[float] = ()) -> list[dict[str, float]]:
    """Return a row per weight, solved exactly: throughput, power, loss, saving, gain and its bounds.

    Raises:
        ValueError: a plant that is not Markovian, a weight that is negative.
    """
    for weight in weights:
        if not weight >= 0.0:
            raise ValueError(f"The weight is {weight}; it must be at least 0 kJ per part.")
    return optimal.front_rows(env_kwargs.get("plant", "paper"), weights or WEIGHTS)


def reference_rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a shipped reference file, such as `paper_table.csv`."""
    text = resources.files("daif.experiments").joinpath("reference", name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


@lru_cache(maxsize=1)
def reference_front() -> np.ndarray:
    """Return the exact front of the plant `paper` by its corners: columns loss and saving in percent, by loss.

    `front.csv` is what `envs.energy_control.optimal.dense_front("paper")` finds; a straight line between two corners
    misses less than 0.005 points of saving.
    """
    rows = reference_rows("front.csv")
    points = np.asarray([(float(row["production_loss_pct"]), float(row["energy_saving_pct"])) for row in rows])
    return points[np.argsort(points[:, 0])]


def saving_at(loss_pct: float) -> float:
    """Return the exact optimum's saving at a loss on the plant `paper`, interpolated between the corners."""
    front = reference_front()
    return float(np.interp(loss_pct, front[:, 0], front[:, 1]))
