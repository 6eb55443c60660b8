"""Decisions per second of the compiled engine, beside SimPy, on one core with observations, rewards and infos.

    OMP_NUM_THREADS=1 python benchmarks/fast_engine.py

Every engine steps the plant with all machines on or with n drawn at random; engines take turns, round after round, so
that a busy machine slows them alike; the median and the best round are printed. CPU time is what counts on a machine
that is shared; wall time is given too.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import gymnasium
import numpy as np

import envs  # noqa: F401

ID = "daif/EnergyControl-v0"


def vector(num_envs: int, policy: str, plant: str) -> Callable[[int], None]:
    """Return a function that takes about that many decisions in `num_envs` compiled plants."""
    env = gymnasium.make_vec(ID, num_envs=num_envs, plant=plant)
    env.reset(seed=0, options={"start_s": 40_000.0})
    machines = int(env.single_action_space.n) - 1
    rng = np.random.default_rng(0)
    actions = (
        [np.full(num_envs, machines)] if policy == "all-on" else list(rng.integers(0, machines + 1, (64, num_envs)))
    )

    def run(decisions: int) -> None:
        for step in range(decisions // num_envs):
            env.step(actions[step % len(actions)])

    return run


def single(engine: str, policy: str, plant: str) -> Callable[[int], None]:
    """Return a function that takes so many decisions in one environment, made with its default wrappers."""
    env = gymnasium.make(ID, engine=engine, plant=plant)
    env.reset(seed=0, options={"start_s": 40_000.0})
    machines = int(env.action_space.n) - 1
    rng = np.random.default_rng(0)
    actions = [machines] if policy == "all-on" else rng.integers(0, machines + 1, 1009).tolist()

    def run(decisions: int) -> None:
        for step in range(decisions):
            env.step(actions[step % len(actions)])

    return run


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plant", default="paper")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--decisions", type=int, default=1_000_000, help="of the compiled engine, in each round")
    arguments = parser.parse_args()
    runs: dict[str, tuple[Callable[[int], None], int]] = {}
    for policy in ("all-on", "random"):
        for num_envs in arguments.num_envs:
            runs[f"fast, {num_envs} at once, {policy}"] = (
                vector(num_envs, policy, arguments.plant),
                arguments.decisions,
            )
        for engine in ("fast", "simpy"):
            runs[f"{engine}, single, {policy}"] = (single(engine, policy, arguments.plant), arguments.decisions // 40)
    per_s: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "wall": []} for name in runs}
    for run, decisions in runs.values():
        run(decisions // 10)  # compile and warm up
    for _ in range(arguments.rounds):
        for name, (run, decisions) in runs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run(decisions)
            per_s[name]["cpu"].append(decisions / (time.process_time() - cpu))
            per_s[name]["wall"].append(decisions / (time.perf_counter() - wall))
    table = {
        name: {
            "decisions_per_cpu_s": round(median(rates["cpu"])),
            "best_per_cpu_s": round(max(rates["cpu"])),
            "decisions_per_wall_s": round(median(rates["wall"])),
            "best_per_wall_s": round(max(rates["wall"])),
        }
        for name, rates in per_s.items()
    }
    ratios = {
        policy: median(per_s[f"fast, {max(arguments.num_envs)} at once, {policy}"]["cpu"])
        / median(per_s[f"simpy, single, {policy}"]["cpu"])
        for policy in ("all-on", "random")
    }
    print(json.dumps({"plant": arguments.plant, "engines": table, "fast_over_simpy": ratios}, indent=2))


if __name__ == "__main__":
    main()
