"""Run folders and their metrics file."""

import json
import math

import pytest

from daif.experiments.runs import MetricsFile, RunFolder, metric_columns, read_metrics, slug
from daif.experiments.settings import SettingsError


def test_columns_grow_and_numbers_keep_their_bits(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    file.append({"epoch": 1, "a": 0.1})
    file.append({"epoch": 2, "b": 1 / 3})
    file.append({"epoch": 3, "a": math.inf, "b": math.nan})
    columns = metric_columns(tmp_path / "metrics.csv", ["epoch", "a", "b"])
    assert columns["epoch"] == [1, 2, 3]
    assert columns["a"][0] == 0.1
    assert math.isnan(columns["a"][1])
    assert columns["a"][2] == math.inf
    assert columns["b"][1] == 1 / 3


def test_a_resumed_run_drops_the_rows_after_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    for epoch in range(1, 6):
        file.append({"epoch": epoch, "late" if epoch > 3 else "early": float(epoch)})
    file = MetricsFile(path, keep_epochs=3)
    file.append({"epoch": 4, "early": 4.5})
    rows = read_metrics(path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert list(rows[0]) == ["epoch", "early"]


def test_a_run_from_the_start_drops_all_rows(tmp_path):
    path = tmp_path / "metrics.csv"
    MetricsFile(path).append({"epoch": 1})
    MetricsFile(path)
    assert read_metrics(path) == []


def test_folder_names(tmp_path):
    run = RunFolder.new(tmp_path, "module:daif/EnergyControl-v0", "daif", 3)
    assert run.path.parent == tmp_path / "module-daif-EnergyControl-v0" / "daif"
    assert "-3-" in run.path.name
    assert run.path != RunFolder.new(tmp_path, "module:daif/EnergyControl-v0", "daif", 3).path
    assert slug("../..") == "unnamed" or "/" not in slug("../..")


def test_metadata_says_what_the_run_was_made_with(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.write_config({"env": "CartPole-v1"})
    run.write_metadata(seed=5, command="daif train")
    metadata = json.loads(run.metadata_file.read_text())
    assert {"versions", "commit", "platform", "seed", "schema_version", "command"} <= set(metadata)
    assert (run.path / "command.txt").read_text() == "daif train\n"
    assert RunFolder.open(run.path).read_config() == {"env": "CartPole-v1"}


def test_another_folder_is_no_run(tmp_path):
    with pytest.raises(SettingsError, match="is not a run folder"):
        RunFolder.open(tmp_path)
