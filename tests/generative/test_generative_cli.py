"""`daif generative`: trains a model by name, and refuses what it cannot do with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from daif.cli import main


def test_trains_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["generative", "train", "made", "--data", "moons", "--steps", "3", "--output", str(tmp_path)])
    shown = capsys.readouterr().out
    assert code == 0
    assert "entropy floor" in shown
    assert (tmp_path / "figures.json").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nsf", "--data", "moon"], "did you mean 'moons'?"),
        (["pixel-cnn"], "takes binary or levels data of images, not moons"),
        (["made", "--steps", "0"], "steps is 0; it must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["generative", "train", *arguments, "--output", str(tmp_path / "run")])
    assert code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
