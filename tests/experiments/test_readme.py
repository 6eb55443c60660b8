"""The README's table is what the kept evaluations give, and the marks it stands between are needed."""

from pathlib import Path

import pytest

from daif.experiments.report import BEGIN, END, insert, report
from daif.experiments.settings import SettingsError

ROOT = Path(__file__).parents[2]


def test_the_readmes_table_is_made_from_the_kept_evaluations() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition(BEGIN)[2].partition(END)[0].strip()
    kept = ROOT / "runs" / "reference"
    assert table == report([kept / "evaluations", kept / "dqn_phi"], "markdown").strip()


def test_a_file_without_marks_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("nothing here")
    with pytest.raises(SettingsError, match="lacks the marks"):
        insert(file, "| a |")
    assert file.read_text() == "nothing here"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter")
    insert(file, "| new |")
    assert file.read_text() == f"before\n{BEGIN}\n| new |\n{END}\nafter"
