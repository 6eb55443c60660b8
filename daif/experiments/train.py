"""The training loop: epochs, progress, metrics, periodic evaluation, checkpoints, interruption and resumption."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from rich.console import Console
from rich.markup import escape

from daif.experiments.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from daif.experiments.config import RunConfig
from daif.experiments.environments import describe_spaces, is_plant, maker, spaces_of
from daif.experiments.evaluate import (
    DEFAULT_WEIGHT_KJ_PER_PART,
    PERIODIC_SEED,
    PlantEvaluator,
    PlantProtocol,
    Policy,
    evaluate_episodes,
)
from daif.experiments.progress import ProgressReport
from daif.experiments.protocol import Agent, Learner, MakeEnvs
from daif.experiments.registry import BuildContext
from daif.experiments.runs import MetricsFile, RunFolder
from daif.experiments.settings import SettingsError, build
from daif.health import diagnose, not_finite

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_MAX_BAD_EPOCHS = 3
_NAMED = 5
"""Names that a message lists before it says "and N more"."""
_EVALUATIONS_IN_A_RUN = 20


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended."""

    epoch: int
    """Epochs that are finished."""
    decisions: int
    """Environment decisions trained on."""
    outcome: str
    """finished, interrupted or diverged."""
    best_score: float | None
    """The best periodic evaluation, if there was one."""


def build_agent(config: RunConfig) -> Agent:
    """Return the agent of a run, untrained."""
    observation_space, action_space = spaces_of(config.env, config.full_env_kwargs)
    context = BuildContext(observation_space, action_space, config.seed, device_of(config), config.full_env_kwargs)
    return config.entry.build(context, config.agent_settings())


def load_agent(run: RunFolder, name: str) -> tuple[RunConfig, Agent]:
    """Return the agent of a run as its checkpoint `name` left it."""
    config = run_config(run)
    agent = build_agent(config)
    if isinstance(agent, Learner):
        restore(agent, config, run, name)
    return config, agent


def run_config(run: RunFolder) -> RunConfig:
    """Return the settings that a run was started with."""
    return build(RunConfig, run.read_config())


def restore(learner: Learner, config: RunConfig, run: RunFolder, name: str) -> Checkpoint:
    """Load a run's checkpoint into a learner of the same settings."""
    checkpoint = load_checkpoint(
        run.checkpoint(name),
        env=config.env,
        agent=config.agent,
        spaces=describe_spaces(learner.observation_space, learner.action_space),
    )
    try:
        learner.load_state(checkpoint.tensors, checkpoint.arrays, checkpoint.metadata)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"Checkpoint {run.checkpoint(name)} does not fit the run's settings: {reason}.") from error
    return checkpoint


def device_of(config: RunConfig) -> str:
    """Return the device that `auto` or a named one stands for, or raise one sentence."""
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(config.device).type
    except RuntimeError:
        raise SettingsError(f"Unknown device {config.device!r}; known are cpu, cuda, cuda:N and auto.") from None
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise SettingsError(f"Device {config.device!r} is not available on this machine; use cpu or auto.")
    return config.device


def train(config: RunConfig, run: RunFolder, console: Console, *, resume: bool = False) -> TrainingResult:
    """Train an agent in a run folder until its plan is done or Ctrl-C.

    The first SIGINT finishes the epoch, saves and stops; the second one stops at once, which leaves the checkpoint of
    the last epoch boundary.

    Args:
        config: the run's settings.
        run: where everything is written.
        console: where progress is shown.
        resume: continue from the checkpoint `latest`, if there is one.
    """
    torch.set_num_threads(config.threads)
    if not config.entry.learns:
        raise SettingsError(f"Agent {config.agent!r} does not learn; `daif evaluate {config.agent}` measures it.")
    learner = build_agent(config)
    assert isinstance(learner, Learner)
    session = _Session(config, run, learner, console)
    with run.training(), _interruptible(console) as interrupted:
        if resume:
            session.resume()
        return session.run(interrupted)


