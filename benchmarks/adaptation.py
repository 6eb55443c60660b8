"""After demand falls: how many decisions until an agent that keeps learning saves what one trained anew saves.

    daif benchmark benchmarks/specs/workstation.yaml     trains DAIF on the plant `paper`
    daif benchmark benchmarks/specs/adaptation.yaml      trains DQN there, and DAIF anew where parts come every 26 s
    python benchmarks/adaptation.py runs/benchmarks/workstation runs/benchmarks/adaptation

Ten plants run under one agent that keeps learning, as in `daif evaluate --adapt`; they are the plant `jump`, where
parts come every 20 s and then every 26 s, with the jump after 10,000 s. From then on decisions are counted, those of
all plants. At each checkpoint the policy as it is then is measured, acting greedily, on the plant of 26 s: DAIF's
exactly, by the stationary distribution of the plant's chain; DQN's, which sees the scores too, by simulation of 64
plants for half a day, with the same random numbers as all machines on. While they run, DAIF acts greedily and explores
as its settings say, DQN ε-greedily as at the end of its training. The regret is what a policy makes of parts and energy
less than the exact optimum at 8,000 kJ a part, in kW. Writes a CSV file with all points and a JSON file with the
command, the commit and the decisions until the saving stays within a margin of that of the agents that were trained
anew.
"""

import argparse
import csv
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from daif.experiments.environments import PLANT_ENV, make_vector
from daif.experiments.evaluate import PlantEvaluator, PlantProtocol, Policy
from daif.experiments.exact import chain_actions
from daif.experiments.keep_learning import keep_learning
from daif.experiments.results import find_runs
from daif.experiments.run_time_preference import prefer
from daif.experiments.runs import RunFolder, provenance
from daif.experiments.settings import apply_assignments
from daif.experiments.train import load_agent, run_config
from envs.energy_control.config import Plant, load_plant
from envs.energy_control.optimal import Optimiser

WEIGHT_KJ = 8000.0
"""Worth of a part, for which DQN was trained, and which DAIF takes at run time."""
AFTER = Path(__file__).parent / "plants" / "paper-26s.yaml"
PLANTS = 10
JUMP_S = 10_000.0
CHECKPOINTS = (0, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 40_000)
MARGINS_PCT = (1.0, 0.5, 0.25)
SIMULATED = PlantProtocol(replications=64, days=0.5, response_days=0.2)
Row = dict[str, Any]


def jumping_plant() -> Plant:
    """The plant `jump`, whose demand falls when the clock says `JUMP_S`."""
    plant = load_plant("jump")
    assert plant.arrivals.profile is not None
    profile = dataclasses.replace(plant.arrivals.profile, times_s=(0.0, JUMP_S))
    return dataclasses.replace(plant, arrivals=dataclasses.replace(plant.arrivals, profile=profile))


class Measure:
    """Loss and saving on the plant after the jump, and the regret against its optimum."""

    def __init__(self) -> None:
        self.optimiser = Optimiser(AFTER)
        self.optimum = self.optimiser.solve(WEIGHT_KJ)
        self.simulated = PlantEvaluator({"plant": str(AFTER)}, SIMULATED)

    def __call__(self, agent: Any) -> Row:
        """Measure an agent, acting greedily."""
        if hasattr(agent, "prefer"):
            return self.row(*self.optimiser.loss_and_saving_pct(chain_actions(agent, self.optimiser.chain)))
        scores = self.simulated.evaluate({"agent": Policy(agent)})["agent"]
        return self.row(float(scores.loss_pct.mean()), float(scores.saving_pct.mean()))

    def row(self, loss_pct: float, saving_pct: float) -> Row:
        """Add the regret, in kW."""
        all_on, optimum = self.optimiser.all_on, self.optimum
        lost_kw = WEIGHT_KJ * all_on.parts_per_min / 60.0 * (loss_pct - optimum.loss_pct) / 100.0
        regret_kw = lost_kw - all_on.power_kw * (saving_pct - optimum.saving_pct) / 100.0
        return {"loss_pct": loss_pct, "saving_pct": saving_pct, "regret_kw": regret_kw}


def checkpoints(learner: Any, seed: int, *, deterministic: bool) -> Iterator[int]:
    """Let an agent run and learn through the jump; yield the decisions since then at each checkpoint."""
    plants = make_vector(PLANT_ENV, {"plant": jumping_plant(), "observe_event": True}, PLANTS, AutoresetMode.DISABLED)
    space = learner.observation_space
    assert isinstance(space, spaces.Dict)
    seen, info = plants.reset(seed=seed)
    learner.begin(PLANTS)
    decisions, waiting = 0, list(CHECKPOINTS)
    while waiting:
        jumped = info["time_s"] >= JUMP_S
        if jumped.any() and decisions >= waiting[0]:
            yield waiting.pop(0)
        decisions += int(jumped.sum())
        actions = learner.act({key: seen[key] for key in space.spaces}, deterministic=deterministic)
        seen, rewards, _, _, info = plants.step(actions)
        learner.receive(rewards, info)


