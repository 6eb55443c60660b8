"""The demonstration: DAIF and DQN learn the workstation, meet all rules and the optimum, and are drawn beside them."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from daif.experiments.benchmark import BenchmarkSpec, Cell, expand, run_cells
from daif.experiments.config import RunConfig, resolve
from daif.experiments.environments import PLANT_ENV
from daif.experiments.evaluate import PlantEvaluator, PlantProtocol, Policy
from daif.experiments.evaluation_command import record
from daif.experiments.plots import plot
from daif.experiments.report import PLANT_COLUMNS, plant_rows, report
from daif.experiments.results import read_evaluations
from daif.experiments.runs import slug, write_json
from daif.experiments.settings import SettingsError
from daif.experiments.train import build_agent

_SEEDS = (0, 1)
_LEARNERS: tuple[dict[str, Any], ...] = ({"agent": "daif", "steps": 2_048_000}, {"agent": "dqn"})
_RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("all-on", {}),
    ("random", {}),
    ("constant", {"n": 5}),
    ("constant", {"n": 4}),
    ("busy-plus-waiting", {}),
    ("hysteresis", {"low": 0, "high": 4, "n_low": 3, "n_high": 6}),
    ("threshold-linear", {"slope": 0.4, "offset": 1.0, "n_min": 2}),
    ("optimal", {"weight": 8000.0}),
)
_REPLICATIONS, _DAYS = 10, 30.0
_EVALUATE_EVERY = 4
"""Epochs between evaluations during training: fewer than usual, for the sake of time."""


def run_demo(folder: Path, jobs: int, budget: float, console: Console) -> bool:
    """Train, evaluate, draw; return whether everything was done. What the folder already holds is not done again.

    Args:
        folder: where everything is written.
        jobs: processes side by side.
        budget: fraction of the full training decisions and of the simulated days.
        console: where progress and the table are shown.
    """
    if not 0.0 < budget <= 1.0:
        raise SettingsError(f"The budget is {budget}; it must be above 0 and at most 1.")
    started = time.perf_counter()
    days = max(0.25, _DAYS * budget)
    cells = _cells(folder, budget, days)
    trained = ", ".join(f"{cell.config['agent']} (seed {cell.config['seed']})" for cell in cells)
    console.print(f"Training and evaluating {trained}, {jobs} side by side.", markup=False, soft_wrap=True)
    run_cells(cells, jobs, console)
    _evaluate_rules(folder / "rules", days, console)
    figure = folder / "tradeoff.png"
    plot("tradeoff", [folder], figure)
    table = folder / "results.md"
    table.write_text(report([folder], "markdown") + "\n", encoding="utf-8")
    _print(folder, console)
    _print_budget(cells, folder, days, time.perf_counter() - started, console)
    console.print(f"Wrote {figure} and {table}", markup=False, soft_wrap=True)
    return all(cell.is_done for cell in cells)


def _cells(folder: Path, budget: float, days: float) -> list[Cell]:
    learners = []
    for learner in _LEARNERS:
        if budget < 1.0:
            learner = {**learner, "steps": max(1000, int(budget * _planned_steps(resolve(**learner))))}
        learners.append(learner)
    spec = BenchmarkSpec(
        name="demo",
        seeds=_SEEDS,
        base={"env": PLANT_ENV, "evaluation": {"every": _EVALUATE_EVERY}},
        cells=tuple(learners),
        evaluate={"acting": "deterministic", "days": days, "replications": _REPLICATIONS},
    )
    return expand(spec, folder)


def _planned_steps(config: RunConfig) -> int:
    settings = config.agent_settings()
    if config.steps is not None:
        return config.steps
    if hasattr(settings, "total_steps"):
        return int(settings.total_steps)
    return int(settings.epochs * settings.iterations * settings.num_envs * (settings.segment or settings.horizon))


def _evaluate_rules(folder: Path, days: float, console: Console) -> None:
    """Measure all rules in one batch, on the plants that the learned agents are measured on."""
    wanted: dict[str, tuple[RunConfig, Policy, Path]] = {}
    for name, settings in _RULES:
        key = "-".join([slug(name), *(f"{setting}-{value:g}" for setting, value in settings.items())])
        file = folder / key / "evaluation.json"
        if not file.is_file():
            config = resolve(env=PLANT_ENV, agent=name, preset="none", settings=settings)
            wanted[key] = (config, Policy(build_agent(config)), file)
    if not wanted:
        return
    console.print(f"Evaluating {len(wanted)} rules.")
    protocol = PlantProtocol(_REPLICATIONS, days)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("simulating", total=1.0)
        scores = PlantEvaluator({}, protocol).evaluate(
            {key: policy for key, (_, policy, _) in wanted.items()}, lambda share: bar.update(task, completed=share)
        )
    for key, (config, _, file) in wanted.items():
        content = record(
            config, command=_command(config, days), checkpoint=None, settings=config.settings,
            seed=protocol.seed, protocol={"replications": _REPLICATIONS, "days": days, "response_days": 1.0},
            decisions=0, results={"deterministic": scores[key].summary()},
        )  # fmt: skip
        write_json(file, content)


def _command(config: RunConfig, days: float) -> str:
    """Return the command that measures a rule alone."""
    settings = " ".join(f"{name}={value:g}" for name, value in config.settings.items())
    return f"daif evaluate {config.agent} --days {days:g}" + (f" --set {settings}" if settings else "")


def _print(folder: Path, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    shown = [PLANT_COLUMNS.index(name) for name in ("agent", "seeds", "loss %", "saving %", "optimum's saving there %")]
    for index in shown:
        table.add_column(PLANT_COLUMNS[index])
    for row in plant_rows(read_evaluations([folder])):
        table.add_row(*(escape(row[index]) for index in shown))
    console.print(table, highlight=False)


def _print_budget(cells: list[Cell], folder: Path, days: float, elapsed_s: float, console: Console) -> None:
    decisions = {
        f"{one.agent} (seed {one.content['training_seed']})": int(one.content["decisions"])
        for one in read_evaluations([cell.folder for cell in cells if cell.is_done])
    }
    budget = ", ".join(f"{name} {count:,} decisions" for name, count in decisions.items())
    console.print(
        f"Budget: {budget}; each point {_REPLICATIONS} replications of {days:g} simulated days, common random numbers, "
        f"95 % intervals; {elapsed_s / 60:.1f} minutes in this call.",
        markup=False, soft_wrap=True,
    )  # fmt: skip
