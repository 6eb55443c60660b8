"""The exact front of production loss and energy saving, by its corners.

    python benchmarks/optimum_front.py [--plant paper] [--tolerance-pct 0.005] [--output FILE.csv]

Writes the CSV file and, beside it, a JSON file with the command, the commit, the plant, the tolerance and the time it
took.
A straight line between two corners misses less than the tolerance, in points of saving.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from envs.energy_control import optimal


def git(*arguments: str) -> str:
    """Return what git says, or nothing outside of a checkout."""
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Solve, write and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plant", default="paper")
    parser.add_argument("--tolerance-pct", type=float, default=0.005)
    parser.add_argument("--output", type=Path, default=Path("runs/reference/optimum_front.csv"))
    arguments = parser.parse_args()
    began, cpu = time.perf_counter(), time.process_time()
    hull = optimal.dense_front(arguments.plant, tolerance_pct=arguments.tolerance_pct)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    rows = [optimal.as_row(corner) for corner in hull.corners]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    optimal.write_front(arguments.output, rows)
    sources = ["envs/energy_control/optimal.py", "envs/energy_control/plants"]
    facts = {
        "command": " ".join(["python", *sys.argv]),
        "commit": git("log", "-1", "--format=%H", "--", *sources),
        "commit_is": f"the last one that touched {' or '.join(sources)}",
        "changed_since": bool(git("status", "--porcelain", "--", *sources)),
        "plant": arguments.plant,
        "tolerance_pct": arguments.tolerance_pct,
        "corners": len(rows),
        "weights_solved": len(hull.supports),
        "all_on": {"parts_per_min": hull.all_on.parts_per_min, "power_kw": hull.all_on.power_kw},
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
    }
    arguments.output.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"{len(rows)} corners from {len(hull.supports)} weights in {cpu_s:.1f} s of CPU: {arguments.output}")


if __name__ == "__main__":
    main()
