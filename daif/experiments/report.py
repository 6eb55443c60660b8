"""Tables of evaluated runs as Markdown or LaTeX, with what is needed to repeat them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daif.experiments.optimum import saving_at
from daif.experiments.results import Evaluated, group, half_width, middle, read_evaluations
from daif.experiments.settings import SettingsError
from daif.experiments.statistics import Interval, bootstrap_iqm

Row = tuple[str, ...]


def report(paths: Sequence[Path], form: str) -> str:
    """Return the table of all evaluations at or below the given folders.

    An agent with one training seed has the Student interval over its replications or episodes; one with several seeds
    the interquartile mean over seeds with its stratified-bootstrap interval.

    Args:
        paths: run folders, folders of them, or evaluation files.
        form: markdown or latex.
    """
    evaluations = read_evaluations(paths)
    if not evaluations:
        raise SettingsError("There are no evaluations there; run daif evaluate first.")
    plants = [one for one in evaluations if one.is_plant]
    others = [one for one in evaluations if not one.is_plant]
    parts = []
    if plants:
        parts.append(_table(PLANT_COLUMNS, plant_rows(plants), form))
    if others:
        parts.append(_table(EPISODE_COLUMNS, _episode_rows(others), form))
    parts.append(_provenance(evaluations, form))
    return "\n\n".join(parts)


def marks(table: str) -> tuple[str, str]:
    """Return the lines between which a Markdown file holds the table of that name."""
    return f"<!-- {table}:begin -->", f"<!-- {table}:end -->"


def insert(path: Path, text: str, table: str) -> None:
    """Put a table between its marks in a Markdown file, in the place of what was there; SettingsError if none."""
    content = path.read_text(encoding="utf-8") if path.is_file() else ""
    first, last = marks(table)
    before, begin, rest = content.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SettingsError(f"{path} lacks the marks {first} and {last} between which the table goes.")
    path.write_text(f"{before}{first}\n{text}\n{last}{after}", encoding="utf-8")


PLANT_COLUMNS = ("agent", "acting", "seeds", "loss %", "saving %", "optimum's saving there %", "parts/min", "kW")
EPISODE_COLUMNS = ("environment", "agent", "acting", "seeds", "mean return", "decisions")


def plant_rows(evaluations: Sequence[Evaluated]) -> list[Row]:
    """Return a row per agent and way of acting, by loss."""
    rows: list[tuple[float, Row]] = []
    for label, members in group(evaluations).items():
        for acting in members[0].results:
            chosen = [one.results[acting] for one in members if acting in one.results]
            figures = {
                name: _combine([result[name] for result in chosen])
                for name in ("production_loss_pct", "energy_saving_pct", "parts_per_min", "power_kw")
            }
            loss = figures["production_loss_pct"]
            on_paper_plant = (members[0].content.get("env_kwargs") or {}).get("plant", "paper") == "paper"
            rows.append(
                (
                    loss.value,
                    (
                        label, acting, _seeds(members), _text(loss), _text(figures["energy_saving_pct"]),
                        f"{saving_at(loss.value):.2f}" if on_paper_plant else "-",
                        _text(figures["parts_per_min"], 3), _text(figures["power_kw"]),
                    ),
                )
            )  # fmt: skip
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _episode_rows(evaluations: Sequence[Evaluated]) -> list[Row]:
    rows: list[Row] = []
    for env in sorted({one.env for one in evaluations}):
        for label, members in group([one for one in evaluations if one.env == env]).items():
            for acting in members[0].results:
                chosen = [one.results[acting]["mean_reward"] for one in members if acting in one.results]
                decisions = max(int(one.content.get("decisions", 0)) for one in members)
                rows.append((env, label, acting, _seeds(members), _text(_combine(chosen), 1), f"{decisions:,}"))
    return rows


def _combine(intervals: Sequence[dict[str, float | None]]) -> Interval:
    """Return one interval: over replications for a single seed, the interquartile mean over several seeds."""
    if len(intervals) == 1:
        value, half = middle(intervals[0]), half_width(intervals[0])
        return Interval(value, value - half, value + half)
    return bootstrap_iqm(np.asarray([middle(one) for one in intervals]), rng=np.random.default_rng(0))


def _seeds(members: Sequence[Evaluated]) -> str:
    seeds = [str(one.content["training_seed"]) for one in members if one.content.get("training_seed") is not None]
    return " ".join(seeds) if seeds else "-"


def _text(interval: Interval, digits: int = 2) -> str:
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _table(columns: Row, rows: Sequence[Row], form: str) -> str:
    if form == "latex":
        escaped = [[cell.replace("%", r"\%").replace("_", r"\_") for cell in row] for row in (columns, *rows)]
        body = [" & ".join(row) + r" \\" for row in escaped]
        return "\n".join(
            [
                r"\begin{tabular}{" + "l" * len(columns) + "}",
                r"\hline",
                body[0],
                r"\hline",
                *body[1:],
                r"\hline",
                r"\end{tabular}",
            ]
        )
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _provenance(evaluations: Sequence[Evaluated], form: str) -> str:
    comment = "% " if form == "latex" else "- "
    lines = []
    for one in evaluations:
        protocol = ", ".join(f"{name} {value:g}" for name, value in (one.content.get("protocol") or {}).items())
        commit = str(one.content.get("commit", "unknown"))
        lines.append(f"{comment}{one.label}: `{one.content.get('command')}` ({protocol}; commit {commit[:12]})")
    return "\n".join(dict.fromkeys(lines))
