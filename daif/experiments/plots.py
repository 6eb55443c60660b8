"""Figures of runs, drawn without a display and without matplotlib's global state."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from daif.experiments.config import RunConfig
from daif.experiments.exact import chain_actions
from daif.experiments.model_figure import model_figure
from daif.experiments.names import unknown
from daif.experiments.optimum import reference_front, reference_rows
from daif.experiments.protocol import Agent
from daif.experiments.results import Evaluated, find_runs, group, half_width, middle, read_evaluations
from daif.experiments.run_time_preference import prefer
from daif.experiments.runs import RunFolder, metric_columns, read_metrics
from daif.experiments.settings import SettingsError
from daif.experiments.statistics import bootstrap_iqm, student_interval
from daif.experiments.train import load_agent
from envs.energy_control.config import load_plant
from envs.energy_control.optimal import Optimiser, Solution

FORMATS = (".png", ".svg", ".pdf")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f3c8d", "#555555")
_GREY = "#999999"
_RULE_MARKERS = ("s", "D", "v", "P", "X", "<", ">", "h")
_LARGEST_LOSS_PCT = 30.0
"""Loss up to which a learned agent stretches the axis of the trade-off."""
_HALVINGS = 14
"""Solutions in the search for an optimum: weights of a part are told apart to 0.1 %."""
_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Preference score", ("plant/preference_score",)),
    ("Production loss, %", ("plant/production_loss_pct",)),
    ("Energy saving, %", ("plant/energy_saving_pct",)),
    ("Energy per part, kJ", ("plant/kj_per_part",)),
    ("Expected free energy, nats", ("efe/total",)),
    ("Error of the prediction (MAE)", ("model/preference_mae", "model/observation_error")),
)
_AUTHORS_COLUMNS = {
    "plant/preference_score": "preference_score",
    "plant/production_loss_pct": "production_loss_pct",
    "plant/energy_saving_pct": "energy_saving_pct",
}


def plot(
    kind: str,
    runs: Sequence[Path],
    output: Path,
    *,
    metric: str | None = None,
    reference: bool = True,
    preference: Mapping[str, Any] | None = None,
) -> None:
    """Draw a figure of runs into a file.

    Args:
        kind: tradeoff, training, learning, horizon, policy or model.
        runs: run folders, or folders of them; for the trade-off also evaluation files.
        output: the file; PNG, SVG or PDF by its name.
        metric: column of metrics.csv, for learning and horizon.
        reference: draw the published points and the exact optimum too.
        preference: weights that the agent of a policy or model gets, see `daif.experiments.run_time_preference`.
    """
    if output.suffix.lower() not in FORMATS:
        raise SettingsError(f"The figure {output} must end in {', '.join(FORMATS)}.")
    drawers: dict[str, Callable[[], Figure]] = {
        "tradeoff": lambda: tradeoff_figure(read_evaluations(runs), reference=reference),
        "training": lambda: training_figure(find_runs(runs), reference=reference),
        "learning": lambda: learning_figure(find_runs(runs), metric),
        "horizon": lambda: horizon_figure(find_runs(runs), metric),
        "policy": lambda: policy_figure(find_runs(runs), preference or {}),
        "model": lambda: model_figure(find_runs(runs), preference or {}),
    }
    if kind not in drawers:
        raise SettingsError(unknown("figure", kind, drawers))
    save(drawers[kind](), output)


def save(figure: Figure, output: Path) -> None:
    """Write a figure; the format follows from the file's name."""
    FigureCanvasAgg(figure)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=160, bbox_inches="tight")


