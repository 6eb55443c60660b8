"""A record of the figures that trainings gave: a CSV where the environment variable GENERATIVE_FIGURES names one."""

from __future__ import annotations

import csv
import os
import subprocess
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
        test, root = request.node, request.config.rootpath
        slow = "-m slow " if test.get_closest_marker("slow") else ""
        command = f"OMP_NUM_THREADS=1 pytest {slow}{test.path.relative_to(root)} -k '{test.originalname}'"
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
        ).stdout.strip()
        path = Path(target)
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            if fresh:
                rows.writerow(["model", "data", "seed", "figure", "value", "bar", "commit", "command"])
            rows.writerow([model, data, seed, name, f"{value:.5g}", "" if bar is None else bar, commit, command])

    return write
