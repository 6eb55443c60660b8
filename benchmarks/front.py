"""One training, the whole front: DAIF's networks at many worths of a part, beside PPO runs of a worth each.

    daif benchmark benchmarks/specs/workstation.yaml     trains DAIF, 4,096,000 decisions a seed
    daif benchmark benchmarks/specs/overshoot.yaml       trains DAIF without a critic, 3,932,160 decisions a seed
    daif benchmark benchmarks/specs/front_ppo.yaml       trains PPO at six worths, 682,667 decisions each
    python benchmarks/front.py runs/benchmarks/workstation runs/benchmarks/overshoot runs/benchmarks/front_ppo

The greedy policies of DAIF are evaluated exactly, by the stationary distribution of the plant's chain; those of PPO,
which see the scores too, by the figures of their `evaluation.json`. The hypervolume is the area between the points and
(5 % loss, 0 % saving), in squared per cent. Writes a CSV file with all points and, beside it, a JSON file with the
commands and commits behind each agent's seeds and the hypervolumes by seed. Points of agents and seeds that have no
runs in the given folders stay in both files.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
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

TRAINED = tuple(float(f"{weight:.3g}") for weight in np.geomspace(1600.0, 40000.0, 33))
BEYOND = (50_000.0, 60_000.0, 75_000.0, 90_000.0, 115_000.0, 140_000.0, 220_000.0, 390_000.0)
WEIGHTS = TRAINED + BEYOND
"""Worths of a part at which the one network is asked for its policy, in kJ. To those behind its trained range, which
ends at 121,000, the actor extrapolates."""
REFERENCE = (5.0, 0.0)
Row = dict[str, Any]


def daif_points(folders: list[Path], weights: Sequence[float] = WEIGHTS) -> list[Row]:
    """Exact loss and saving of each DAIF run at each worth of a part, acting greedily."""
    optimiser = Optimiser("paper")
    rows: list[Row] = []
    for folder in find_runs(folders):
        run = RunFolder.open(folder)
        config, agent = load_agent(run, "latest")
        if config.agent != "daif":
            continue
        label = f"daif {config.preset}"
        for weight in weights:
            prefer(agent, {"weight": weight}, config.full_env_kwargs)
            actions = chain_actions(agent, optimiser.chain)
            loss, saving = optimiser.loss_and_saving_pct(actions)
            rows.append({"agent": label, "seed": config.seed, "weight_kj_per_part": weight, "loss_pct": loss})
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
                "agent": "ppo, six runs",
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
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs of DAIF and PPO")
    parser.add_argument("--output", type=Path, default=Path("runs/reference/front.csv"))
    arguments = parser.parse_args()
    made_with = {"command": " ".join(["python", *sys.argv]), **provenance()}
    new = daif_points(arguments.runs) + ppo_points(arguments.runs)
    hull = dense_front("paper")
    for row in new:
        row["distance_pct"] = hull.saving_pct(row["loss_pct"]) - row["saving_pct"]
    measured = {(row["agent"], row["seed"]) for row in new}
    rows = [row for row in read(arguments.output) if (row["agent"], row["seed"]) not in measured] + new
    rows.sort(key=lambda row: (row["agent"], row["seed"]))
    write(arguments.output, rows)

    summary = arguments.output.with_suffix(".json")
    facts: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {}
    optimum = hypervolume(np.array([[corner.loss_pct, corner.saving_pct] for corner in hull.corners]), REFERENCE)
    facts |= {"reference_point": REFERENCE, "optimum": optimum}
    print(f"optimum: hypervolume {optimum:.2f}")
    for agent in dict.fromkeys(row["agent"] for row in rows):
        chosen = [row for row in rows if row["agent"] == agent]
        by_seed = {
            seed: hypervolume_of([row for row in chosen if row["seed"] == seed])
            for seed in sorted({row["seed"] for row in chosen})
        }
        interval = bootstrap_iqm(np.array(list(by_seed.values())), rng=np.random.default_rng(0))
        made = provenance_by_seeds(facts, agent, sorted(seed for name, seed in measured if name == agent), made_with)
        facts[agent] = {"made": made, "hypervolume": {"by_seed": by_seed, "iqm": interval.as_dict()}}
        print(f"{agent}: hypervolume {interval} over {len(by_seed)} seeds")
        worths = sorted({row["weight_kj_per_part"] for row in chosen})
        for worth in worths[:: max(1, len(worths) // 8)]:
            points = [row for row in chosen if row["weight_kj_per_part"] == worth]
            loss, saving = (
                interquartile_mean(np.array([row[k] for row in points])) for k in ("loss_pct", "saving_pct")
            )
            print(f"  {worth:,.0f} kJ a part: loss {loss:.2f} %, saving {saving:.2f} %")
    summary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"Wrote {arguments.output}")


def provenance_by_seeds(facts: Row, agent: str, measured: list[int], made_with: Row) -> list[Row]:
    """Return the commands and commits behind an agent's seeds, of which these were measured now."""
    made: list[Row] = facts.get(agent, {}).get("made", [])
    kept = [one | {"seeds": [seed for seed in one["seeds"] if seed not in measured]} for one in made]
    return [one for one in [*kept, {"seeds": measured} | made_with] if one["seeds"]]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows of the same columns as a CSV file, numbers with six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def read(path: Path) -> list[Row]:
    """Return the points of a file that this program wrote; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[Row] = list(csv.DictReader(file))
    for row in rows:
        row |= {name: float(value) for name, value in row.items() if name not in ("agent", "seed", "decisions")}
        row |= {name: int(row[name]) for name in ("seed", "decisions")}
    return rows


if __name__ == "__main__":
    main()
