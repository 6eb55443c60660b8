"""The figure of a world model: what it predicts of jumps and, decision by decision, ahead, against what came."""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from daif.agent import DAIFAgent
from daif.experiments.config import RunConfig
from daif.experiments.environments import make_vector
from daif.experiments.evaluate import FIGURE_SEED
from daif.experiments.protocol import Agent
from daif.experiments.run_time_preference import prefer
from daif.experiments.runs import RunFolder
from daif.experiments.settings import SettingsError
from daif.experiments.train import load_agent, run_config
from daif.interaction import Recorder
from daif.memory import Memory, Segment
from world_models.likelihood import Part

ENVIRONMENTS = 64
"""Environments that run side by side."""
JUMPS = 192
"""Jumps that are compared."""
AHEAD = 24
"""Decisions of an open-loop prediction."""
SAMPLES = 64
"""Draws of the states on the way, for a prediction's mean and standard deviation; fewer of large observations."""
LARGEST_BATCH = 20_000_000
"""Predicted numbers at a time."""
PANELS = 6
"""Quantities that are shown."""
_PREDICTED, _CAME = "#0072b2", "black"


@dataclass(frozen=True)
class Comparison:
    """Predictions of Q quantities, each in its own unit, beside what came.

    Attributes:
        names: of the quantities.
        came: (..., Q); NaN where the episode had ended.
        mean: of the prediction, (..., Q).
        std: of the prediction, (..., Q).
    """

    names: tuple[str, ...]
    came: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def error(self, i: int) -> float:
        """Mean absolute error of the predicted mean of quantity i."""
        return float(np.nanmean(np.abs(self.mean - self.came)[..., i]))

    def r_squared(self, i: int) -> float:
        """Share of the variance of quantity i that its predicted mean explains; NaN where nothing varies."""
        came = self.came[..., i]
        total = np.nansum((came - np.nanmean(came)) ** 2)
        return float(1.0 - np.nansum((self.mean[..., i] - came) ** 2) / total) if total > 1e-12 else float("nan")


def model_figure(runs: Sequence[Path], preference: Mapping[str, Any]) -> Figure:
    """Draw what the world models of runs predict against what came under their trained policies, see `draw_models`."""
    compared = []
    for path in runs:
        run = RunFolder.open(path)
        config = run_config(run)
        if config.agent != "daif":
            raise SettingsError(f"The figure of a model is of runs of daif; {path} is one of {config.agent}.")
        agent = load_agent(run, run.preferred_checkpoint())[1]
        if not has_trained_model(agent):
            raise SettingsError(f"The world model of {path} was never trained, so there is nothing to compare.")
        prefer(agent, preference, config.full_env_kwargs)
        compared.append((f"{path.name}: {title_of(config)}", compare(agent, config)))
    return draw_models(compared)


def has_trained_model(agent: Agent) -> bool:
    """Return whether an agent has a world model that has learned something."""
    return isinstance(agent, DAIFAgent) and agent.config.model_steps > 0 and not agent.warming_up


def title_of(config: RunConfig) -> str:
    """Return the run in words, with its horizon."""
    return f"{config.agent}, seed {config.seed}, on {config.env}; H = {config.agent_settings().horizon}"


# Comparison


def compare(trained: Agent, config: RunConfig) -> tuple[Comparison, ...]:
    """Compare jumps of H decisions, and open loops of single decisions where the model's jumps can be that short.

    A copy of the agent acts in its environment as sampled, without exploration, on seeds of the figures alone; the
    agent and its random numbers stay as they are.
    """
    assert isinstance(trained, DAIFAgent)
    horizon = trained.config.horizon
    length = max(horizon, AHEAD)
    segments = math.ceil(JUMPS / (ENVIRONMENTS * (length - horizon + 1)))
    agent = copy.deepcopy(trained, {id(trained.memory): Memory(segments)})
    agent.config = replace(agent.config, segment=length, warm_up=0)
    agent.exploration = 0.0
    with torch.no_grad(), agent.random.active():
        segment = _run(agent, config, segments)
        jumps = _compare_jumps(agent)
        return (jumps, _compare_open_loop(agent, segment)) if agent.config.shortest_jump == 1 else (jumps,)


def _run(agent: DAIFAgent, config: RunConfig, segments: int) -> Segment:
    """Fill the memory with segments; return the latest. The one that begins with the reset drops out of the ring."""
    envs = make_vector(config.env, config.full_env_kwargs, ENVIRONMENTS)
    recorder = Recorder(agent, ENVIRONMENTS)
    relative = agent.run_time_weights.to(agent.device).expand(ENVIRONMENTS, -1)
    try:
        seen, _ = envs.reset(seed=FIGURE_SEED, options=agent.config.reset_options[-1] or None)
        for _ in range(1 + segments):
            while not recorder.full:
                actions = recorder.act(agent, agent.codec.flatten(seen), relative)
                seen, rewards, terminated, truncated, info = envs.step(actions)
                recorder.receive(rewards, info, terminated, truncated)
            segment = recorder.segment(agent.codec.flatten(seen))
            agent.memory.add(segment)
    finally:
        envs.close()
    return segment


