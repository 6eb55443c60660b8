"""A record of the figures that trainings gave: a CSV where the environment variable GENERATIVE_FIGURES names one."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return figure(model, data, seed, name, value, bar), which appends a row to the CSV file, if there is one."""

    def write(model: str, data: str, seed: int, name: str, value: float, bar: float | None = None) -> None:
        target = os.environ.get("GENERATIVE_FIGURES")
        if target is None:
            return
        path = Path(target)
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            rows = csv.writer(file)
            if fresh:
                rows.writerow(["model", "data", "seed", "figure", "value", "bar", "test"])
            rows.writerow([model, data, seed, name, f"{value:.5g}", "" if bar is None else bar, request.node.name])

    return write
