"""The command line. Every subcommand is a dataclass; what it needs is imported when it runs, to start fast."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, arg, subcommand

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
USAGE_ERROR = 2
"""Exit code where the input cannot be used."""
DIVERGED = 1
"""Exit code where a training or a check failed."""

console = Console()
error_console = Console(stderr=True)


@dataclass(frozen=True)
class Train:
    """Train an agent, or continue a run to the same result, bit for bit."""

    env: str | None = None
    """Gymnasium id, such as CartPole-v1 or module:namespace/Name-v0 (default: the workstation)."""
    agent: str | None = None
    """Name of the agent (default: daif); `daif agents` lists them."""
    preset: str | None = None
    """Shipped settings, or none (default: the environment's preset, if there is one)."""
    seed: tuple[int, ...] = ()
    """One run for each seed (default: 0)."""
    config: Path | None = None
    """YAML file of settings, over the preset and under the flags."""
    set: Annotated[tuple[str, ...], arg(metavar="FIELD=VALUE")] = ()
    """Settings of the agent."""
    env_kwargs: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE")] = ()
    """Arguments of the environment."""
    steps: int | None = None
    """Training decisions."""
    preference: str | None = None
    """What DAIF prefers: reward, goal=..., outcomes:..., or module:function (short for --set preference=...)."""
    device: str | None = None
    """cpu, cuda, cuda:N or auto."""
    threads: int | None = None
    """Threads of torch."""
    checkpoint_every: int | None = None
    """Epochs between numbered checkpoints."""
    evaluate_every: int | None = None
    """Epochs between evaluations, 0 for none."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    run_dir: Path | None = None
    """Folder of this run (one seed only); by default a fresh one under `--runs`."""
    resume: Path | None = None
    """Run folder to continue; its settings are kept, only --steps may change."""


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a run, or a rule by its name, and write evaluation.json."""

    run: Positional[str]
    """Run folder, or the name of an agent that needs no training, such as all-on or optimal."""
    checkpoint: str = "best"
    """best (else latest), latest, or step-N."""
    episodes: int = 100
    """Episodes, on environments with episodes."""
    max_decisions: int = 10_000
    """Decisions after which an episode is cut, on environments without a time limit."""
    days: float = 30.0
    """Simulated days that count, on the workstation."""
    replications: int = 10
    """Independent plants, on the workstation."""
    response_days: float = 1.0
    """Simulated days under the policy before them, on the workstation."""
    acting: Literal["both", "deterministic", "stochastic"] = "both"
    """Greedily, as sampled, or both."""
    seed: int | None = None
    """First seed of the evaluation (default: one that no training uses)."""
    env: str | None = None
    """Environment, for an agent that is given by name (default: the workstation)."""
    env_kwargs: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE")] = ()
    """Arguments of the environment, over those of the run."""
    set: Annotated[tuple[str, ...], arg(metavar="FIELD=VALUE")] = ()
    """Settings of an agent that is given by name."""
    weight: float | None = None
    """Worth of a part in kJ, for the agent optimal."""
    preference: Annotated[tuple[str, ...], arg(metavar="NAME=WEIGHT")] = ()
    """New weights for what a trained agent prefers; weight=W is the worth of a part in kJ, max_loss_pct=L a production
    target. Weights up to ten times beyond the trained range are taken; the actor extrapolates there."""
    tariff: Path | None = None
    """CSV file (hour,price): the preference follows the price of energy by the hour of the day."""
    adapt: Annotated[tuple[str, ...] | None, arg(metavar="FIELD=VALUE")] = None
    """Evaluate a copy that keeps learning while it runs, on the workstation; the run stays as it is. Its settings, such
    as learning_rate=0.1 max_divergence=0.5, are those of daif.adaptation."""
    output: Path | None = None
    """JSON file (default: evaluation.json, or with --adapt evaluation_adapted.json, in the run folder)."""
    video: Path | None = None
    """Also write a film (GIF) of the first decisions to this file."""
    video_frames: int = 200
    """Frames of the film."""


@dataclass(frozen=True)
class Plot:
    """Draw a figure of runs; its format follows from the name: PNG, SVG or PDF."""

    kind: Positional[Literal["tradeoff", "training", "learning", "horizon", "policy", "model"]]
    """tradeoff: loss against saving; training: six panels; learning: IQM against steps; horizon: score against H;
    policy: machines on by buffer level and busy machines, beside the exact optimum; model: what DAIF's world model
    predicts against what came."""
    runs: Positional[tuple[Path, ...]] = ()
    """Run folders, or folders of them."""
    output: Path | None = None
    """File (default: KIND.png)."""
    metric: str | None = None
    """Column of metrics.csv, for learning and horizon."""
    reference: bool = True
    """Draw the published points and the exact optimum too."""
    preference: Annotated[tuple[str, ...], arg(metavar="NAME=WEIGHT")] = ()
    """New weights for what the agent of a policy or model prefers; weight=W is the worth of a part in kJ."""


@dataclass(frozen=True)
class Report:
    """Print the results of evaluated runs as a table, with command, commit and seeds."""

    runs: Positional[tuple[Path, ...]]
    """Run folders, or folders of them."""
    format: Literal["markdown", "latex"] = "markdown"
    """Of the table."""
    output: Path | None = None
    """File; by default it is printed."""
    into: Path | None = None
    """Markdown file with marks for the table, such as README.md: the table goes between them."""
    table: str = "results"
    """Name of the marks: `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""


@dataclass(frozen=True)
class Benchmark:
    """Run a grid of agents, environments, settings and seeds from a YAML file; what is done is skipped."""

    spec: Positional[str]
    """YAML file, or `rules` for the best rule of each kind on a plant."""
    output: Path | None = None
    """Folder of the results (default: runs/benchmarks/NAME)."""
    jobs: int = 2
    """Processes side by side."""
    env_kwargs: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE")] = ()
    """Arguments of the workstation, for `rules`."""
    days: float = 30.0
    """Simulated days, for `rules`."""
    replications: int = 10
    """Independent plants, for `rules`."""


@dataclass(frozen=True)
class Envs:
    """List the environments, or print the specification of one."""

    env: Positional[str | None] = None
    """Gymnasium id."""


@dataclass(frozen=True)
class Agents:
    """List the agents, or the settings of one."""

    agent: Positional[str | None] = None
    """Name of an agent."""


@dataclass(frozen=True)
class WorldModels:
    """List the world models."""


@dataclass(frozen=True)
class Optimum:
    """Compute the exact optimum of a workstation and its front of loss against saving."""

    weights: Annotated[tuple[float, ...], arg(aliases=("-w",))] = ()
    """Worths of a part in kJ (default: ten along the front)."""
    env_kwargs: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE")] = ()
    """Arguments of the environment, such as plant=NAME."""
    output: Path | None = None
    """CSV file."""


@dataclass(frozen=True)
class Doctor:
    """Check versions, devices, threads and packages, and train for two seconds."""


@dataclass(frozen=True)
class GenerativeTrain:
    """Train a generative model; write its figures, samples, density and TensorBoard events."""

    model: Positional[str]
    """Name of a model; `daif generative list` lists them."""
    data: str = "moons"
    """Data set: moons, 8gaussians, checkerboard, rings, digits or digits-binary."""
    seed: int = 0
    """Seed of parameters, batches and samples."""
    steps: int | None = None
    """Gradient steps (default: the model's own)."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    output: Path | None = None
    """Folder (default: runs/generative/MODEL-DATA-SEED)."""


@dataclass(frozen=True)
class GenerativeList:
    """List the generative models, the data that each takes and what it has."""


@dataclass(frozen=True)
class Generative:
    """Train or list generative models."""

    command: Annotated[
        Annotated[GenerativeTrain, subcommand("train", prefix_name=False)]
        | Annotated[GenerativeList, subcommand("list", prefix_name=False)],
        arg(name=""),
    ]
    """What to do."""


@dataclass(frozen=True)
class Demo:
    """Train DAIF and DQN on the workstation, compare them with the rules and the optimum, draw the trade-off."""

    output: Path = Path("runs/demo")
    """Folder of the demonstration; what it already holds is not done again."""
    jobs: int = 2
    """Trainings side by side."""
    budget: Annotated[float, arg(metavar="FRACTION")] = 1.0
    """Fraction of the full training budget."""


Command = (
    Annotated[Train, subcommand("train", prefix_name=False)]
    | Annotated[Evaluate, subcommand("evaluate", prefix_name=False)]
    | Annotated[Plot, subcommand("plot", prefix_name=False)]
    | Annotated[Report, subcommand("report", prefix_name=False)]
    | Annotated[Benchmark, subcommand("benchmark", prefix_name=False)]
    | Annotated[Envs, subcommand("envs", prefix_name=False)]
    | Annotated[Agents, subcommand("agents", prefix_name=False)]
    | Annotated[WorldModels, subcommand("world-models", prefix_name=False)]
    | Annotated[Optimum, subcommand("optimum", prefix_name=False)]
    | Annotated[Doctor, subcommand("doctor", prefix_name=False)]
    | Annotated[Generative, subcommand("generative", prefix_name=False)]
    | Annotated[Demo, subcommand("demo", prefix_name=False)]
)


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; bad input ends in one sentence and exit code 2."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    command: Any = tyro.cli(
        Command,
        prog="daif",
        description="Deep active inference control on Gymnasium environments.",
        args=args,
    )
    try:
        _check_packages()
        return _HANDLERS[type(command)](command)
    except KeyboardInterrupt:
        error_console.print("Stopped at once; what was saved last remains.")
        return INTERRUPTED
    except (ValueError, OSError) as error:
        if os.environ.get("DAIF_DEBUG"):
            raise
        error_console.print(f"[bold red]Error:[/bold red] {escape(_sentence(error))}", soft_wrap=True, highlight=False)
        return USAGE_ERROR


def _train(command: Train) -> int:
    from daif.experiments.config import resolve
    from daif.experiments.runs import RunFolder
    from daif.experiments.settings import SettingsError, apply_assignments, read_yaml
    from daif.experiments.train import build_agent, run_config, train

    if command.resume is not None:
        given = [
            f.name for f in dataclasses.fields(Train) if f.name not in ("resume", "steps", "runs")
            and getattr(command, f.name) != f.default
        ]  # fmt: skip
        if given:
            raise SettingsError(f"--{given[0].replace('_', '-')} cannot be changed when a run resumes.")
        run = RunFolder.open(command.resume)
        config = run_config(run)
        if command.steps is not None and command.steps != config.steps:
            config = dataclasses.replace(config, steps=command.steps)
            run.write_config(config.resolved())
        return _report_training(run, train(config, run, console, resume=True))
    seeds = command.seed or (None,)
    if command.run_dir is not None and len(seeds) > 1:
        raise SettingsError("--run-dir is for one seed; leave it out to give each seed its own folder.")
    evaluation = {} if command.evaluate_every is None else {"evaluation": {"every": command.evaluate_every}}
    configs = [
        resolve(
            env=command.env,
            agent=command.agent,
            preset=command.preset,
            config=None if command.config is None else read_yaml(command.config),
            env_kwargs=apply_assignments({}, command.env_kwargs),
            settings=_settings(command),
            seed=seed,
            steps=command.steps,
            device=command.device,
            threads=command.threads,
            checkpoint_every=command.checkpoint_every,
            **evaluation,
        )
        for seed in seeds
    ]
    if command.run_dir is not None and (command.run_dir / "config.yaml").exists():
        raise SettingsError(f"{command.run_dir} already holds a run; continue it with --resume {command.run_dir}.")
    build_agent(configs[0])  # what can't be made is refused before a run folder is there
    for config in configs:
        run = (
            RunFolder(command.run_dir)
            if command.run_dir is not None
            else RunFolder.new(command.runs, config.env, config.agent, config.seed)
        )
        run.write_config(config.resolved())
        run.write_metadata(config.seed, _command_line())
        console.print(f"{config.agent} on {config.env}, seed {config.seed} -> {run.path}", soft_wrap=True, markup=False)
        code = _report_training(run, train(config, run, console))
        if code:
            return code
    return 0


def _settings(command: Train) -> dict[str, Any]:
    from daif.experiments.settings import apply_assignments

    preference = {} if command.preference is None else {"preference": command.preference}
    return {**preference, **apply_assignments({}, command.set)}


def _report_training(run: Any, result: Any) -> int:
    sentences = {
        "finished": f"Finished after {result.decisions:,} decisions: {run.path}",
        "interrupted": f"Saved after epoch {result.epoch}; continue with: daif train --resume {run.path}",
        "diverged": f"Training diverged; the checkpoints of the last good epochs are in {run.path}",
    }
    console.print(sentences[result.outcome], soft_wrap=True, markup=False)
    return {"finished": 0, "interrupted": INTERRUPTED, "diverged": DIVERGED}[result.outcome]


def _evaluate(command: Evaluate) -> int:
    from daif.experiments.evaluation_command import Request, evaluate_request
    from daif.experiments.settings import apply_assignments

    settings = apply_assignments({}, command.set)
    if command.weight is not None:
        settings["weight"] = command.weight
    request = Request(
        run=command.run,
        checkpoint=command.checkpoint,
        episodes=command.episodes,
        max_decisions=command.max_decisions,
        days=command.days,
        replications=command.replications,
        response_days=command.response_days,
        acting=("deterministic", "stochastic") if command.acting == "both" else (command.acting,),
        seed=command.seed,
        env=command.env,
        env_kwargs=apply_assignments({}, command.env_kwargs),
        settings=settings,
        preference=apply_assignments({}, command.preference),
        tariff=command.tariff,
        adapt=None if command.adapt is None else apply_assignments({}, command.adapt),
        output=command.output,
        video=command.video,
        video_frames=command.video_frames,
    )
    evaluate_request(request, console, _command_line())
    return 0


def _plot(command: Plot) -> int:
    from daif.experiments.plots import plot
    from daif.experiments.settings import apply_assignments

    output = command.output or Path(f"{command.kind}.png")
    preference = apply_assignments({}, command.preference)
    plot(
        command.kind, command.runs, output,
        metric=command.metric, reference=command.reference, preference=preference,
    )  # fmt: skip
    console.print(f"Wrote {output}", soft_wrap=True, markup=False)
    return 0


def _report(command: Report) -> int:
    from daif.experiments.report import insert, report

    text = report(command.runs, command.format, folded=command.into is not None)
    if command.into is not None:
        insert(command.into, text, command.table)
        console.print(f"Updated {command.into}", soft_wrap=True, markup=False)
        return 0
    if command.output is None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)
    else:
        command.output.parent.mkdir(parents=True, exist_ok=True)
        command.output.write_text(text + "\n", encoding="utf-8")
        console.print(f"Wrote {command.output}", soft_wrap=True, markup=False)
    return 0