def _compare_jumps(agent: DAIFAgent) -> Comparison:
    """Compare jumps of H decisions of the memory, those of the kind that the model learns from: arrays (rows, Q)."""
    h, discount = agent.config.horizon, agent.config.discount
    rows = agent.memory.rows(JUMPS, agent.random.numpy, shortest=h, longest=h, discount=discount).to(agent.device)
    imagined = _Imagined(agent, rows.observation)
    mean, std = imagined.jump(agent.code(rows), h)
    valid = rows.valid > 0.0
    if not valid.any():
        raise SettingsError(f"No jump of {h} decisions ends before its episode is cut off, so none can be compared.")
    came = torch.cat([rows.outcomes, rows.next_observation @ imagined.weights], -1)
    return Comparison(imagined.names, *(values[valid].cpu().numpy() for values in (came, mean, std)))


def _compare_open_loop(agent: DAIFAgent, segment: Segment) -> Comparison:
    """Compare predictions from the segment's first observations alone, with its actions: arrays (T, N, Q)."""
    observations = torch.from_numpy(segment.observations).to(agent.device)
    imagined = _Imagined(agent, observations[0])
    means, stds = [], []
    for actions in torch.from_numpy(segment.actions).to(agent.device):
        mean, std = imagined.jump(imagined.code(actions), 1)
        means.append(mean.cpu().numpy())
        stds.append(std.cpu().numpy())
    came = np.concatenate([segment.outcomes, (observations[1:] @ imagined.weights).cpu().numpy()], -1)
    ended = np.cumsum(segment.terminated | segment.truncated, 0) > 0
    came[ended] = np.nan
    return Comparison(imagined.names, came, np.stack(means), np.stack(stds))


