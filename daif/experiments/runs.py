"""The folder of a run: `runs/<environment>/<agent>/<time>-<seed>-<short id>/` and what lies in it."""

import csv
import datetime
import io
import json
import math
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from daif.experiments.checkpoint import write_atomically
from daif.experiments.settings import SettingsError, read_yaml

SCHEMA_VERSION = 1
_PACKAGES = ("daif", "torch", "gymnasium", "stable-baselines3", "numpy", "numba", "simpy", "scipy", "tensorboard")


class RunFolder:
    """Paths and small files of one run.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def new(cls, root: Path, env: str, agent: str, seed: int) -> "RunFolder":
        """Return a folder with a fresh name; nothing is written yet."""
        time = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
        return cls(root / slug(env) / slug(agent) / f"{time}-{seed}-{secrets.token_hex(3)}")

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return an existing run, or raise one sentence."""
        run = cls(path)
        if not run.config_file.is_file():
            raise SettingsError(f"{path} is not a run folder: it has no config.yaml.")
        return run

    @property
    def config_file(self) -> Path:
        """The resolved settings."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """A row per epoch."""
        return self.path / "metrics.csv"

    def training_s(self) -> float | None:
        """Return the wall time of the training so far in seconds, periodic evaluations included; None if unknown."""
        if not self.metrics_file.is_file():
            return None
        elapsed = metric_columns(self.metrics_file, ["time/time_elapsed"])["time/time_elapsed"]
        return elapsed[-1] if elapsed and math.isfinite(elapsed[-1]) else None

    def evaluation(self, *, adapted: bool) -> Path:
        """Return where the latest evaluation is, of the agent as it was trained or of one that kept learning."""
        return self.path / ("evaluation_adapted.json" if adapted else "evaluation.json")

    @property
    def metadata_file(self) -> Path:
        """Versions, commit, platform, seed, schema version."""
        return self.path / "metadata.json"

    def checkpoint(self, name: str) -> Path:
        """Return the path of the checkpoint `latest`, `best` or `step-N`."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def preferred_checkpoint(self, name: str = "best") -> str:
        """Return the name, or `latest` in the place of a `best` that is not there."""
        return "latest" if name == "best" and not self.checkpoint(name).is_file() else name

    def checkpoint_names(self) -> list[str]:
        """Return the names of the checkpoints that exist."""
        return sorted(file.stem for file in (self.path / "checkpoints").glob("*.ckpt"))

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold the run while it is trained: another process that would train it too is refused in one sentence."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.path / ".training.lock", timeout=0).acquire()
        except Timeout:
            raise SettingsError(f"Another process is training the run {self.path}; wait for it or stop it.") from None
        with lock:
            yield

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved settings."""
        text = yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
        write_atomically(self.config_file, text.encode())

    def read_config(self) -> dict[str, Any]:
        """Return the resolved settings."""
        return read_yaml(self.config_file)

    def write_metadata(self, seed: int, command: str) -> None:
        """Write the command and what the run was made with."""
        write_atomically(self.path / "command.txt", (command + "\n").encode())
        write_json(self.metadata_file, {**provenance(), "seed": seed, "command": command})


class MetricsFile:
    """A CSV file of metrics, a row per epoch, whose columns may grow.

    Args:
        path: the file; rows that it already holds up to `keep_epochs` stay.
        keep_epochs: epochs (counted from 1) whose rows are kept when a run resumes.
    """

    def __init__(self, path: Path, keep_epochs: int = 0) -> None:
        self.path = path
        self._rows: list[dict[str, str]] = []
        self._columns: list[str] = []
        if keep_epochs and path.is_file():
            rows = read_metrics(path)
            self._rows = [row for row in rows if float(row.get("epoch") or math.inf) <= keep_epochs]
            self._columns = list(dict.fromkeys(name for row in self._rows for name, text in row.items() if text))
        if self._rows or path.is_file():
            self._rewrite()

    def append(self, metrics: Mapping[str, float]) -> None:
        """Add a row; only a new column makes the file be written anew."""
        row = {name: format_number(value) for name, value in metrics.items()}
        self._rows.append(row)
        fresh = [name for name in row if name not in self._columns]
        if fresh or not self.path.is_file():
            self._columns.extend(fresh)
            self._rewrite()
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, self._columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self.path, buffer.getvalue().encode())


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Return the rows of a metrics file as texts by column."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}.") from None


def metric_columns(path: Path, names: Iterable[str]) -> dict[str, list[float]]:
    """Return the named columns as numbers, NaN where a row has none."""
    rows = read_metrics(path)
    return {name: [float(row.get(name) or math.nan) for row in rows] for name in names}


def format_number(value: float) -> str:
    """Return a number so that reading it back gives the same bits."""
    return repr(value) if isinstance(value, int) else repr(float(value))


def slug(name: str) -> str:
    """Return a name that is safe as a folder."""
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name).strip(".") or "unnamed"


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def provenance() -> dict[str, Any]:
    """Return the versions, the commit and the platform."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "source tree" if package == "daif" else "not installed"
    return {
        "schema_version": SCHEMA_VERSION,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "versions": versions,
        "commit": _commit(),
        "platform": platform.platform(),
    }


def _commit() -> str:
    """Return the commit of the source tree, marked where it has changes, or "unknown" outside a repository."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=root, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