def _benchmark(command: Benchmark) -> int:
    from daif.experiments.settings import apply_assignments

    if command.spec == "rules":
        from daif.experiments.rules import search_rules

        search_rules(
            apply_assignments({}, command.env_kwargs),
            command.output or Path("runs/reference/rules.csv"),
            replications=command.replications,
            days=command.days,
            console=console,
        )
        return 0
    from daif.experiments.benchmark import run_benchmark

    return 0 if run_benchmark(Path(command.spec), command.output, command.jobs, console) else DIVERGED


def _envs(command: Envs) -> int:
    from daif.experiments.listing import env_rows, env_specification

    if command.env is not None:
        console.print(env_specification(command.env), soft_wrap=True, markup=False, highlight=False)
    else:
        _print_table(("environment", "what it is"), env_rows())
    return 0


def _agents(command: Agents) -> int:
    from daif.experiments.listing import agent_rows, setting_rows

    if command.agent is not None:
        _print_table(("setting", "default", "meaning"), setting_rows(command.agent))
    else:
        _print_table(("agent", "learns", "presets", "what it is"), agent_rows())
    return 0


def _world_models(command: WorldModels) -> int:
    from daif.experiments.listing import world_model_rows

    _print_table(("world model", "what it is"), world_model_rows())
    return 0


