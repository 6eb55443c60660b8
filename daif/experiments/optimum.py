"""The exact optimum of a plant and its front, as rows and as a reference series."""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from daif.experiments.checkpoint import write_atomically

COLUMNS = ("weight_kj_per_part", "parts_per_min", "power_kw", "production_loss_pct", "energy_saving_pct")
WEIGHTS = (178200.0, 58200.0, 34200.0, 23914.0, 13000.0, 8000.0, 5000.0, 3000.0, 1600.0, 1330.0)
"""Worths of a part in kJ that spread over the front of the plant `paper`."""

Row = tuple[float, ...]


def optimum_rows(env_kwargs: Mapping[str, Any], weights: Sequence[float] = ()) -> list[Row]:
    """Return a row per weight, solved exactly, in the order of `COLUMNS`.

    Raises:
        ValueError: a plant that is not Markovian, a weight that is negative.
    """
    from envs.energy_control import optimal

    rows: list[Row] = []
    for weight in weights or WEIGHTS:
        if not weight >= 0.0:
            raise ValueError(f"The weight is {weight}; it must be at least 0 kJ per part.")
        solution = optimal.solve(env_kwargs.get("plant", "paper"), weight)
        rows.append((weight, solution.parts_per_min, solution.power_kw, solution.loss_pct, solution.saving_pct))
    return rows


def write_front(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    writer.writerows([[f"{value:.6g}" for value in row] for row in rows])
    write_atomically(path, buffer.getvalue().encode())


def reference_rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a shipped reference file, such as `paper_table.csv`."""
    text = resources.files("daif.experiments").joinpath("reference", name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


@lru_cache(maxsize=4)
def reference_front() -> np.ndarray:
    """Return the shipped front of the plant `paper`: columns loss and saving in percent, by loss."""
    rows = reference_rows("optimum.csv")
    points = np.asarray([(float(row["production_loss_pct"]), float(row["energy_saving_pct"])) for row in rows])
    return points[np.argsort(points[:, 0])]


def saving_at(loss_pct: float) -> float:
    """Return the exact optimum's saving at a loss on the plant `paper`, interpolated along the shipped front."""
    front = reference_front()
    return float(np.interp(loss_pct, front[:, 0], front[:, 1]))
