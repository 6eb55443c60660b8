"""The README's table is what the kept evaluations give, and the marks it stands between are needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from daif.experiments.report import insert, marks, report
from daif.experiments.settings import SettingsError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("table", "folders"),
    [
        ("results", ("evaluations", "dqn_phi")),
        ("few", ("few_decisions",)),
        ("million", ("million",)),
        ("classic", ("classic",)),
    ],
)
def test_the_readmes_tables_are_made_from_the_kept_evaluations(table: str, folders: tuple[str, ...]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = marks(table)
    text = readme.partition(begin)[2].partition(end)[0].strip()
    kept = ROOT / "runs" / "reference"
    assert text == report([kept / folder for folder in folders], "markdown").strip()


@pytest.mark.parametrize("name", ["ablation_workstation", "ablation_mountaincar"])
def test_the_readmes_ablations_are_made_from_the_kept_files(name: str) -> None:
    command = [sys.executable, "benchmarks/ablation.py", "--output", f"runs/reference/{name}.csv"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    begin, end = marks(name.removesuffix("_mountaincar"))
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()
    assert text == printed.strip()


def test_a_file_without_marks_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    begin, end = marks("results")
    file.write_text("nothing here")
    with pytest.raises(SettingsError, match="lacks the marks"):
        insert(file, "| a |", "results")
    assert file.read_text() == "nothing here"
    file.write_text(f"before\n{begin}\nold\n{end}\nafter")
    insert(file, "| new |", "results")
    assert file.read_text() == f"before\n{begin}\n| new |\n{end}\nafter"
