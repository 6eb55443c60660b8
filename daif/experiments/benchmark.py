"""Grids of agents, environments, settings and seeds: run in parallel processes, resumed cell by cell."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from daif.experiments.config import resolve
from daif.experiments.registry import find_agent
from daif.experiments.report import report
from daif.experiments.runs import slug
from daif.experiments.settings import SettingsError, apply_assignments, build, read_yaml

_LINES_EVERY_S = 30.0


@dataclass(frozen=True)
class BenchmarkSpec:
    """What a specification file holds."""

    name: str
    """Name of the benchmark, and of its folder."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Training seeds of every learning agent."""
    base: dict[str, Any] = field(default_factory=dict)
    """Settings of all cells, as in a configuration file."""
    cells: tuple[dict[str, Any], ...] = ({},)
    """Settings by cell, over the base."""
    grid: dict[str, Any] = field(default_factory=dict)
    """Lists of values by field (dots reach into mappings); every cell of a learning agent is run with every
    combination."""
    evaluate: dict[str, Any] = field(default_factory=dict)
    """Options of `daif evaluate`, such as days or episodes."""


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation."""

    folder: Path
    """The run folder; it follows from the settings alone, so that a second call finds it."""
    config: Mapping[str, Any]
    """Settings, as in a configuration file."""
    evaluate: tuple[str, ...]
    """Arguments of `daif evaluate`."""
    learns: bool
    """Whether there is anything to train."""

    @property
    def is_done(self) -> bool:
        """Whether the evaluation is there."""
        return (self.folder / "evaluation.json").is_file()

    @property
    def name(self) -> str:
        """What the cell is called in messages."""
        return self.folder.name


def run_benchmark(spec_file: Path, output: Path | None, jobs: int, console: Console) -> bool:
    """Run what is not done yet, write `results.md`; return whether every cell is done.

    Args:
        spec_file: YAML with the fields of `BenchmarkSpec`.
        output: folder of the results; by default `runs/benchmarks/<name>`.
        jobs: processes side by side.
        console: where progress is shown.
    """
    spec = build(BenchmarkSpec, read_yaml(spec_file), what="field of a benchmark")
    folder = output or Path("runs/benchmarks") / slug(spec.name)
    cells = expand(spec, folder)
    run_cells(cells, jobs, console)
    done = [cell for cell in cells if cell.is_done]
    if done:
        text = report([cell.folder for cell in done], "markdown")
        (folder / "results.md").write_text(text + "\n", encoding="utf-8")
        console.print(text, markup=False, soft_wrap=True, highlight=False)
        console.print(f"Wrote {folder / 'results.md'}", markup=False, soft_wrap=True)
    return len(done) == len(cells)


def expand(spec: BenchmarkSpec, folder: Path) -> list[Cell]:
    """Return all cells of a specification; every one is checked before the first is run."""
    cells = []
    arguments = tuple(
        itertools.chain.from_iterable((f"--{k.replace('_', '-')}", str(v)) for k, v in spec.evaluate.items())
    )
    for settings in spec.cells:
        merged = _deep_merge(spec.base, settings)
        entry = find_agent(str(merged.get("agent", "daif")))
        grid = spec.grid if entry.learns else {}
        for values in itertools.product(*(_values(name, grid[name]) for name in grid)):
            assignments = tuple(f"{name}={json.dumps(value)}" for name, value in zip(grid, values, strict=True))
            config = apply_assignments(merged, assignments)
            for seed in spec.seeds if entry.learns else spec.seeds[:1]:
                seeded = {**config, "seed": seed}
                resolved = resolve(config=seeded)
                digest = hashlib.sha256(json.dumps(resolved.resolved(), sort_keys=True).encode()).hexdigest()[:10]
                name = f"{slug(resolved.agent)}-{seed}-{digest}"
                cells.append(Cell(folder / slug(resolved.env) / name, seeded, arguments, entry.learns))
    return list({cell.folder: cell for cell in cells}.values())


def run_cells(cells: Sequence[Cell], jobs: int, console: Console) -> None:
    """Train and evaluate the cells that are not done, `jobs` at a time; a failed one does not stop the others."""
    if jobs < 1:
        raise SettingsError(f"jobs is {jobs}; it must be at least 1.")
    waiting = [cell for cell in cells if not cell.is_done]
    if len(waiting) < len(cells):
        console.print(f"{len(cells) - len(waiting)} of {len(cells)} cells are done already.")
    started = time.perf_counter()
    finished = 0
    with ThreadPoolExecutor(max_workers=jobs) as pool, console.status("") as status:
        pending = {pool.submit(_run_cell, cell): cell for cell in waiting}
        last_line = started
        try:
            while pending:
                done, _ = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                now = time.perf_counter()
                for future in done:
                    cell, problem, finished = pending.pop(future), future.result(), finished + 1
                    state = "done" if problem is None else f"failed: {problem}"
                    line = f"[{finished}/{len(waiting)}] {cell.name} {state} ({now - started:,.0f} s)"
                    console.print(line, markup=False, soft_wrap=True)
                latest = [f"{cell.name}: {_last_line(cell)}" for future, cell in pending.items() if future.running()]
                status.update(escape("\n".join(latest)))
                if not console.is_terminal and now - last_line >= _LINES_EVERY_S:
                    last_line = now
                    console.print("\n".join(latest), markup=False, soft_wrap=True, highlight=False)
        except KeyboardInterrupt:
            for future in pending:
                future.cancel()
            raise


def _last_line(cell: Cell) -> str:
    log = cell.folder / "log.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return lines[-1] if lines else "starting"


def _run_cell(cell: Cell) -> str | None:
    """Train (or continue) and evaluate a cell in processes of its own; return what went wrong, if anything."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    log = cell.folder / "log.txt"
    commands = []
    if not cell.learns:
        commands.append(_evaluate_rule(cell))
    else:
        if (cell.folder / "config.yaml").is_file():
            commands.append(["train", "--resume", str(cell.folder)])
        else:
            config_file = cell.folder / "cell.yaml"
            config_file.write_text(yaml.safe_dump(dict(cell.config)), encoding="utf-8")
            commands.append(["train", "--config", str(config_file), "--run-dir", str(cell.folder)])
        commands.append(["evaluate", str(cell.folder), *cell.evaluate])
    for command in commands:
        with log.open("a", encoding="utf-8") as file:
            process = subprocess.run(
                [sys.executable, "-m", "daif", *command], stdout=file, stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
            )  # fmt: skip
        if process.returncode:
            lines = log.read_text(encoding="utf-8").strip().splitlines()
            return f"{lines[-1] if lines else 'no output'} (see {log})"
    return None


def _evaluate_rule(cell: Cell) -> list[str]:
    config = cell.config
    arguments = ["evaluate", str(config["agent"]), "--output", str(cell.folder / "evaluation.json"), *cell.evaluate]
    if config.get("env"):
        arguments += ["--env", str(config["env"])]
    for flag, name in (("--env-kwargs", "env_kwargs"), ("--set", "settings")):
        pairs = [f"{key}={json.dumps(value)}" for key, value in (config.get(name) or {}).items()]
        if pairs:
            arguments += [flag, *pairs]
    return arguments


def _values(name: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise SettingsError(f"The grid's field {name!r} is {values!r}; it must be a list of values.")
    return values


def _deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        nested = merged.get(name)
        merged[name] = (
            _deep_merge(nested, value) if isinstance(nested, Mapping) and isinstance(value, Mapping) else value
        )
    return merged
