"""Reads the results of evaluated runs back, for figures and tables."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daif.experiments.settings import SettingsError


@dataclass(frozen=True)
class Evaluated:
    """One evaluation file."""

    path: Path
    """Where it was read."""
    content: Mapping[str, Any]
    """What `daif evaluate` wrote."""

    @property
    def agent(self) -> str:
        """Name of the agent."""
        return str(self.content["agent"])

    @property
    def env(self) -> str:
        """Id of the environment."""
        return str(self.content["env"])

    @property
    def is_plant(self) -> bool:
        """Whether the figures are those of the workstation's protocol."""
        return any("production_loss_pct" in result for result in self.results.values())

    @property
    def results(self) -> Mapping[str, Mapping[str, Any]]:
        """Figures by the way of acting, deterministic or stochastic."""
        return self.content["results"]

    @property
    def label(self) -> str:
        """The agent with its preset, the settings that it was given by hand, and the weight phi of its score."""
        settings = dict(self.content.get("settings") or {})
        env_kwargs = self.content.get("env_kwargs") or {}
        if "phi" in env_kwargs:  # the published DQN agents differ by it
            settings["phi"] = env_kwargs["phi"]
        extra = ", ".join(f"{name}={value}" for name, value in settings.items())
        name = " ".join(part for part in (self.agent, self.content.get("preset")) if part)
        return f"{name} ({extra})" if extra else name


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders at or below the given ones, in order."""
    found: list[Path] = []
    for path in paths:
        if (path / "config.yaml").is_file():
            found.append(path)
        elif path.is_dir():
            found.extend(sorted(file.parent for file in path.rglob("config.yaml")))
        else:
            raise SettingsError(f"{path} is not a folder.")
    if not found:
        raise SettingsError(f"There are no runs in {', '.join(str(path) for path in paths) or 'nothing'}.")
    return list(dict.fromkeys(found))


def read_evaluations(paths: Sequence[Path]) -> list[Evaluated]:
    """Return the evaluations at or below the given folders or files, in order."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files.extend(sorted(path.rglob("*evaluation*.json")))
        elif path.is_file():
            files.append(path)
        else:
            raise SettingsError(f"{path} does not exist.")
    return [_read(file) for file in dict.fromkeys(files)]


def middle(interval: Mapping[str, float | None]) -> float:
    """Return the mean of a stored interval."""
    return math.nan if interval["value"] is None else float(interval["value"])


def half_width(interval: Mapping[str, float | None]) -> float:
    """Return half the width of a stored interval, 0 where it is unbounded."""
    if interval["low"] is None or interval["high"] is None:
        return 0.0
    return (float(interval["high"]) - float(interval["low"])) / 2.0


def group(evaluations: Iterable[Evaluated]) -> dict[str, list[Evaluated]]:
    """Return the evaluations by label: those of one label differ by their training seed."""
    groups: dict[str, list[Evaluated]] = {}
    for evaluated in evaluations:
        groups.setdefault(evaluated.label, []).append(evaluated)
    return groups


def _read(file: Path) -> Evaluated:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise SettingsError(f"{file} is not an evaluation: it cannot be read as JSON.") from None
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict) or "agent" not in content:
        raise SettingsError(f"{file} is not an evaluation written by daif.")
    return Evaluated(file, content)
