"""The README's table is what the kept evaluations give, and the marks it stands between are needed."""

import csv
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
    assert text == report([kept / folder for folder in folders], "markdown", folded=True).strip()


@pytest.mark.parametrize("name", ["ablation_workstation", "ablation_mountaincar", "ablation_fast"])
def test_the_readmes_ablations_are_made_from_the_kept_files(name: str) -> None:
    command = [sys.executable, "benchmarks/ablation.py", "--output", f"runs/reference/{name}.csv"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    begin, end = marks(name.removesuffix("_mountaincar"))
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()
    assert text == printed.strip()


def test_every_network_s_front_dominates_the_published_points_and_the_constant_of_five() -> None:
    def points(path: Path, loss: str, saving: str, **only: str) -> dict[str, list[tuple[float, float]]]:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if all(row[key] == value for key, value in only.items())]
        by_seed: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            by_seed.setdefault(row.get("seed", ""), []).append((float(row[loss]), float(row[saving])))
        return by_seed

    (published,) = points(
        ROOT / "tests" / "reference" / "paper_table.csv", "production_loss_pct", "energy_saving_pct"
    ).values()
    fronts = points(ROOT / "runs" / "reference" / "front.csv", "loss_pct", "saving_pct", agent="daif fast")
    assert len(published) == 8
    assert len(fronts) == 5
    for front in fronts.values():
        for loss, saving in [*published, (1.73, 12.24)]:
            assert any(less < loss and more > saving for less, more in front), (loss, saving)


def test_the_readme_begins_with_what_was_measured() -> None:
    begin, end = marks("results")
    head, _, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition(begin)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in rest.partition(end)[0].splitlines() if "|" in line
    ]
    measured = {row[0].partition(" (weight")[0]: row[3:5] for row in reversed(rows) if row[1] == "deterministic"}
    told = {
        cells[0].partition(" (")[0]: cells[1:]
        for line in head.splitlines()
        if (cells := [cell.strip() for cell in line.split("|")[1:-1]])
    }
    for words, agent in (
        ("five machines, always on", "constant (n=5)"),
        ("DAIF as trained here", "daif fast"),
        ("the exact optimum, for a part worth 8,000 kJ", "optimal"),
    ):
        assert told[words] == [f"{figure.split()[0]} %" for figure in measured[agent]]
    assert told["the published DAIF agent"] == ["2.59 %", "12.49 %"]


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
