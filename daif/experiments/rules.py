"""Search for the best rule of each kind on a plant, as `daif benchmark rules` does."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from baselines.heuristics import RULES, rule_candidates
from daif.experiments.checkpoint import write_atomically
from daif.experiments.environments import PLANT_ENV, endless, spaces_of
from daif.experiments.evaluate import (
    DEFAULT_WEIGHT_KJ_PER_PART,
    PERIODIC_SEED,
    PlantEvaluator,
    PlantProtocol,
    PlantScores,
    Policy,
)
from daif.experiments.settings import SettingsError, to_plain
from daif.experiments.statistics import student_interval

COLUMNS = (
    "agent", "settings", "weight_kj_per_part", "objective_kw", "production_loss_pct", "production_loss_pm",
    "energy_saving_pct", "energy_saving_pm", "parts_per_min", "power_kw", "replications", "days",
)  # fmt: skip
WEIGHTS = (34200.0, DEFAULT_WEIGHT_KJ_PER_PART, 3000.0)
"""Worths of a part in kJ for which a best rule of each kind is chosen."""
_PER_BATCH = 40


def search_rules(
    env_kwargs: Mapping[str, Any], output: Path, *, replications: int, days: float, console: Console
) -> list[dict[str, Any]]:
    """Find the best rule of each kind for several weights, measure them by the protocol, and write a CSV.

    The choice is made on the seeds of periodic evaluations, with fewer days; the figures that are written come from the
    seeds of reported evaluations.

    Args:
        env_kwargs: arguments of the workstation.
        output: CSV file.
        replications: of the reported figures.
        days: of the reported figures.
        console: where progress and the table are shown.
    """
    kwargs = endless(env_kwargs)
    observation_space, action_space = spaces_of(PLANT_ENV, kwargs)
    if not hasattr(action_space, "n"):
        raise SettingsError("The rules are for one station; this plant has several.")
    machines, buffer = int(action_space.n) - 1, int(observation_space["buffer"].n) - 1  # type: ignore[index]
    candidates = rule_candidates(machines, buffer)

    def policy(index: int) -> Policy:
        name, settings = candidates[index]
        return Policy(RULES[name](observation_space, action_space, settings))

    screening = PlantEvaluator(kwargs, PlantProtocol(8, min(days, 4.0), 0.25, PERIODIC_SEED))
    scores: dict[int, PlantScores] = {}
    batches = [range(i, min(i + _PER_BATCH, len(candidates))) for i in range(0, len(candidates), _PER_BATCH)]
    for batch in track(
        batches, description=f"{len(candidates)} rules", console=console, disable=not console.is_terminal
    ):
        found = screening.evaluate({str(i): policy(i) for i in batch})
        scores.update({int(i): one for i, one in found.items()})
    chosen: dict[int, list[float]] = {
        i: [] for i, (name, _) in enumerate(candidates) if name in ("all-on", "constant", "busy-plus-waiting")
    }
    for weight in WEIGHTS:
        for kind in RULES:
            of_kind = [i for i, (name, _) in enumerate(candidates) if name == kind]
            if of_kind:
                best = max(of_kind, key=lambda i: float(scores[i].objective_kw(weight).mean()))
                chosen.setdefault(best, []).append(weight)
    reported = PlantEvaluator(kwargs, PlantProtocol(replications, days))
    final = reported.evaluate({str(i): policy(i) for i in chosen})
    rows = [_row(candidates[i], weights, final[str(i)], replications, days) for i, weights in chosen.items()]
    rows.sort(key=lambda row: (row["agent"], row["production_loss_pct"]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(output, text.getvalue().encode())
    _print(rows, console)
    console.print(f"Wrote {output}", soft_wrap=True, markup=False)
    return rows


def _row(
    candidate: tuple[str, Any], weights: list[float], scores: PlantScores, replications: int, days: float
) -> dict[str, Any]:
    name, settings = candidate
    loss, saving = student_interval(scores.loss_pct), student_interval(scores.saving_pct)
    objective = float(scores.objective_kw(DEFAULT_WEIGHT_KJ_PER_PART).mean())
    return {
        "agent": name,
        "settings": " ".join(f"{key}={value}" for key, value in to_plain(settings).items() if value is not None),
        "weight_kj_per_part": " ".join(f"{weight:.0f}" for weight in weights),
        "objective_kw": round(objective, 4),
        "production_loss_pct": round(loss.value, 4),
        "production_loss_pm": round(loss.half_width, 4),
        "energy_saving_pct": round(saving.value, 4),
        "energy_saving_pm": round(saving.half_width, 4),
        "parts_per_min": round(float(scores.parts_per_min.mean()), 5),
        "power_kw": round(float(scores.power_kw.mean()), 4),
        "replications": replications,
        "days": days,
    }


def _print(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("agent", "settings", "best for kJ/part", "loss %", "saving %"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["agent"],
            row["settings"],
            row["weight_kj_per_part"],
            f"{row['production_loss_pct']:.2f} ± {row['production_loss_pm']:.2f}",
            f"{row['energy_saving_pct']:.2f} ± {row['energy_saving_pm']:.2f}",
        )
    console.print(table, highlight=False)
