"""What `daif evaluate` does: load a run or build a rule, measure it, print a table and write JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from daif.experiments.config import RunConfig, resolve
from daif.experiments.environments import is_plant
from daif.experiments.evaluate import (
    REPORTED_SEED,
    PlantEvaluator,
    PlantProtocol,
    Policy,
    evaluate_episodes,
)
from daif.experiments.keep_learning import keep_learning
from daif.experiments.names import unknown
from daif.experiments.protocol import Agent
from daif.experiments.registry import AGENTS
from daif.experiments.run_time_preference import extrapolations, prefer
from daif.experiments.runs import RunFolder, provenance, write_json
from daif.experiments.settings import SettingsError
from daif.experiments.tariff import Tariff
from daif.experiments.train import build_agent, load_agent

_PLANT_FIGURES = ("production_loss_pct", "energy_saving_pct", "parts_per_min", "power_kw", "preference_score")
_EPISODE_FIGURES = ("mean_reward", "mean_ep_length")


@dataclass(frozen=True)
class Request:
    """An evaluation that was asked for; see `daif evaluate --help`."""

    run: str
    """Run folder, or the name of an agent that needs no training."""
    checkpoint: str
    """best (else latest), latest, or step-N."""
    episodes: int
    """Episodes, on environments with episodes."""
    max_decisions: int
    """Decisions after which an episode is cut."""
    days: float
    """Simulated days that count."""
    replications: int
    """Independent plants."""
    response_days: float
    """Simulated days under the policy before them."""
    acting: tuple[str, ...]
    """deterministic, stochastic, or both."""
    seed: int | None
    """First seed of the evaluation."""
    env: str | None
    """Environment of an agent by name."""
    env_kwargs: Mapping[str, Any]
    """Arguments of the environment, over those of the run."""
    settings: Mapping[str, Any]
    """Settings of an agent by name."""
    preference: Mapping[str, Any]
    """Weights that a trained agent gets for its outcomes; see `daif.experiments.run_time_preference`."""
    tariff: Path | None
    """CSV file with prices of the energy by the hour of the day."""
    adapt: Mapping[str, Any] | None
    """Settings of a copy that keeps learning, see `daif.adaptation`; None: the trained agent is evaluated."""
    output: Path | None
    """JSON file."""
    video: Path | None
    """Film to write."""
    video_frames: int
    """Frames of the film."""

    def __post_init__(self) -> None:
        for name in ("episodes", "max_decisions", "replications", "video_frames"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("tariff", "video"):
            if self.adapt is not None and getattr(self, name) is not None:
                raise SettingsError(f"--adapt cannot be combined with --{name}; leave one of them out.")


def evaluate_request(request: Request, console: Console, command: str) -> dict[str, Any]:
    """Evaluate, print the table, write the JSON; return what was written."""
    run, config, agent, checkpoint = _load(request)
    config = _with_env_kwargs(config, request.env_kwargs)
    tariff = None if request.tariff is None else Tariff.read(request.tariff)
    agent = prefer(agent, request.preference, config.full_env_kwargs, tariff)
    for sentence in extrapolations(agent):
        console.print(sentence, markup=False, soft_wrap=True)
    seed = REPORTED_SEED if request.seed is None else request.seed
    figures: tuple[str, ...]
    protocol = PlantProtocol(request.replications, request.days, request.response_days, seed)
    console.print(
        f"{config.agent} on {config.env}" + (f", checkpoint {checkpoint}" if checkpoint else ""), markup=False
    )
    if is_plant(config.env):
        evaluator = PlantEvaluator(config.full_env_kwargs, protocol, env_id=config.env, tariff=tariff)
        agents = {acting: _acting(agent, request.adapt) for acting in request.acting}
        policies = {acting: Policy(one, acting == "deterministic") for acting, one in agents.items()}
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("simulating", total=1.0)
            scores = evaluator.evaluate(policies, lambda share: bar.update(task, completed=share))
        results = {
            acting: one.summary() | ({} if request.adapt is None else {"adaptation": agents[acting].figures()})
            for acting, one in scores.items()
        }
        figures = _PLANT_FIGURES + (() if tariff is None else ("cost_saving_pct",))
        settings = {
            "replications": protocol.replications,
            "days": protocol.days,
            "response_days": protocol.response_days,
        }
    elif request.adapt is not None:
        raise SettingsError(f"--adapt is for the workstation, which runs on without episodes, not for {config.env}.")
    else:
        results = {
            acting: evaluate_episodes(
                config.env, config.full_env_kwargs, agent, episodes=request.episodes, seed=seed,
                deterministic=acting == "deterministic", max_decisions=request.max_decisions,
            ).summary()
            for acting in request.acting
        }  # fmt: skip
        for acting, one in results.items():
            if one["cut_episodes"]:
                console.print(
                    f"{one['cut_episodes']} of {request.episodes} episodes ({acting}) had no end within "
                    f"{request.max_decisions:,} decisions and were cut there (--max-decisions).",
                    markup=False, soft_wrap=True,
                )  # fmt: skip
        figures = _EPISODE_FIGURES
        settings = {"episodes": request.episodes}
    chosen = {**request.settings, **request.preference}
    chosen |= {} if request.adapt is None else {"adapt": True, **request.adapt}
    content = record(
        config, command=command, checkpoint=checkpoint, settings=chosen, seed=seed,
        protocol=settings, decisions=int(getattr(agent, "decisions", 0)), results=results,
        training_s=None if run is None else run.training_s(),
    )  # fmt: skip
    output = request.output or (None if run is None else run.evaluation(adapted=request.adapt is not None))
    if output is not None:
        write_json(output, content)
    _print(console, results, figures)
    if output is not None:
        console.print(f"Wrote {output}", soft_wrap=True, markup=False)
    if request.video is not None:
        from daif.experiments.video import write_film

        write_film(config.env, config.full_env_kwargs, agent, request.video, frames=request.video_frames, seed=seed)
        console.print(f"Wrote {request.video}", soft_wrap=True, markup=False)
    return content


def record(
    config: RunConfig,
    *,
    command: str,
    checkpoint: str | None,
    settings: Mapping[str, Any],
    seed: int,
    protocol: Mapping[str, float],
    decisions: int,
    results: Mapping[str, Any],
    training_s: float | None = None,
) -> dict[str, Any]:
    """Return what evaluation.json holds: the results, what they were made with, and the training's wall time."""
    return {
        **provenance(),
        "command": command,
        "env": config.env,
        "env_kwargs": dict(config.env_kwargs),
        "agent": config.agent,
        "preset": config.preset,
        "settings": dict(settings),
        "checkpoint": checkpoint,
        "training_seed": config.seed if config.entry.learns else None,
        "decisions": decisions,
        "training_s": training_s,
        "evaluation_seed": seed,
        "protocol": dict(protocol),
        "results": dict(results),
    }