class _Session:
    def __init__(self, config: RunConfig, run: RunFolder, learner: Learner, console: Console) -> None:
        self.config = config
        self.run_folder = run
        self.learner = learner
        self.console = console
        self.epoch = 0
        self.best: float | None = None
        self.elapsed_s = 0.0
        self.evaluator = PeriodicEvaluator(config, learner)
        self._warned: set[str] = set()

    def resume(self) -> None:
        if not self.run_folder.checkpoint("latest").is_file():
            self.console.print("No checkpoint yet; the run starts from the beginning.")
            return
        checkpoint = restore(self.learner, self.config, self.run_folder, "latest")
        self.epoch = checkpoint.epoch
        self.best = checkpoint.progress.get("best")
        self.elapsed_s = float(checkpoint.progress.get("elapsed_s", 0.0))
        self.console.print(f"Resuming after epoch {self.epoch} ({checkpoint.decisions:,} decisions).")

    def run(self, interrupted: Callable[[], bool]) -> TrainingResult:
        from torch.utils.tensorboard import SummaryWriter

        metrics_file = MetricsFile(self.run_folder.metrics_file, keep_epochs=self.epoch)
        make_envs = maker(self.config.env, self.config.full_env_kwargs)
        started, before = time.perf_counter(), self.elapsed_s
        bad_epochs, outcome = 0, "finished"
        with (
            SummaryWriter(str(self.run_folder.path), purge_step=self.learner.decisions + 1) as writer,
            ProgressReport(self.console, self.learner.epochs, self.epoch) as report,
        ):
            while self.epoch < self.learner.epochs:
                decisions, epoch_started = self.learner.decisions, time.perf_counter()
                metrics = self._learn_epoch(make_envs, report)
                if metrics is None:
                    outcome = "diverged"
                    break
                rate = (self.learner.decisions - decisions) / max(time.perf_counter() - epoch_started, 1e-9)
                self.epoch += 1
                non_finite = sorted(name for name, value in metrics.items() if not math.isfinite(value))
                non_finite += not_finite(self.learner.state()[0])
                if not non_finite and self.evaluator.is_due(self.epoch):
                    metrics = {**metrics, **self.evaluator.evaluate()}
                self.elapsed_s = before + time.perf_counter() - started
                row = {
                    "epoch": self.epoch,
                    "time/total_timesteps": self.learner.decisions,
                    "time/time_elapsed": round(self.elapsed_s, 3),
                    "time/fps": round(rate, 1),
                    **metrics,
                }
                metrics_file.append(row)
                for name, value in row.items():
                    writer.add_scalar(name, value, self.learner.decisions)
                report.update(self.epoch, self.learner.decisions, rate, metrics)
                if non_finite:
                    bad_epochs += 1
                    report.warn(
                        f"Epoch {self.epoch}: not finite: {_listed(non_finite)}; this epoch's state is not saved, "
                        "the checkpoints `latest` and `best` stay as they are."
                    )
                    if bad_epochs >= _MAX_BAD_EPOCHS:
                        outcome = "diverged"
                        break
                else:
                    bad_epochs = 0
                    self._warn_of(metrics, report)
                    self._save(metrics)
                if interrupted() and self.epoch < self.learner.epochs:
                    outcome = "interrupted"
                    break
                if self.epoch == self.learner.epochs and self.evaluator.every > 0:
                    self._draw(writer, report)
        return TrainingResult(self.epoch, self.learner.decisions, outcome, self.best)

    def _learn_epoch(self, make_envs: MakeEnvs, report: ProgressReport) -> dict[str, float] | None:
        """Train for one epoch; None if numbers that are not finite ended it before it was done."""
        try:
            return self.learner.learn_epoch(make_envs, self.epoch)
        except (RuntimeError, ValueError):  # which is what drawing actions raises for such parameters
            broken = not_finite(self.learner.state()[0])
            if not broken:
                raise
            report.warn(
                f"Epoch {self.epoch + 1}: not finite: {_listed(broken)}; the epoch is not finished, the "
                "checkpoints `latest` and `best` stay as they are. A smaller learning rate may help."
            )
            return None

    def _draw(self, writer: "SummaryWriter", report: ProgressReport) -> None:
        """Write what the agent knows as images: what can't be drawn is named, and fails no training."""
        from daif.experiments.final_figures import final_figures, pixels

        for name, draw in final_figures(self.learner, self.config).items():
            try:
                writer.add_image(name, pixels(draw()), self.learner.decisions, dataformats="HWC")
            except Exception as error:
                report.warn(f"No figure {name} in TensorBoard: {escape(str(error))}")

    def _warn_of(self, metrics: Mapping[str, float], report: ProgressReport) -> None:
        """Name signs of a training that goes wrong, each once."""
        discrete = isinstance(self.learner.action_space, Discrete | MultiDiscrete)
        signs = diagnose(metrics, discrete_actions=discrete)
        cut, evaluation = metrics.get("eval/cut_episodes", 0.0), self.config.evaluation
        if cut:
            signs.append(
                f"the evaluation has cut {cut:.0f} of {evaluation.episodes} episodes after "
                f"{evaluation.max_decisions:,} decisions without an end"
            )
        for sign in signs:
            kind = sign.split(" has ")[0]
            if kind not in self._warned:
                self._warned.add(kind)
                report.warn(f"Epoch {self.epoch}: {sign}.")

    def _save(self, metrics: Mapping[str, float]) -> None:
        score = metrics.get(self.evaluator.metric)
        improved = score is not None and (self.best is None or score > self.best)
        if improved:
            self.best = score
        tensors, arrays, metadata = self.learner.state()
        checkpoint = Checkpoint(
            env=self.config.env,
            agent=self.config.agent,
            spaces=describe_spaces(self.learner.observation_space, self.learner.action_space),
            epoch=self.epoch,
            decisions=self.learner.decisions,
            tensors=tensors,
            arrays=arrays,
            metadata=metadata,
            progress={"best": self.best, "elapsed_s": self.elapsed_s},
        )
        save_checkpoint(self.run_folder.checkpoint("latest"), checkpoint)
        if improved:
            save_checkpoint(self.run_folder.checkpoint("best"), checkpoint)
        if self.config.checkpoint_every and self.epoch % self.config.checkpoint_every == 0:
            save_checkpoint(self.run_folder.checkpoint(f"step-{self.learner.decisions}"), checkpoint)


