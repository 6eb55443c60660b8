"""Which way imports point, by reading the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWN = {"daif", "envs", "baselines", "world_models", "generative"}
ALLOWED = {
    "generative": {"generative"},
    "world_models": {"generative", "world_models"},
    "envs": {"envs"},
    "baselines": {"envs", "baselines", "generative", "world_models"},
    "daif": {"generative", "world_models", "daif"},
    "experiments": OWN,
}
FORBIDDEN_OUTSIDE = {
    "generative": {"gymnasium", "stable_baselines3", "simpy", "tyro", "rich"},
    "world_models": {"stable_baselines3", "simpy", "tyro", "rich"},
    "envs": {"torch", "stable_baselines3", "tyro"},
    "daif": {"stable_baselines3", "simpy", "tyro", "rich"},
}
FILES = [file for package in sorted(OWN) for file in sorted((ROOT / package).rglob("*.py"))]


def layer(file: Path) -> str:
    parts = file.relative_to(ROOT).parts
    if parts[0] == "daif" and (parts[1] == "experiments" or parts[1] in ("cli.py", "__main__.py")):
        return "experiments"
    return parts[0]


def imports(file: Path) -> set[str]:
    """All modules that a file imports, also inside functions; relative imports are resolved."""
    found = set()
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            found.add(".".join(part for part in (base, node.module) if part))
    return found


def violations(file: Path, modules: set[str]) -> list[str]:
    where = layer(file)
    wrong = [m for m in modules if m.split(".")[0] in OWN - ALLOWED[where]]
    wrong += [m for m in modules if m.split(".")[0] in FORBIDDEN_OUTSIDE.get(where, set())]
    if where == "daif":
        wrong += [m for m in modules if m.startswith(("daif.experiments", "daif.cli"))]
    return sorted(wrong)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_the_right_way(file):
    assert violations(file, imports(file)) == []


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("generative/nn.py", "world_models.losses"),
        ("generative/nn.py", "gymnasium"),
        ("world_models/losses.py", "daif.agent"),
        ("envs/factory.py", "torch.nn"),
        ("envs/factory.py", "baselines"),
        ("baselines/sb3.py", "daif.experiments.protocol"),
        ("daif/agent.py", "envs"),
        ("daif/agent.py", "daif.experiments.train"),
        ("daif/agent.py", "stable_baselines3"),
    ],
)
def test_a_wrong_import_would_be_found(file, module):
    assert violations(ROOT / file, {module}) == [module]


def test_relative_imports_are_resolved(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "daif" / "experiments" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text("def f():\n    from ..agent import A\n    from . import train\n    import envs.factory\n")
    assert imports(file) == {"daif.agent", "daif.experiments", "envs.factory"}


def test_the_seven_rooms_are_there():
    for name in (*sorted(OWN), "tests", "runs"):
        assert (ROOT / name).is_dir()
    for name in ("tests", "runs"):
        assert not (ROOT / name / "__init__.py").exists()