def _optimum(command: Optimum) -> int:
    from daif.experiments.optimum import optimum_rows
    from daif.experiments.settings import apply_assignments
    from envs.energy_control.optimal import write_front

    rows = optimum_rows(apply_assignments({}, command.env_kwargs), command.weights)
    _print_table(
        ("weight kJ/part", "parts/min", "kW", "loss %", "saving %", "gap of the gain kW"),
        [
            (
                f"{row['weight_kj_per_part']:.0f}",
                f"{row['parts_per_min']:.5f}",
                f"{row['power_kw']:.4f}",
                f"{row['production_loss_pct']:.4f}",
                f"{row['energy_saving_pct']:.4f}",
                f"{row['gain_upper_kw'] - row['gain_lower_kw']:.1e}",
            )
            for row in rows
        ],
    )
    if command.output is not None:
        command.output.parent.mkdir(parents=True, exist_ok=True)
        write_front(command.output, rows)
        console.print(f"Wrote {command.output}", soft_wrap=True, markup=False)
    return 0


def _doctor(command: Doctor) -> int:
    from daif.experiments.doctor import examine

    findings = examine()
    _print_table(("check", "", "finding"), [(name, "ok" if good else "!!", text) for name, good, text in findings])
    return 0 if all(good for _, good, _ in findings) else DIVERGED


