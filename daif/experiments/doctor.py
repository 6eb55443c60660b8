"""What `daif doctor` checks."""

import os
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from daif.experiments.config import resolve
from daif.experiments.packages import PACKAGES, shadowed
from daif.experiments.runs import RunFolder, provenance
from daif.experiments.train import train

Finding = tuple[str, bool, str]


def examine() -> list[Finding]:
    """Return the findings: what was checked, whether it is in order, and what was found."""
    facts = provenance()
    wrong = shadowed()
    devices = ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]
    findings: list[Finding] = [
        ("python", True, f"{facts['python']} on {facts['platform']}"),
        ("versions", "not installed" not in facts["versions"].values(), _versions(facts["versions"])),
        ("commit", True, str(facts["commit"])),
        ("devices", True, ", ".join(devices)),
        ("threads", True, f"{torch.get_num_threads()} of torch, {os.cpu_count()} cores"),
        (
            "packages",
            not wrong,
            "; ".join(f"{name} resolves to {place}" for name, place in wrong)
            or ", ".join(PACKAGES) + " are this project's",
        ),
        _temporary_files(),
    ]
    return [*findings, _smoke_run()]


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _temporary_files() -> Finding:
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "probe").write_text("written", encoding="utf-8")
    except OSError as error:
        return ("files", False, f"temporary files cannot be written: {error.strerror}")
    return ("files", True, "temporary files can be written")


def _smoke_run() -> Finding:
    """Train for a moment and read the checkpoint back."""
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = resolve(
                env="CartPole-v1", agent="ppo", preset="none", steps=256,
                settings={"n_steps": 128, "epoch_steps": 128}, evaluation={"every": 0},
            )  # fmt: skip
            result = train(config, RunFolder(Path(folder) / "run"), Console(quiet=True))
    except Exception as error:  # the doctor reports whatever goes wrong
        return ("smoke run", False, f"{type(error).__name__}: {error}")
    return (
        "smoke run",
        result.outcome == "finished",
        f"{result.decisions} decisions in {time.perf_counter() - started:.1f} s",
    )