def tradeoff_figure(evaluations: Sequence[Evaluated], *, reference: bool = True) -> Figure:
    """Draw production loss against energy saving, with 95 % intervals on both axes.

    A label's points of several training seeds are drawn one by one, with the interval over the replications of each.
    """
    plants = [evaluated for evaluated in evaluations if evaluated.is_plant]
    if not plants and not reference:
        raise SettingsError("There are no evaluations of the workstation to draw; run daif evaluate first.")
    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    axes = figure.add_subplot()
    if reference:
        _draw_reference(axes)
    right = max([5.5, *(1.1 * _loss(one) for one in plants if _is_learned(one) and _loss(one) < _LARGEST_LOSS_PCT)])
    groups = sorted(group(plants).items(), key=lambda item: not _is_learned(item[1][0]))
    for number_of_label, ((label, members), colour) in enumerate(zip(groups, _cycle(_COLOURS), strict=False)):
        for number, evaluated in enumerate(members):
            acting = "deterministic" if "deterministic" in evaluated.results else next(iter(evaluated.results))
            loss, saving = (evaluated.results[acting][k] for k in ("production_loss_pct", "energy_saving_pct"))
            learned = _is_learned(evaluated)
            if middle(loss) > right:
                label = f"{label} [outside: {middle(loss):.1f}, {middle(saving):.1f}]"
            axes.errorbar(
                middle(loss), middle(saving), xerr=half_width(loss), yerr=half_width(saving), color=colour,
                marker="o" if learned else _RULE_MARKERS[number_of_label % len(_RULE_MARKERS)],
                markersize=8 if learned else 5.5, capsize=2, linestyle="none",
                label=label if number == 0 else None, zorder=4 if learned else 3,
            )  # fmt: skip
    axes.set_xlabel("production loss against all machines on, %")
    axes.set_ylabel("energy saving against all machines on, %")
    axes.set_xlim(-0.15, right)
    axes.set_ylim(-0.5, 25.0 if right < 6.0 else 47.0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def training_figure(runs: Sequence[Path], *, reference: bool = True) -> Figure:
    """Draw the six panels of a training, a line per run, beside the authors' code's curve where there is one."""
    figure = Figure(figsize=(11.0, 6.4), layout="constrained")
    panels = figure.subplots(2, 3)
    authors = reference_rows("authors_code_learning_curve.csv") if reference else []
    shows_plants = any("plant/preference_score" in _columns(run) for run in runs)
    for axes, (title, names) in zip(panels.flat, _PANELS, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("training decisions", fontsize=8)
        axes.grid(alpha=0.3)
        column = _AUTHORS_COLUMNS.get(names[0])
        if authors and column and shows_plants:
            decisions = [float(row["training_decisions"]) for row in authors]
            axes.plot(decisions, [float(row[column]) for row in authors], color=_GREY, label="authors' code")
        for run, colour in zip(runs, _cycle(_COLOURS), strict=False):
            name = next((name for name in names if name in _columns(run)), None)
            if name is not None:
                steps, values = _series(run, name)
                axes.plot(steps, values, color=colour, label=_run_label(run))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    return figure


def learning_figure(runs: Sequence[Path], metric: str | None = None) -> Figure:
    """Draw the interquartile mean over seeds against training decisions, with its 95 % interval, a line per agent."""
    name = metric or _common_metric(runs)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for (label, members), colour in zip(_by_agent(runs).items(), _cycle(_COLOURS), strict=False):
        curves = [_series(run, name) for run in members if name in _columns(run)]
        if not curves:
            continue
        steps = np.unique(np.concatenate([curve[0] for curve in curves]))
        first, last = max(curve[0][0] for curve in curves), min(curve[0][-1] for curve in curves)
        steps = steps[(steps >= first) & (steps <= last)]
        values = np.stack([np.interp(steps, *curve) for curve in curves])
        rng = np.random.default_rng(0)
        intervals = [bootstrap_iqm(values[:, i], rng=rng, resamples=1000) for i in range(steps.size)]
        axes.plot(steps, [i.value for i in intervals], color=colour, label=f"{label} ({len(curves)} seeds)")
        axes.fill_between(steps, [i.low for i in intervals], [i.high for i in intervals], color=colour, alpha=0.2)
    axes.set_xlabel("training decisions")
    axes.set_ylabel(f"{name} (interquartile mean, 95 % interval)")
    axes.grid(alpha=0.3)
    if not axes.get_legend_handles_labels()[0]:
        raise SettingsError(f"None of the runs has values of {name!r} in its metrics.csv.")
    axes.legend(fontsize=8)
    return figure


def horizon_figure(runs: Sequence[Path], metric: str | None = None) -> Figure:
    """Draw the last value of a metric against the horizon H, with Student intervals over the seeds of each H."""
    name = metric or _common_metric(runs)
    by_horizon: dict[int, list[float]] = {}
    for run in runs:
        settings = RunFolder.open(run).read_config().get("settings", {})
        if isinstance(settings, Mapping) and "horizon" in settings and name in _columns(run):
            by_horizon.setdefault(int(settings["horizon"]), []).append(float(_series(run, name)[1][-1]))
    if not by_horizon:
        raise SettingsError(f"None of the runs has both a horizon and values of {name!r}.")
    horizons = sorted(by_horizon)
    intervals = [student_interval(np.asarray(by_horizon[h])) for h in horizons]
    half = [i.half_width if math.isfinite(i.half_width) else 0.0 for i in intervals]
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.errorbar(horizons, [i.value for i in intervals], yerr=half, marker="o", capsize=3, color=_COLOURS[0])
    axes.set_xscale("log")
    axes.set_xlabel("horizon H, decisions")
    axes.set_ylabel(f"{name} (mean, 95 % interval)")
    axes.grid(alpha=0.3)
    return figure


def policy_figure(runs: Sequence[Path], preference: Mapping[str, Any]) -> Figure:
    """Draw how many machines a trained policy keeps on, by buffer level and busy machines, beside the optimal one.

    The optimal policy is the one with the nearest loss. Machines that work or have failed stay on whatever the action
    is. Each number is the mean over the decisions at arrivals that the policy meets there in the long run; where it
    meets fewer than one in a million, there is none.
    """
    if len(runs) != 1:
        raise SettingsError(f"The figure of a policy is of one run; {len(runs)} were given.")
    run = RunFolder.open(runs[0])
    config, agent = load_agent(run, run.preferred_checkpoint())
    prefer(agent, preference, config.full_env_kwargs)
    return draw_policy(agent, config)


def draw_policy(agent: Agent, config: RunConfig) -> Figure:
    """Draw the policy of an agent of a run as `policy_figure` does.

    ValueError for a plant without an exact optimum, or a policy that is none of its chain.
    """
    plant = load_plant(config.full_env_kwargs.get("plant", "paper"))
    optimiser = Optimiser(replace(plant, assignment=config.full_env_kwargs.get("assignment") or plant.assignment))
    actions = chain_actions(agent, optimiser.chain)
    loss_pct, saving_pct = optimiser.loss_and_saving_pct(actions)
    best = _optimum_of_loss(optimiser, loss_pct)
    figure = Figure(figsize=(11.0, 4.2), layout="constrained")
    optimal_actions = best.policy.act(optimiser.chain.observations())
    panels = (
        (f"{config.agent}, seed {config.seed}: {loss_pct:.2f} % lost, {saving_pct:.2f} % saved", actions),
        (f"exact optimum: {best.loss_pct:.2f} % lost, {best.saving_pct:.2f} % saved", optimal_actions),
    )
    for axes, (title, chosen) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        _draw_policy(axes, optimiser, chosen)
        axes.set_title(title, fontsize=10)
    return figure


def _optimum_of_loss(optimiser: Optimiser, loss_pct: float) -> Solution:
    """Return the exact optimum of the nearest loss among those found by halving a range of weights."""
    plant, solutions = optimiser.plant, []
    lightest, heaviest = 1.0, 1e4 * plant.full_power_kw * plant.arrivals.interarrival.mean_s
    for _ in range(_HALVINGS):
        weight = math.sqrt(lightest * heaviest)
        solutions.append(optimiser.solve(weight, gap_kw=1e-6 * optimiser.all_on.power_kw))
        lightest, heaviest = (weight, heaviest) if solutions[-1].loss_pct > loss_pct else (lightest, weight)
    return min(solutions, key=lambda solution: abs(solution.loss_pct - loss_pct))


def _draw_policy(axes: Axes, optimiser: Optimiser, actions: np.ndarray) -> None:
    chain = optimiser.chain
    arrivals = np.arange(len(actions)) < len(chain.arrival_keys)
    rate = np.where(arrivals, optimiser.visits(actions), 0.0)
    shape = (chain.rates.machines + 1, chain.rates.buffer + 1)
    parts, _, _, _, busy_machines, failed = chain.decisions.T
    cell = (busy_machines, parts)
    met, on = np.zeros(shape), np.zeros(shape)
    np.add.at(met, cell, rate)
    np.add.at(on, cell, rate * np.maximum(actions, busy_machines + failed))
    mean = np.where(met > 1e-6 * rate.sum(), on / np.maximum(met, 1e-300), np.nan)[:, 1:]
    axes.imshow(mean, origin="lower", cmap="viridis", vmin=0, vmax=chain.rates.machines, aspect="auto")
    for (busy, column), value in np.ndenumerate(mean):
        if np.isfinite(value):
            dark = value < 0.6 * chain.rates.machines
            axes.text(column, busy, f"{value:.1f}", ha="center", va="center", fontsize=7, color="w" if dark else "k")
    axes.set_xticks(range(shape[1] - 1), [str(parts) for parts in range(1, shape[1])])
    axes.set_yticks(range(shape[0]))
    axes.set_xlabel("parts waiting, with the one that arrived")
    axes.set_ylabel("machines busy")


def _draw_reference(axes: Axes) -> None:
    front = reference_front()
    axes.plot(front[:, 0], front[:, 1], color="black", linewidth=1.4, label="exact optimum", zorder=2)
    rows = reference_rows("paper_table.csv")
    for agent, marker in (("DAIF", "*"), ("DQN", "^")):
        points = [row for row in rows if row["agent"] == agent]
        axes.errorbar(
            [float(row["production_loss_pct"]) for row in points],
            [float(row["energy_saving_pct"]) for row in points],
            xerr=[float(row["production_loss_pm"]) for row in points],
            yerr=[float(row["energy_saving_pm"]) for row in points],
            color=_GREY, marker=marker, markersize=11 if marker == "*" else 6, capsize=2, linestyle="none",
            label=f"{agent}, published", zorder=2,
        )  # fmt: skip


def _cycle(colours: Sequence[str]) -> Any:
    while True:
        yield from colours


def _loss(evaluated: Evaluated) -> float:
    return max(middle(result["production_loss_pct"]) for result in evaluated.results.values())


def _is_learned(evaluated: Evaluated) -> bool:
    return evaluated.content.get("training_seed") is not None


def _columns(run: Path) -> list[str]:
    file = RunFolder.open(run).metrics_file
    rows = read_metrics(file) if file.is_file() else []
    return [name for name in (rows[0] if rows else {}) if any(row[name] for row in rows)]


def _series(run: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    columns = metric_columns(RunFolder.open(run).metrics_file, ("time/total_timesteps", name))
    steps, values = np.asarray(columns["time/total_timesteps"]), np.asarray(columns[name])
    kept = np.isfinite(values)
    return steps[kept], values[kept]


def _by_agent(runs: Sequence[Path]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for run in runs:
        config = RunFolder.open(run).read_config()
        preset = f" {config['preset']}" if config.get("preset") else ""
        groups.setdefault(f"{config.get('agent')}{preset}", []).append(run)
    return groups


def _run_label(run: Path) -> str:
    config = RunFolder.open(run).read_config()
    return f"{config.get('agent')}, seed {config.get('seed')}"


def _common_metric(runs: Sequence[Path]) -> str:
    for name in ("eval/mean_reward", "eval/objective_kw", "rollout/ep_rew_mean", "rollout/reward_mean"):
        if any(name in _columns(run) for run in runs):
            return name
    raise SettingsError("The runs have no common metric to draw; name one with --metric.")