def _generative(command: Generative) -> int:
    from generative.demo import list_models, train_demo

    chosen = command.command
    if isinstance(chosen, GenerativeList):
        columns = ("model", "data", "has", "source")
        _print_table(columns, [[row[column] for column in columns] for row in list_models()])
        return 0
    output = chosen.output or Path("runs/generative") / f"{chosen.model}-{chosen.data}-{chosen.seed}"
    demo = train_demo(chosen.model, chosen.data, output, seed=chosen.seed, steps=chosen.steps, device=chosen.device)
    rows = [("nats", "none" if demo.nats is None else f"{demo.nats:.3f}")]
    if demo.floor is not None:
        rows.append(("entropy floor", f"{demo.floor:.3f}"))
    rows += [("seconds", f"{demo.history.seconds:.1f}"), ("folder", str(output))]
    _print_table(("validation", ""), rows)
    return 0


def _demo(command: Demo) -> int:
    from daif.experiments.demo import run_demo

    return 0 if run_demo(command.output, command.jobs, command.budget, console) else DIVERGED


_HANDLERS: dict[type, Callable[[Any], int]] = {
    Train: _train,
    Evaluate: _evaluate,
    Plot: _plot,
    Report: _report,
    Benchmark: _benchmark,
    Envs: _envs,
    Agents: _agents,
    WorldModels: _world_models,
    Optimum: _optimum,
    Doctor: _doctor,
    Generative: _generative,
    Demo: _demo,
}


def _check_packages() -> None:
    """Refuse to run where another installed package shadows one of the five."""
    from daif.experiments.packages import shadowed

    for name, place in shadowed():
        raise ValueError(
            f"The package {name!r} resolves to {place}, not to this project; use a virtual environment of its own."
        )


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table, highlight=False)


def _command_line() -> str:
    return shlex.join(["daif", *sys.argv[1:]])


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split()) or type(error).__name__
