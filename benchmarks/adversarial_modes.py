"""Modes that adversarial variants cover on ring-8 and grid-25: one setting, several seeds side by side, 2,500 samples.

    OMP_NUM_THREADS=1 python benchmarks/adversarial_modes.py --output runs/reference/adversarial_modes.csv

Every row of the CSV is one seed; rows of a variant and a data set that the file already has are not computed again.
`--summary` prints the table: means over the seeds with 95 % bootstrap intervals, and how many seeds kept all modes.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from generative.adversarial import (
    GAN,
    GameConfig,
    MixtureLatent,
    Residual,
    SideBySide,
    mode_report,
    octave_critic,
    play,
)
from generative.critics import BoundedLipschitz, lipschitz_network
from generative.data import DENSITIES, NoisyCurve
from generative.nn import MLP
from generative.training import seeded

HIDDEN = (64, 64)
LATENT_DIM = 2
COMPONENTS = 250
SAMPLES = 2500
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/adversarial_modes.py --output runs/reference/adversarial_modes.csv"
CONFIG = GameConfig(
    steps=3000,
    batch_size=128,
    learning_rate=3e-3,
    critic_learning_rate=5e-3,
    betas=(0.0, 0.99),
    schedule="cosine",
    average=0.99,
    clip_norm=math.inf,
    evaluate_every=500,
)


def _plain() -> nn.Module:
    return MLP(LATENT_DIM, HIDDEN, 2)


def _mixture() -> nn.Module:
    """A mixture in the data's own space, bent by a residual network: components move one by one (DeLiGAN)."""
    return nn.Sequential(MixtureLatent(COMPONENTS, LATENT_DIM, scale=0.05), Residual(_plain()))


def _octaves() -> nn.Module:
    return octave_critic(2, HIDDEN, 6)


PENALTY = (0.1, 0.0002)
VARIANTS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], dict[str, Any]]] = {
    "covering": (_mixture, _octaves, {"objective_name": "relativistic", "gradient_penalty": PENALTY}),
    "saturating": (_plain, _octaves, {"objective_name": "saturating"}),
    "non-saturating": (_plain, _octaves, {"objective_name": "non-saturating"}),
    "non-saturating-penalty": (_plain, _octaves, {"objective_name": "non-saturating", "gradient_penalty": PENALTY}),
    "f-squared-hellinger": (_plain, _octaves, {"objective_name": "f-squared-hellinger"}),
    "wgan": (_plain, lambda: lipschitz_network(2, HIDDEN), {"objective_name": "ipm"}),
    "dudley": (_plain, lambda: BoundedLipschitz(lipschitz_network(2, HIDDEN)), {"objective_name": "ipm"}),
}
"""Generator, critic and settings; "covering": relativistic game, falling gradient penalty, mixture latent space."""


def run(variant: str, name: str, seeds: range, steps: int) -> list[dict[str, object]]:
    """Train a variant for every seed at once; return one row a seed."""
    density: NoisyCurve = DENSITIES[name]()
    x, _ = density.sample_labelled(10_000, torch.Generator().manual_seed(0))
    generator, critic, settings = VARIANTS[variant]
    games = []
    for seed in seeds:
        with seeded(seed):
            games.append(GAN(generator(), critic(), LATENT_DIM, 2, mean=x.mean(0), scale=x.std(0), **settings))
    together = SideBySide(games)
    assert density.modes is not None
    modes = density.modes

    def report(game: nn.Module) -> list[tuple[int, float, float]]:
        rows = []
        for k, seed in enumerate(seeds):
            with seeded(1000 + seed):
                found = mode_report(game.game(k).sample((SAMPLES,)), modes, density.noise)  # type: ignore[operator]
            rows.append((int(found.modes), float(found.high_quality), float(found.reverse_kl)))
        return rows

    def watch(game: nn.Module) -> dict[str, float]:
        rows = np.array(report(game))
        print(f"{variant} {name}: modes {rows[:, 0].astype(int).tolist()}, share {rows[:, 1].mean():.3f}", flush=True)
        return {}

    def fresh(count: int, generator: torch.Generator) -> list[Tensor]:
        return [density.sample_labelled(len(games) * count, generator)[0]]

    started = time.process_time()
    config = GameConfig(**{**CONFIG.__dict__, "steps": steps})
    play(together, fresh, config=config, monitor=watch)
    seconds = (time.process_time() - started) / len(games)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return [
        {
            "variant": variant,
            "data": name,
            "seed": seed,
            "modes": found[0],
            "high_quality": round(found[1], 4),
            "reverse_kl": round(found[2], 4),
            "steps": steps,
            "cpu_seconds": round(seconds, 1),
            "commit": commit.strip(),
            "command": COMMAND,
        }
        for seed, found in zip(seeds, report(together), strict=True)
    ]


def summary(rows: list[dict[str, str]]) -> str:
    """Return the table in Markdown."""
    generator = np.random.default_rng(0)
    lines = [
        "| variant | data | seeds | modes | seeds with all | high-quality share | reverse KL (nats) |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row["data"]), []).append(row)
    for (variant, name), group in groups.items():
        full = int(name.split("-")[1])
        cells = []
        for column, digits in (("modes", 1), ("high_quality", 3), ("reverse_kl", 3)):
            values = np.array([float(row[column]) for row in group])
            means = generator.choice(values, (10_000, len(values))).mean(1)
            low, high = np.percentile(means, [2.5, 97.5])
            cells.append(f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")
        all_modes = sum(int(row["modes"]) == full for row in group)
        lines.append(f"| {variant} | {name} | {len(group)} | {cells[0]} | {all_modes} | {cells[1]} | {cells[2]} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing in the CSV file, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/reference/adversarial_modes.csv"))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--data", nargs="+", choices=["ring-8", "grid-25"], default=["ring-8", "grid-25"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=CONFIG.steps)
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if arguments.output.exists():
        with arguments.output.open(newline="") as file:
            rows = list(csv.DictReader(file))
    if arguments.summary:
        print(summary(rows))
        return
    for variant in arguments.variants:
        for name in arguments.data:
            if any((row["variant"], row["data"]) == (variant, name) for row in rows):
                continue
            rows += run(variant, name, range(arguments.seeds), arguments.steps)
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            with arguments.output.open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