class PeriodicEvaluator:
    """Evaluates a learner during training, on the workstation by its protocol, elsewhere by episodes.

    Args:
        config: the run's settings.
        learner: whose actions are measured.
    """

    def __init__(self, config: RunConfig, learner: Learner) -> None:
        self.config = config
        self.learner = learner
        self.plants: PlantEvaluator | None = None
        settings = config.evaluation
        self.every = settings.every if settings.every is not None else max(1, learner.epochs // _EVALUATIONS_IN_A_RUN)
        if is_plant(config.env):
            protocol = PlantProtocol(settings.replications, settings.days, settings.response_days, PERIODIC_SEED)
            self.plants = PlantEvaluator(config.full_env_kwargs, protocol, env_id=config.env)

    @property
    def metric(self) -> str:
        """The figure that chooses the best checkpoint; the larger, the better."""
        return "eval/mean_reward" if self.plants is None else "eval/objective_kw"

    def is_due(self, epoch: int) -> bool:
        """Return whether epoch `epoch` (counted from 1) ends with an evaluation; the last one always does."""
        return self.every > 0 and (epoch % self.every == 0 or epoch == self.learner.epochs)

    def evaluate(self) -> dict[str, float]:
        """Return the figures of one evaluation by name."""
        settings = self.config.evaluation
        if self.plants is None:
            scores = evaluate_episodes(
                self.config.env, self.config.full_env_kwargs, self.learner,
                episodes=settings.episodes, seed=PERIODIC_SEED, deterministic=settings.deterministic,
                max_decisions=settings.max_decisions,
            )  # fmt: skip
            return {
                "eval/mean_reward": float(scores.returns.mean()),
                "eval/mean_ep_length": float(scores.lengths.mean()),
                "eval/cut_episodes": float(scores.cut),
            }
        plant = self.plants.evaluate({"learner": Policy(self.learner, settings.deterministic)})["learner"]
        weight = float(self.config.env_kwargs.get("weight_kj_per_part", DEFAULT_WEIGHT_KJ_PER_PART))
        figures: dict[str, np.ndarray] = {
            "eval/objective_kw": plant.objective_kw(weight),
            "plant/production_loss_pct": plant.loss_pct,
            "plant/energy_saving_pct": plant.saving_pct,
            "plant/preference_score": plant.preference_score,
            "plant/parts_per_min": plant.parts_per_min,
            "plant/power_kw": plant.power_kw,
            "plant/kj_per_part": plant.kj_per_part,
        }
        return {name: float(values.mean()) for name, values in figures.items()}


@contextmanager
def _interruptible(console: Console) -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT into a request to stop after the epoch, and leave the second one to stop at once."""
    requested = False

    def ask(signum: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        console.print("Interrupted: finishing this epoch, then saving; interrupt again to stop at once.")

    try:
        previous: Any = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not in the main thread: nothing to catch
        yield lambda: False
        return
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, previous)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