class _Imagined:
    """What the first world model sees coming, in several draws, from the states of observations on.

    Args:
        agent: whose model it is.
        observation: flattened, (B, O).
    """

    def __init__(self, agent: DAIFAgent, observation: Tensor) -> None:
        self.agent = agent
        self.model = agent.models[0]
        self.samples = max(2, min(SAMPLES, LARGEST_BATCH // observation.numel()))
        outcomes = ["cost (−reward)" if name == "reward" else name for name in agent.weights.names]
        shown = dict(itertools.islice(_quantities(agent), max(1, PANELS - len(outcomes))))
        self.names = (*outcomes, *shown)
        self.weights = torch.stack(list(shown.values()), -1).to(observation)
        """Of the quantities in the flattened observation, (O, quantities)."""
        states = self.model.encode(agent.codec.normalise(observation)).sample(torch.Size([self.samples]))
        self.state = states.flatten(0, 1)
        self.observation = observation.repeat(self.samples, 1)

    def jump(self, code: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
        """Jump h decisions with codes (B or samples · B, P); return the quantities' mean and deviation, (B, Q) each."""
        codec = self.agent.codec
        code = code.repeat(len(self.state) // len(code), 1)
        next_state = self.model.transition(self.state, code).sample()
        prediction = self.model.predict(self.state, code, next_state)
        self.state, self.observation = next_state, codec.denormalise(prediction.observation.rsample())
        mean, draws = codec.denormalise(prediction.observation.mean) @ self.weights, self.observation @ self.weights
        if prediction.outcomes is not None:
            offset, scale = self.agent.scale.mean[horizon], self.agent.scale.std[horizon]
            mean = torch.cat([prediction.outcomes.mean * scale + offset, mean], -1)
            draws = torch.cat([prediction.outcomes.sample() * scale + offset, draws], -1)
        return mean.unflatten(0, (self.samples, -1)).mean(0), draws.unflatten(0, (self.samples, -1)).std(0)

    def code(self, actions: Tensor) -> Tensor:
        """The code of one decision at the imagined observations, with actions (B, A) that were taken."""
        agent = self.agent
        if agent.actor.discrete:
            actions = torch.nn.functional.one_hot(actions[:, 0].long(), agent.actor.action_size).to(self.observation)
        relative = agent.run_time_weights.to(self.observation).expand(len(self.observation), -1)
        encoding = agent.encoding(agent.actor, agent.features(self.observation, relative))
        return agent.with_horizon(encoding, actions.repeat(self.samples, 1), 1)


def _quantities(agent: DAIFAgent) -> Iterator[tuple[str, Tensor]]:
    """Name quantities and their weights (O,) in the flattened observation: the score, then of each part in turn.

    Large parts come first, of equal ones those of numbers.
    """
    codec = agent.codec
    score = agent.preferred_column
    if score is None:
        score = next((part.start + part.size - 1 for part in codec.parts if part.name == "scores"), None)
    parts = sorted(codec.parts, key=lambda part: (-part.size, part.kind == "categorical"))
    found = [one for turn in itertools.zip_longest(*map(_of_part, parts)) for one in turn if one is not None]
    for name, columns, values in sorted(found, key=lambda one: one[1] != [score]):
        weights = torch.zeros(codec.size)
        weights[columns] = torch.tensor(values)
        yield name, weights


def _of_part(part: Part) -> Iterator[tuple[str, list[int], list[float]]]:
    """Name a part's quantities, each with its columns and their weights.

    They are the components; the expected value of a discrete one; of several equal ones the number that have each
    value; of an image its mean.
    """
    columns = list(range(part.start, part.start + part.size))
    name = part.name or "observation"
    if part.kind == "image":
        yield f"{name}, mean", columns, [1.0 / part.size] * part.size
    elif part.kind != "categorical":
        yield from ((f"{name}[{i}]", [column], [1.0]) for i, column in enumerate(columns))
    elif len(part.categories) > 1 and len(set(part.categories)) == 1:
        n = part.categories[0]
        for k in range(n):
            yield f"number of {name} = {k + part.offset[0]}", columns[k::n], [1.0] * len(part.categories)
    else:
        start = 0
        for i, (n, offset) in enumerate(zip(part.categories, part.offset, strict=True)):
            label = name if len(part.categories) == 1 else f"{name}[{i}]"
            yield label, columns[start : start + n], [float(offset + k) for k in range(n)]
            start += n


# Drawing


def draw_models(compared: Sequence[tuple[str, tuple[Comparison, ...]]]) -> Figure:
    """Draw titles and comparisons: jumps as points about the line of equality, below them one of the open loops."""
    widest = max(len(jumps.names) for _, (jumps, *_) in compared)
    rows = [len(comparisons) for _, comparisons in compared]
    size = (0.6 + 2.9 * max(widest, 2), 0.6 * len(rows) + 2.9 * sum(rows))
    figure = Figure(figsize=size, layout="constrained")
    parts = figure.subfigures(len(rows), squeeze=False, height_ratios=rows)[:, 0]
    for part, (title, comparisons) in zip(parts, compared, strict=True):
        part.suptitle(title, fontsize=10)
        panels = part.subplots(len(comparisons), len(comparisons[0].names), squeeze=False)
        for line, draw, comparison in zip(panels, (_draw_jumps, _draw_open_loop), comparisons, strict=False):
            for i, axes in enumerate(line):
                draw(axes, comparison, i)
                _widen(axes)
                axes.tick_params(labelsize=7)
                axes.grid(alpha=0.3)
        shown = [entry for axes in panels[:, 0] for entry in zip(*axes.get_legend_handles_labels(), strict=True)]
        part.legend(*zip(*shown, strict=True), fontsize=8, loc="outside lower center", ncols=len(shown))
    return figure


def _widen(axes: Axes) -> None:
    """Give what never varies an axis of length 1, where it would be a magnified rounding error."""
    for (low, high), widen in ((axes.get_xlim(), axes.set_xlim), (axes.get_ylim(), axes.set_ylim)):
        if high - low < 1e-3 * max(1.0, abs(low)):
            widen(0.5 * (low + high) - 0.5, 0.5 * (low + high) + 0.5)


def _draw_jumps(axes: Axes, comparison: Comparison, i: int) -> None:
    came, mean, std = (values[:, i] for values in (comparison.came, comparison.mean, comparison.std))
    axes.errorbar(
        came, mean, yerr=std, color=_PREDICTED, linestyle="none", marker="o", markersize=2.5, elinewidth=0.5,
        alpha=0.35, label="mean ± 1 standard deviation",
    )  # fmt: skip
    ends = [min(came.min(), mean.min()), max(came.max(), mean.max())]
    axes.plot(ends, ends, color=_CAME, linewidth=1.0, label="equal")
    r_squared = comparison.r_squared(i)
    explained = f"R² {r_squared:.2f}, " if np.isfinite(r_squared) else ""
    axes.set_title(f"{comparison.names[i]}\n{explained}MAE {comparison.error(i):.3g}", fontsize=9)
    axes.set_xlabel("came after H decisions", fontsize=8)
    axes.set_ylabel("predicted", fontsize=8)


def _draw_open_loop(axes: Axes, comparison: Comparison, i: int) -> None:
    longest = int(np.isfinite(comparison.came[..., 0]).sum(0).argmax())
    came, mean, std = (values[:, longest, i] for values in (comparison.came, comparison.mean, comparison.std))
    ahead = np.arange(1, len(came) + 1)
    axes.plot(ahead, mean, color=_PREDICTED, label="open loop, actions as taken")
    axes.fill_between(ahead, mean - std, mean + std, color=_PREDICTED, alpha=0.2, linewidth=0.0)
    axes.plot(ahead, came, color=_CAME, marker="o", markersize=2.5, linewidth=0.8, label="came")
    axes.set_title(f"MAE of all {comparison.came.shape[1]}: {comparison.error(i):.3g}", fontsize=9)
    axes.set_xlabel("decisions ahead", fontsize=8)
    axes.set_ylabel(comparison.names[i], fontsize=8)