def summary(rows: list[Row], all_on_kw: float) -> dict[str, Any]:
    """Decisions until an adapting agent stays within a margin of those trained anew, in saving and in regret."""
    anew = [row for row in rows if row["mode"] == "trained anew"]
    target = {name: float(np.mean([row[name] for row in anew])) for name in ("saving_pct", "regret_kw")}
    runs: dict[str, list[Row]] = {}
    for row in rows:
        if row["mode"] == "adapting":
            runs.setdefault(f"{row['agent']}, seed {row['seed']}", []).append(row)
    until: dict[str, Any] = {}
    for run, points in sorted(runs.items()):
        apart_pct = {
            "saving": [abs(row["saving_pct"] - target["saving_pct"]) for row in points],
            "regret": [100.0 * (row["regret_kw"] - target["regret_kw"]) / all_on_kw for row in points],
        }
        until[run] = {
            f"{name}, {margin:g} points": since(points, [apart <= margin for apart in values])
            for name, values in apart_pct.items()
            for margin in MARGINS_PCT
        }
    return {"trained_anew": target | {"seeds": [row["seed"] for row in anew]}, "decisions_until_within": until}


def since(points: list[Row], holds: list[bool]) -> int | None:
    """Decisions of the first checkpoint from which on something holds, or None."""
    failed = max((i for i, one in enumerate(holds) if not one), default=-1)
    return None if failed == len(points) - 1 else int(points[failed + 1]["decisions"])


def main() -> None:
    """Run, measure, write and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs before the jump, and of those behind it")
    parser.add_argument("--adapt", nargs="*", default=[], metavar="FIELD=VALUE", help="settings of the adapting DAIF")
    parser.add_argument("--output", type=Path, default=Path("runs/reference/adaptation.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measure, rows = Measure(), finished(arguments.output)

    def add(agent: str, mode: str, seed: int, decisions: int, measured: Row, **more: Any) -> None:
        rows.append({"agent": agent, "mode": mode, "seed": seed, "decisions": decisions, **measured, **more})
        print(" ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in rows[-1].values()), flush=True)
        write(arguments.output, rows)

    def load(folder: Path) -> Any:
        config, agent = load_agent(RunFolder.open(folder), "latest")
        return prefer(agent, {"weight": WEIGHT_KJ} if config.agent == "daif" else {}, config.full_env_kwargs)

    done = {(row["agent"], row["mode"], row["seed"]) for row in rows}
    optimum = measure.optimum
    if not rows:
        add("optimum", "exact", 0, 0, measure.row(optimum.loss_pct, optimum.saving_pct))
    for folder in find_runs(arguments.runs):
        config = run_config(RunFolder.open(folder))
        name, seed = config.agent, config.seed
        if Path(config.full_env_kwargs.get("plant", "paper")).name == AFTER.name:
            if (name, "trained anew", seed) not in done:
                add(name, "trained anew", seed, 0, measure(load(folder)))
            continue
        if name not in ("daif", "dqn") or (name, "adapting", seed) in done:
            continue
        agent = load(folder)
        add(name, "as trained", seed, 0, measure(agent))
        settings = apply_assignments({}, tuple(arguments.adapt)) if name == "daif" else {}
        learner = keep_learning(agent, settings)
        for decisions in checkpoints(learner, seed, deterministic=name == "daif"):
            inner = learner.agent if name == "daif" else learner.learner
            figures = {key: value for key, value in learner.figures().items() if key != "decisions"}
            add(name, "adapting", seed, decisions, measure(inner), **figures)

    facts: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), **provenance(), "weight_kj": WEIGHT_KJ}
    facts |= summary(rows, measure.optimiser.all_on.power_kw)
    arguments.output.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(facts["decisions_until_within"], indent=1))
    print(f"Wrote {arguments.output}")


def finished(path: Path) -> list[Row]:
    """Read the rows of the runs that an earlier call has finished, so that they are not done again."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        texts = list(csv.DictReader(file))
    rows: list[Row] = [
        {name: text if name in ("agent", "mode") else float(text) for name, text in row.items() if text}
        | {"seed": int(row["seed"]), "decisions": int(row["decisions"])}
        for row in texts
    ]
    adapted = {(row["agent"], row["seed"]) for row in rows if row["decisions"] == CHECKPOINTS[-1]}
    unfinished = ("as trained", "adapting")
    return [row for row in rows if row["mode"] not in unfinished or (row["agent"], row["seed"]) in adapted]


def write(path: Path, rows: list[Row]) -> None:
    """Write all rows, so that what is there stays when the benchmark is interrupted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
