"""The five packages are this project's, and the distribution holds them with their data."""

import importlib
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from daif.experiments import packages

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", packages.PACKAGES)
def test_packages_resolve_to_this_project(name):
    module = importlib.import_module(name)
    assert Path(module.__file__).resolve() == ROOT / name / "__init__.py"


def test_the_five_packages_are_built():
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == list(packages.PACKAGES)
    assert packages.shadowed() == []


def test_a_package_of_the_same_name_is_refused_by_the_command_line(tmp_path):
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "__init__.py").write_text("")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; "
        "from daif.cli import main; sys.exit(main(['agents']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert "The package 'baselines' resolves to" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_distribution_cannot_be_uploaded_by_accident():
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]
    assert PROJECT["project"]["scripts"] == {"daif": "daif.cli:main"}


def test_shipped_data_lies_inside_the_packages():
    for file in ("presets/ppo/workstation.yaml", "reference/paper_table.csv", "reference/front.csv"):
        assert (ROOT / "daif" / "experiments" / file).is_file()


@pytest.mark.parametrize("name", ["authors_code_learning_curve.csv", "paper_table.csv"])
def test_shipped_reference_data_is_the_tested_one(name):
    assert (ROOT / "daif/experiments/reference" / name).read_text() == (ROOT / "tests/reference" / name).read_text()


def test_importing_the_environments_leaves_torch_alone():
    code = (
        "import sys; import envs; import gymnasium; gymnasium.make('daif/EnergyControl-v0').reset(seed=0); "
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "False"


def test_the_command_line_starts_without_torch():
    code = (
        "import sys; import daif.cli; "
        "print(sorted({'torch', 'stable_baselines3', 'matplotlib', 'numba'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"
