"""How far ahead a controller must look: the best policies of short sight, beside the front of long-run cost.

    python benchmarks/foresight.py

Costs are the outcomes that the presets `fast` and `overshoot` weigh: energy of machines that do not work, lost parts.

- Horizon H, as of `overshoot`: an action is judged by what H decisions bring, the first and H − 1 more of the policy
  that is judged, and nothing behind them.
- Discount γ, as of `fast`: each decision counts γ as much as the one before it; by value iteration.

Both on the plant's exact chain, for several worths of a part, and evaluated exactly. The distance is what the front of
long-run cost saves more at their loss: 0 means that a shorter sight, which is easier to learn, costs nothing (but a
larger worth for the same loss). Takes half a minute.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from front import Row, write

from daif.experiments.run_time_preference import busy_kj_per_part
from envs.energy_control.foresight import ShortSight
from envs.energy_control.optimal import Optimiser, dense_front

HORIZONS = (1, 3, 5, 7, 10, 20, 32)
DISCOUNTS = (0.8, 0.9, 0.95, 0.97, 0.985, 0.995)
WORTHS = (2_000.0, 4_000.0, 8_000.0, 20_000.0, 60_000.0)


def main() -> None:
    """Solve, write and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/reference/foresight.csv"))
    output = parser.parse_args().output
    rows = []
    for row in _policies():
        rows.append(row)
        print(
            f"{row['sight']}, {row['weight_kj_per_part']:,.0f} kJ a part: {row['loss_pct']:.2f} % / "
            f"{row['saving_pct']:.2f} %, {row['distance_pct']:.2f} points below the front"
        )
    write(output, rows)
    print(f"Wrote {output}")


def _policies() -> Iterator[Row]:
    optimiser, front, work_kj = Optimiser("paper"), dense_front("paper"), busy_kj_per_part({})
    for worth in WORTHS:
        sight = ShortSight(optimiser, worth - work_kj)
        found = {f"H = {horizon}": sight.within(horizon) for horizon in HORIZONS}
        found |= {f"γ = {discount:g}": sight.discounted(discount) for discount in DISCOUNTS}
        for name, actions in found.items():
            loss, saving = optimiser.loss_and_saving_pct(actions)
            row: Row = {"sight": name, "weight_kj_per_part": worth, "loss_pct": loss, "saving_pct": saving}
            yield row | {"distance_pct": front.saving_pct(loss) - saving}


if __name__ == "__main__":
    main()
