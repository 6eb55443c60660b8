"""Tables of evaluated runs as Markdown or LaTeX, with what is needed to repeat them."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np

from daif.experiments.optimum import saving_at
from daif.experiments.results import Evaluated, group, half_width, middle, read_evaluations
from daif.experiments.settings import SettingsError
from daif.experiments.statistics import Interval, bootstrap_iqm

Row = tuple[str, ...]


def report(paths: Sequence[Path], form: str, *, folded: bool = False) -> str:
    """Return the table of all evaluations at or below the given folders.

    An agent with one training seed has the Student interval over its replications or episodes; one with several seeds
    the interquartile mean over seeds with its stratified-bootstrap interval.

    Args:
        paths: run folders, folders of them, or evaluation files.
        form: markdown or latex.
        folded: hide the commands of a Markdown table until they are asked for.
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
    commands = _provenance(evaluations, form)
    if folded and form == "markdown":
        commands = f"<details><summary>Commands, protocols and commits</summary>\n\n{commands}\n\n</details>"
    parts.append(commands)
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
EPISODE_COLUMNS = ("environment", "agent", "acting", "seeds", "mean return", "decisions", "trained in, s")


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
                mean_return = _combine(chosen)
                digits = 1 if abs(mean_return.value) >= 10.0 else 2
                row = (env, label, acting, _seeds(members), _text(mean_return, digits), f"{decisions:,}")
                rows.append((*row, _training_time(members)))
    return rows


def _training_time(members: Sequence[Evaluated]) -> str:
    """Return the median wall time of the members' trainings in seconds, evaluations included, where it is known."""
    known = [float(one.content["training_s"]) for one in members if one.content.get("training_s") is not None]
    return f"{np.median(known):,.0f}" if known else "-"


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
    """Return a line for each agent and environment: the commands of its runs as one pattern, protocol and commits."""
    comment = "% " if form == "latex" else "- "
    lines = []
    for env in sorted({one.env for one in evaluations}):
        for label, members in group([one for one in evaluations if one.env == env]).items():
            protocol = ", ".join(
                f"{name} {value:g}" for name, value in (members[0].content.get("protocol") or {}).items()
            )
            commits = dict.fromkeys(str(one.content.get("commit", "unknown"))[:12] for one in members)
            commands = pattern([str(one.content.get("command")) for one in members])
            lines.append(f"{comment}{label}: `{commands}` ({protocol}; commit {', '.join(commits)})")
    return "\n".join(dict.fromkeys(lines))


def pattern(commands: Sequence[str]) -> str:
    """Return one command for all: of words that differ, what they begin with and a *."""
    words = [command.split() for command in commands]
    if len({len(split) for split in words}) > 1:
        return "`, `".join(dict.fromkeys(commands))
    joined = []
    for column in zip(*words, strict=True):
        letters = takewhile(lambda letters: len(set(letters)) == 1, zip(*column, strict=False))
        joined.append(column[0] if len(set(column)) == 1 else "".join(one[0] for one in letters) + "*")
    return " ".join(joined)
