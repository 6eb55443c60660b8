"""Decisions per second of the SimPy workstation, made by `gymnasium.make` with its default wrappers.

    python benchmarks/environment.py [--decisions 200000] [--repeats 5] [--csv FILE]

Times are processor times of this process (`time.process_time`), so that they are per core whatever else runs. Each
line is the best of the repeats, with the median beside it; observations, scores, reward and info are built at every
decision. The line `python loop` is a fixed piece of pure Python, to compare machines and their load by.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np

import envs  # noqa: F401 - registers
from envs.energy_control.config import load_plant
from envs.energy_control.workstation import PlantSimulation


def rates(run: Callable[[], None], count: int, repeats: int) -> tuple[float, float]:
    """Best and median of `count` per second of processor time."""
    speeds = []
    for _ in range(repeats):
        began_s = time.process_time()
        run()
        speeds.append(count / (time.process_time() - began_s))
    return max(speeds), statistics.median(speeds)


def python_loop(count: int) -> None:
    """Pure Python, nothing else."""
    total = 0
    for i in range(count):
        total += i


def actions_of(policy: str, env: gymnasium.Env, decisions: int) -> list:
    """Actions drawn beforehand: all on, a constant number, or random."""
    rng = np.random.default_rng(0)
    sizes = np.atleast_1d(env.action_space.nvec if hasattr(env.action_space, "nvec") else env.action_space.n)
    if policy == "random":
        columns = [rng.integers(size, size=decisions) for size in sizes]
    else:
        columns = [np.full(decisions, size - (1 if policy == "all-on" else 2)) for size in sizes]
    return columns[0].tolist() if len(columns) == 1 else np.stack(columns, axis=1).tolist()


def main() -> None:
    """Measure and print; write a CSV file on demand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--csv", type=Path, default=None, help="also write the figures to this file")
    arguments = parser.parse_args()
    decisions, repeats = arguments.decisions, arguments.repeats
    rows = []

    def report(what: str, policy: str, run: Callable[[], None], count: int) -> None:
        best, median = rates(run, count, repeats)
        rows.append({"what": what, "policy": policy, "best_per_s": round(best), "median_per_s": round(median)})
        print(f"{what:44} {policy:9} best {best:12,.0f}/s   median {median:12,.0f}/s", flush=True)

    report("python loop", "-", lambda: python_loop(5_000_000), 5_000_000)
    for settings in ({}, {"reward": "increment", "observe_event": True}, {"plant": "large"}, {"plant": "two-stage"}):
        env = gymnasium.make("daif/EnergyControl-v0", **settings)
        for policy in ("all-on", "one-less", "random"):
            actions = actions_of(policy, env, decisions)
            env.reset(seed=0)

            def run(step: Callable = env.step, actions: list = actions) -> None:
                for action in actions:
                    step(action)

            name = ", ".join(f"{key}={value}" for key, value in settings.items()) or "gymnasium.make, defaults"
            report(name, policy, run, decisions)

    simulation = PlantSimulation(load_plant("paper"), "pooled", np.random.default_rng(0))
    simulation.run_to_decision()

    def simulate() -> None:
        for _ in range(decisions):
            simulation.decide((5,))
            simulation.run_to_decision()

    report("SimPy alone, nothing observed", "one-less", simulate, decisions)
    env = gymnasium.make("daif/EnergyControl-v0")
    report("reset with its day all-on", "-", lambda: [env.reset(seed=i) for i in range(5)] and None, 5)
    if arguments.csv is not None:
        with arguments.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
