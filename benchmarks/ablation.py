r"""The runs of an ablation as one small table: which settings differ from the preset's, and the mean return by seed.

    daif benchmark benchmarks/specs/ablation_mountaincar.yaml
    python benchmarks/ablation.py runs/benchmarks/ablation_mountaincar \
        --output runs/reference/ablation_mountaincar.csv --into README.md

Writes a CSV file with a row for each run, and a Markdown table with the interquartile mean over the seeds between the
marks `ablation` of a file.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import yaml

from daif.experiments.report import insert
from daif.experiments.results import find_runs, middle, read_evaluations
from daif.experiments.statistics import interquartile_mean

Row = dict[str, str | int | float]


def runs(folder: Path) -> list[Row]:
    """Return a row for each evaluated run of a benchmark."""
    rows: list[Row] = []
    for run in find_runs([folder]):
        for evaluated in read_evaluations([run]):
            cell = yaml.safe_load((run / "cell.yaml").read_text(encoding="utf-8"))
            content = evaluated.content
            changed = " ".join(f"{name}={value}" for name, value in (cell.get("settings") or {}).items())
            mean_return = middle(evaluated.results["deterministic"]["mean_reward"])
            rows.append({"settings": changed or "nothing", "seed": content["training_seed"]})
            rows[-1] |= {"mean_return": mean_return, "decisions": content["decisions"], "commit": content["commit"]}
    return sorted(rows, key=lambda row: (row["settings"] != "nothing", row["settings"], row["seed"]))


def main() -> None:
    """Write the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", type=Path, help="folder of the benchmark's runs")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True, help="Markdown file with the marks")
    arguments = parser.parse_args()
    rows = runs(arguments.benchmark)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    insert(arguments.into, table(rows), "ablation")


def table(rows: list[Row]) -> str:
    """Return a Markdown table with a line for each set of settings."""
    lines = ["| changed | mean return by seed | interquartile mean |", "| --- | --- | --- |"]
    for settings in dict.fromkeys(row["settings"] for row in rows):
        returns = [float(row["mean_return"]) for row in rows if row["settings"] == settings]
        by_seed = ", ".join(f"{value:.1f}" for value in returns)
        lines.append(f"| {settings} | {by_seed} | {interquartile_mean(np.array(returns)):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
