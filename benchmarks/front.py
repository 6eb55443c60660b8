"""One training, the whole front: runs of the preset `fast` at many worths of a part, beside PPO runs of a worth each.

    daif benchmark benchmarks/specs/workstation.yaml     trains DAIF, 4,096,000 decisions a seed
    daif benchmark benchmarks/specs/front_ppo.yaml       trains PPO at six worths, 682,667 decisions each
    python benchmarks/front.py runs/benchmarks/workstation runs/benchmarks/front_ppo

The greedy policies of DAIF are evaluated exactly, by the stationary distribution of the plant's chain; those of PPO,
which see the scores too, by the figures of their `evaluation.json`. The hypervolume is the area between the points and
(5 % loss, 0 % saving), in squared per cent. Writes a CSV file with all points and, beside it, a JSON file with the
command, the commit and the hypervolumes by seed.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from daif.experiments.exact import chain_actions
from daif.experiments.results import find_runs, middle, read_evaluations
from daif.experiments.run_time_preference import prefer
from daif.experiments.runs import RunFolder, provenance
from daif.experiments.statistics import bootstrap_iqm, hypervolume, interquartile_mean
from daif.experiments.train import load_agent, run_config
from envs.energy_control.optimal import Optimiser, dense_front

WEIGHTS = tuple(float(f"{weight:.3g}") for weight in np.geomspace(1600.0, 40000.0, 33))
"""Worths of a part at which the one network is asked for its policy, in kJ."""
REFERENCE = (5.0, 0.0)
Row = dict[str, Any]


def daif_points(folders: list[Path]) -> list[Row]:
    """Exact loss and saving of each DAIF run at each worth of a part, acting greedily."""
    optimiser = Optimiser("paper")
    rows: list[Row] = []
    for folder in find_runs(folders):
        run = RunFolder.open(folder)
        config, agent = load_agent(run, "latest")
        if config.agent != "daif":
            continue
        for weight in WEIGHTS:
            prefer(agent, {"weight": weight}, config.full_env_kwargs)
            actions = chain_actions(agent, optimiser.chain)
            loss, saving = optimiser.loss_and_saving_pct(actions)
            rows.append({"agent": "daif", "seed": config.seed, "weight_kj_per_part": weight, "loss_pct": loss})
            rows[-1] |= {"saving_pct": saving, "decisions": agent.decisions}
    return rows


def hypervolume_of(rows: list[Row]) -> float:
    """Area that the points of one run dominate, in squared per cent."""
    return hypervolume(np.array([[row["loss_pct"], row["saving_pct"]] for row in rows]), REFERENCE)


def ppo_points(folders: list[Path]) -> list[Row]:
    """Loss and saving of each PPO run by the protocol, acting greedily."""
    rows: list[Row] = []
    for folder in find_runs(folders):
        config = run_config(RunFolder.open(folder))
        if config.agent != "ppo":
            continue
        evaluated = read_evaluations([folder])[0]
        result = evaluated.results["deterministic"]
        rows.append(
            {
                "agent": "ppo",
                "seed": config.seed,
                "weight_kj_per_part": config.settings["weight_kj_per_part"],
                "loss_pct": middle(result["production_loss_pct"]),
                "saving_pct": middle(result["energy_saving_pct"]),
                "decisions": evaluated.content["decisions"],
            }
        )
    return rows


def main() -> None:
    """Evaluate, write and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("daif", type=Path, help="folder of DAIF runs")
    parser.add_argument("ppo", type=Path, nargs="?", help="folder of PPO runs; without it, DAIF alone")
    parser.add_argument("--output", type=Path, default=Path("runs/reference/front.csv"))
    arguments = parser.parse_args()
    rows = daif_points([arguments.daif]) + (ppo_points([arguments.ppo]) if arguments.ppo else [])
    hull = dense_front("paper")
    for row in rows:
        row["distance_pct"] = hull.saving_pct(row["loss_pct"]) - row["saving_pct"]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)

    facts: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), **provenance(), "reference_point": REFERENCE}
    corners = np.array([[corner.loss_pct, corner.saving_pct] for corner in hull.corners])
    facts["hypervolume"] = {"optimum": hypervolume(corners, REFERENCE)}
    for agent in ("daif", "ppo"):
        by_seed = {
            seed: hypervolume_of([row for row in rows if (row["agent"], row["seed"]) == (agent, seed)])
            for seed in sorted({row["seed"] for row in rows if row["agent"] == agent})
        }
        if not by_seed:
            continue
        values = np.array(list(by_seed.values()))
        interval = bootstrap_iqm(values, rng=np.random.default_rng(0))
        facts["hypervolume"][agent] = {"by_seed": by_seed, "iqm": interval.as_dict()}
        optimum = facts["hypervolume"]["optimum"]
        print(f"{agent}: hypervolume {interval} over {len(values)} seeds (optimum {optimum:.2f})")
    for weight in WEIGHTS[::4]:
        points = [row for row in rows if row["agent"] == "daif" and row["weight_kj_per_part"] == weight]
        if points:
            figures = (interquartile_mean(np.array([row[k] for row in points])) for k in ("loss_pct", "saving_pct"))
            print("daif, {:,.0f} kJ a part: loss {:.2f} %, saving {:.2f} %".format(weight, *figures))
    arguments.output.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"Wrote {arguments.output}")


if __name__ == "__main__":
    main()
