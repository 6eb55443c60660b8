r"""The runs of an ablation as one small table: which settings differ from its base's, and what came of it by seed.

    daif benchmark benchmarks/specs/ablation_mountaincar.yaml
    python benchmarks/ablation.py runs/benchmarks/ablation_mountaincar \
        --output runs/reference/ablation_mountaincar.csv --into README.md --table ablation

    daif benchmark benchmarks/specs/ablation_workstation.yaml
    python benchmarks/ablation.py runs/benchmarks/ablation_workstation \
        --output runs/reference/ablation_workstation.csv --into README.md --table ablation_workstation

    daif benchmark benchmarks/specs/ablation_fast.yaml
    python benchmarks/ablation.py runs/benchmarks/ablation_fast \
        --output runs/reference/ablation_fast.csv --into README.md --table ablation_fast

Of other tasks the figure is the mean return of the evaluation; of the workstation it is the hypervolume of the front
that the one network holds (see `front.py`), exactly, with the loss and saving at a part's worth of 8,000 kJ. Writes a
CSV file with a row for each run, in which the rows of earlier runs with other settings or seeds stay, and a Markdown
table, with the interquartile mean over the seeds and its 95 % interval, between the marks of a file.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from front import TRAINED, daif_points, hypervolume_of, write

from daif.experiments.config import RunConfig, resolve
from daif.experiments.report import insert
from daif.experiments.results import Evaluated, find_runs, middle, read_evaluations
from daif.experiments.runs import RunFolder
from daif.experiments.statistics import bootstrap_iqm
from daif.experiments.train import run_config
from generative.names import unknown

WORTH_KJ = 8000.0
"""Worth of a part at which a policy of the workstation is shown."""
SPECS = Path(__file__).parent / "specs"
BUDGET = ("epochs", "iterations", "segment", "num_envs", "model_steps", "policy_steps")
Row = dict[str, Any]


def runs(folder: Path, kept: list[Row]) -> list[Row]:
    """Return a row for each evaluated run of a benchmark, and the rows that were kept of others."""
    base = base_settings(folder.name)
    rows: list[Row] = []
    for run in find_runs([folder]):
        for evaluated in read_evaluations([run]):
            content = evaluated.content
            row = {"settings": changed(run_config(RunFolder.open(run)), base), "seed": content["training_seed"]}
            figures = plant_figures(run) if evaluated.is_plant else task_figures(evaluated)
            rows.append(row | figures | {"decisions": content["decisions"], "commit": content["commit"]})
    new = {(row["settings"], row["seed"]) for row in rows}
    rows += [row for row in kept if (row["settings"], row["seed"]) not in new]
    return sorted(rows, key=lambda row: (row["settings"] != "nothing", row["settings"], row["seed"]))


def read(path: Path) -> list[Row]:
    """Return the rows of a file that an earlier call wrote."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{**row, "seed": int(row["seed"])} for row in csv.DictReader(file)]


def base_settings(benchmark: str) -> dict[str, Any]:
    """Return the settings that all cells of a benchmark start from."""
    known = sorted(path.stem for path in SPECS.glob("*.yaml"))
    if benchmark not in known:
        near = unknown("benchmark", benchmark, known)
        raise SystemExit(f"The runs must lie in a folder with the name of their specification: {near}")
    spec = yaml.safe_load((SPECS / f"{benchmark}.yaml").read_text(encoding="utf-8"))
    base = {name: value for name, value in spec["base"].items() if name in ("env", "agent", "preset", "settings")}
    settings: dict[str, Any] = resolve(config=base).resolved()["settings"]
    return settings


def changed(config: RunConfig, base: dict[str, Any]) -> str:
    """Return the settings that differ from the base's, but for the budget and what a longer jump needs."""
    own = config.resolved()["settings"]
    names = [name for name in sorted(own) if own[name] != base[name] and name not in BUDGET]
    return " ".join(f"{name}={own[name]}" for name in names) or "nothing"


def task_figures(evaluated: Evaluated) -> Row:
    """Return the mean return."""
    return {"mean_return": round(middle(evaluated.results["deterministic"]["mean_reward"]), 2)}


def plant_figures(run: Path) -> Row:
    """Return the hypervolume of the whole front, in squared per cent, and one point of it."""
    points = daif_points([run], TRAINED)
    at = min(points, key=lambda point: abs(point["weight_kj_per_part"] - WORTH_KJ))
    figures = {"hypervolume": hypervolume_of(points), "loss_pct": at["loss_pct"], "saving_pct": at["saving_pct"]}
    return {name: round(float(value), 3) for name, value in figures.items()}


def table(rows: list[Row]) -> str:
    """Return a Markdown table with a line for each set of settings."""
    plant = "hypervolume" in rows[0]
    name = "hypervolume" if plant else "mean return"
    lines = [
        f"| changed | {name} by seed | interquartile mean |" + (" loss % / saving % by seed |" if plant else ""),
        "| --- | --- | --- |" + (" --- |" if plant else ""),
    ]
    for settings in dict.fromkeys(row["settings"] for row in rows):
        chosen = [row for row in rows if row["settings"] == settings]
        values = [float(row[name.replace(" ", "_")]) for row in chosen]
        by_seed = ", ".join(f"{value:.1f}" for value in values)
        pairs = [(float(row["loss_pct"]), float(row["saving_pct"])) for row in chosen if plant]
        points = ", ".join(f"{loss:.2f} / {saving:.2f}" for loss, saving in pairs)
        iqm = bootstrap_iqm(np.array(values), rng=np.random.default_rng(0))
        interval = f" [{iqm.low:.1f}, {iqm.high:.1f}]" if len(values) > 1 else ""
        line = f"| {settings} | {by_seed} | {iqm.value:.1f}{interval} |"
        lines.append(line + (f" {points} |" if plant else ""))
    return "\n".join(lines)


def main() -> None:
    """Write the rows and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", type=Path, nargs="?", help="folder of the benchmark's runs; none: the file stays")
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    parser.add_argument("--into", type=Path, help="Markdown file with the marks")
    parser.add_argument("--table", default="ablation", help="name of the marks")
    arguments = parser.parse_args()
    rows = read(arguments.output)
    if arguments.benchmark is not None:
        rows = runs(arguments.benchmark, kept=rows)
        write(arguments.output, rows)
    if arguments.into is not None:
        insert(arguments.into, table(rows), arguments.table)
    print(table(rows))


if __name__ == "__main__":
    main()
