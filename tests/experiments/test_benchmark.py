"""Benchmark grids and the demonstration: expansion, parallel runs, resumption cell by cell."""

import io
import json

import pytest
import yaml
from rich.console import Console

from daif.experiments.benchmark import BenchmarkSpec, expand, run_benchmark
from daif.experiments.demo import run_demo
from daif.experiments.rules import search_rules
from daif.experiments.settings import SettingsError

SMALL = {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "epoch_steps": 32, "hidden": [8]}
SPEC = {
    "name": "small",
    "seeds": [0, 1],
    "base": {"env": "CartPole-v1", "preset": "none", "steps": 64, "evaluation": {"every": 0}},
    "cells": [{"agent": "ppo", "settings": SMALL}, {"agent": "random"}],
    "evaluate": {"episodes": 3},
}


def spec(**changes):
    return BenchmarkSpec(**{**SPEC, "seeds": (0, 1), "cells": tuple(SPEC["cells"]), **changes})


def test_expansion(tmp_path):
    cells = expand(spec(grid={"settings.gamma": [0.9, 0.99], "steps": [64, 96]}), tmp_path)
    ppo = [cell for cell in cells if cell.config["agent"] == "ppo"]
    assert len(ppo) == 2 * 2 * 2
    assert {(c.config["settings"]["gamma"], c.config["steps"], c.config["seed"]) for c in ppo} == {
        (g, s, seed) for g in (0.9, 0.99) for s in (64, 96) for seed in (0, 1)
    }
    assert all(cell.config["settings"]["n_steps"] == 32 for cell in ppo)
    assert len({cell.folder for cell in cells}) == len(cells)
    assert [cell.folder for cell in expand(spec(), tmp_path)] == [cell.folder for cell in expand(spec(), tmp_path)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cells": ({"agent": "pppo"},)}, "did you mean 'ppo'"),
        ({"cells": ({"agent": "ppo", "settings": {"gama": 1}},)}, "did you mean 'gamma'"),
        ({"grid": {"steps": 3}}, "must be a list"),
        ({"base": {"env": "CartPole-v9"}}, "did you mean"),
    ],
)
def test_mistakes_are_found_before_anything_runs(tmp_path, changes, sentence):
    with pytest.raises(SettingsError, match=sentence):
        expand(spec(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_benchmark_runs_resumes_and_skips_what_is_done(tmp_path):
    file, folder = tmp_path / "spec.yaml", tmp_path / "results"
    file.write_text(yaml.safe_dump(SPEC))
    assert run_benchmark(file, folder, 2, Console(file=io.StringIO()))
    text = (folder / "results.md").read_text()
    assert "| CartPole-v1 | ppo | deterministic | 0 1 |" in text
    assert "| CartPole-v1 | random | deterministic | - |" in text
    evaluations = sorted(folder.rglob("evaluation.json"))
    assert len(evaluations) == 3
    assert {json.loads(f.read_text())["training_seed"] for f in evaluations} == {0, 1, None}
    times = {f: f.stat().st_mtime_ns for f in evaluations}
    gone = evaluations[0]
    gone.unlink()
    console = Console(file=io.StringIO(), width=200)
    assert run_benchmark(file, folder, 1, console)
    assert "2 of 3 cells are done already" in console.file.getvalue()
    assert gone.is_file()
    assert all(f.stat().st_mtime_ns == times[f] for f in evaluations[1:])


def test_a_failing_cell_is_named_and_the_others_are_done(tmp_path):
    file, folder = tmp_path / "spec.yaml", tmp_path / "results"
    cells = [{"agent": "random"}, {"agent": "random", "env": "Pendulum-v1", "env_kwargs": {"g": "heavy"}}]
    file.write_text(yaml.safe_dump({**SPEC, "cells": cells, "evaluate": {"episodes": 1}}))
    console = Console(file=io.StringIO(), width=400)
    assert not run_benchmark(file, folder, 2, console)
    assert "failed" in console.file.getvalue()
    assert len(list(folder.rglob("evaluation.json"))) == 1


@pytest.mark.slow
def test_rules_are_searched_and_written(tmp_path):
    file = tmp_path / "rules.csv"
    plant = {"plant": "paper"}
    rows = search_rules(plant, file, replications=4, days=0.1, console=Console(file=io.StringIO()))
    assert {row["agent"] for row in rows} == {
        "all-on", "constant", "busy-plus-waiting", "hysteresis", "threshold-linear", "random",
    } - {"random"}  # fmt: skip
    assert file.read_text().splitlines()[0].startswith("agent,settings,weight_kj_per_part")
    assert [row["production_loss_pct"] for row in rows if row["agent"] == "all-on"] == [0.0]


@pytest.mark.slow
def test_the_demonstration_in_small(tmp_path):
    folder = tmp_path / "demo"
    assert run_demo(folder, 2, 0.01, Console(file=io.StringIO(), width=200))
    assert (folder / "tradeoff.png").stat().st_size > 10_000
    text = (folder / "results.md").read_text()
    for name in ("daif", "dqn", "constant (n=5)", "all-on", "random", "optimal"):
        assert f"| {name}" in text
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("evaluation.json")}
    console = Console(file=io.StringIO(), width=200)
    assert run_demo(folder, 2, 0.01, console)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("evaluation.json")} == before
