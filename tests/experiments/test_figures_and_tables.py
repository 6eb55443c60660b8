"""Figures and tables from small made-up runs: every format, nothing global, numbers that can be checked."""

import json

import numpy as np
import pytest

from daif.experiments import plots
from daif.experiments.report import pattern, report
from daif.experiments.results import find_runs, read_evaluations
from daif.experiments.runs import MetricsFile, RunFolder
from daif.experiments.settings import SettingsError


def interval(value, half=0.1):
    return {"value": value, "low": value - half, "high": value + half}


def make_run(folder, seed, *, agent="daif", horizon=10, loss=0.5, saving=18.0):
    run = RunFolder(folder)
    run.write_config({"env": "daif/EnergyControl-v0", "agent": agent, "seed": seed, "settings": {"horizon": horizon}})
    file = MetricsFile(run.metrics_file)
    for epoch in range(1, 5):
        row = {
            "epoch": epoch,
            "time/total_timesteps": 100 * epoch,
            "efe/total": 1.0 / epoch,
            "model/preference_mae": 2.0 / epoch,
        }
        if epoch % 2 == 0:
            row |= {
                "eval/objective_kw": epoch + seed, "plant/preference_score": 0.2 * epoch, "plant/kj_per_part": 1400.0,
                "plant/production_loss_pct": 5.0 - epoch, "plant/energy_saving_pct": 4.0 * epoch,
            }  # fmt: skip
        file.append(row)
    figures = {
        "production_loss_pct": interval(loss), "energy_saving_pct": interval(saving),
        "parts_per_min": interval(2.97), "power_kw": interval(65.0),
    }  # fmt: skip
    content = {
        "agent": agent, "env": "daif/EnergyControl-v0", "env_kwargs": {}, "settings": {}, "training_seed": seed,
        "command": "daif evaluate run", "commit": "0123456789abcdef", "protocol": {"days": 30.0}, "decisions": 400,
        "results": {"deterministic": figures},
    }  # fmt: skip
    run.evaluation(adapted=False).write_text(json.dumps(content))
    return run.path


@pytest.fixture
def runs(tmp_path):
    losses = [0.4, 0.5, 0.6, 0.7, 5.0]
    return [make_run(tmp_path / f"run-{seed}", seed, horizon=[1, 10][seed % 2], loss=losses[seed]) for seed in range(5)]


@pytest.mark.parametrize("kind", ["tradeoff", "training", "learning", "horizon"])
@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_every_figure_in_every_format(runs, tmp_path, kind, suffix, magic):
    output = tmp_path / "figures" / f"{kind}{suffix}"
    plots.plot(kind, runs, output)
    assert output.read_bytes().startswith(magic)


def test_nothing_global_is_touched(runs, tmp_path):
    import matplotlib.pyplot as plt

    before = dict(plt.rcParams)
    plots.plot("tradeoff", runs, tmp_path / "figure.png")
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before


def test_the_tradeoff_holds_the_published_points_and_the_front(runs):
    axes = plots.tradeoff_figure(read_evaluations(runs)).axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert {"exact optimum", "DAIF, published", "DQN, published", "daif"} <= set(labels)
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert np.column_stack(lines["exact optimum"].get_data())[0] == pytest.approx([0.0, 0.0])
    without = plots.tradeoff_figure(read_evaluations(runs), reference=False).axes[0]
    assert without.get_legend_handles_labels()[1] == ["daif"]


def test_the_training_figure_has_six_panels_with_the_runs_and_the_authors_curve(runs):
    figure = plots.training_figure(runs[:2])
    assert len(figure.axes) == 6
    score = figure.axes[0]
    assert score.get_title() == "Preference score"
    lines = {line.get_label(): line for line in score.get_lines()}
    assert set(lines) == {"authors' code", "daif, seed 0", "daif, seed 1"}
    assert lines["daif, seed 0"].get_xydata().tolist() == [[200.0, 0.4], [400.0, 0.8]]
    assert len(lines["authors' code"].get_xdata()) == 38


def test_the_learning_figure_shows_the_interquartile_mean(runs):
    axes = plots.learning_figure(runs, "eval/objective_kw").axes[0]
    line = axes.get_lines()[0]
    assert line.get_label() == "daif (5 seeds)"
    # seeds add 0..4 to the epoch; the interquartile mean of five scores is that of the middle three
    assert line.get_xydata().tolist() == [[200.0, 4.0], [400.0, 6.0]]


def test_the_horizon_figure_shows_the_mean_of_each_horizon(runs):
    axes = plots.horizon_figure(runs, "eval/objective_kw").axes[0]
    # H = 1: seeds 0, 2, 4; H = 10: seeds 1, 3; the last value is 4 + seed
    assert axes.get_lines()[0].get_xydata().tolist() == [[1.0, 6.0], [10.0, 6.0]]


def test_the_table_has_the_interquartile_mean_of_the_seeds(runs):
    text = report(runs, "markdown")
    row = next(line for line in text.splitlines() if line.startswith("| daif "))
    # of 0.4, 0.5, 0.6, 0.7, 5.0 the middle three stay
    assert "| 0.60 [" in row
    assert "| 0 1 2 3 4 |" in row
    assert "`daif evaluate run` (days 30; commit 0123456789ab)" in text


def test_the_commands_of_many_runs_are_one_pattern():
    commands = ["daif evaluate runs/a/daif-1-5ac --days 30", "daif evaluate runs/a/daif-2-77 --days 30"]
    assert pattern(commands) == "daif evaluate runs/a/daif-* --days 30"
    assert pattern(commands[:1]) == commands[0]
    assert pattern([commands[0], "daif demo"]) == f"{commands[0]}`, `daif demo"


def test_the_table_of_one_seed_has_its_own_interval(runs):
    assert "| 0.40 [0.30, 0.50] | 18.00 [17.90, 18.10] |" in report(runs[:1], "markdown")


def test_latex(runs):
    text = report(runs, "latex")
    assert text.count(r"\hline") == 3
    assert r"loss \%" in text
    assert text.splitlines()[-1].startswith("% daif")


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("learning", {"metric": "nothing"}, "None of the runs has values of 'nothing'"),
        ("horizon", {"metric": "nothing"}, "None of the runs has both"),
        ("tradeof", {}, "did you mean 'tradeoff'"),
    ],
)
def test_figures_that_cannot_be_drawn_are_refused(runs, tmp_path, kind, options, sentence):
    with pytest.raises(SettingsError, match=sentence):
        plots.plot(kind, runs, tmp_path / "x.png", **options)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"agent": "a", "results": 3}'])
def test_files_that_are_no_evaluations_are_refused(tmp_path, content):
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(SettingsError, match="not an evaluation"):
        report([tmp_path], "markdown")


def test_runs_are_found_below_a_folder(runs, tmp_path):
    assert find_runs([tmp_path]) == runs
    assert find_runs([runs[0], tmp_path]) == runs
    with pytest.raises(SettingsError, match="is not a folder"):
        find_runs([tmp_path / "none"])