def _load(request: Request) -> tuple[RunFolder | None, RunConfig, Agent, str | None]:
    path = Path(request.run)
    if path.is_dir():
        if request.env is not None or request.settings:
            raise SettingsError(
                "A run keeps its environment and settings; --env, --set and --weight are for agents by name."
            )
        run = RunFolder.open(path)
        name = run.preferred_checkpoint(request.checkpoint)
        if not run.checkpoint(name).is_file():
            known = run.checkpoint_names()
            raise SettingsError(unknown("checkpoint", name, known) if known else f"{path} has no checkpoints yet.")
        config, agent = load_agent(run, name)
        return run, config, agent, name
    if request.run not in AGENTS:
        raise SettingsError(unknown("run folder or agent", request.run, AGENTS))
    if AGENTS[request.run].learns:
        raise SettingsError(f"Agent {request.run!r} has to be trained first: daif train --agent {request.run}.")
    config = resolve(
        env=request.env, agent=request.run, preset="none", env_kwargs=request.env_kwargs, settings=request.settings
    )
    return None, config, build_agent(config), None


def _acting(agent: Agent, adapt: Mapping[str, Any] | None) -> Any:
    """Return the agent as it was trained, or a copy of its own for each way of acting that keeps learning."""
    return agent if adapt is None else keep_learning(agent, adapt)


def _with_env_kwargs(config: RunConfig, env_kwargs: Mapping[str, Any]) -> RunConfig:
    return dataclasses.replace(config, env_kwargs={**config.env_kwargs, **env_kwargs})


def _print(console: Console, results: Mapping[str, Mapping[str, Any]], figures: tuple[str, ...]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("mean and 95 % interval")
    for acting in results:
        table.add_column(acting, justify="right")
    for figure in figures:
        table.add_row(figure, *(interval_text(one[figure]) for one in results.values()))
    console.print(table, highlight=False)


def interval_text(interval: Mapping[str, float | None], digits: int = 2) -> str:
    """Return a mean with half its interval, such as "1.72 ± 0.05"."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None:
        return "-"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ± {(high - low) / 2:.{digits}f}"
