"""What `daif envs`, `daif agents` and `daif world-models` print."""

import ast
import dataclasses
import inspect
import pkgutil
import textwrap
from pathlib import Path

import gymnasium

import world_models
from daif.experiments.config import preset_names
from daif.experiments.environments import find_env
from daif.experiments.registry import AGENTS, find_agent

_FAMILIES = ("classic_control", "toy_text", "box2d")


def env_rows() -> list[tuple[str, str]]:
    """Return the project's environments and Gymnasium's small families, each with a line."""
    rows = []
    for env_id, spec in gymnasium.registry.items():
        if env_id.startswith("daif/"):
            rows.append((env_id, _first_line(_env_docstring(env_id))))
        elif any(f".{family}" in str(spec.entry_point) for family in _FAMILIES) and "/" not in env_id:
            rows.append((env_id, f"Gymnasium, {str(spec.entry_point).split('.')[2].split(':')[0].replace('_', ' ')}"))
    return [*sorted(rows, key=lambda row: (not row[0].startswith("daif/"), row[0])), ("...", "any Gymnasium id works")]


def env_specification(env_id: str) -> str:
    """Return an environment's specification: its docstring, spaces and registration."""
    spec = find_env(env_id)
    lines = [f"{spec.id}", "", inspect.cleandoc(_env_docstring(env_id))]
    if spec.max_episode_steps:
        lines += ["", f"Truncated after {spec.max_episode_steps} decisions."]
    if spec.kwargs:
        lines += ["", f"Registered arguments: {spec.kwargs}"]
    return "\n".join(lines)


def agent_rows() -> list[tuple[str, str, str, str]]:
    """Return the agents, each with whether it learns, its presets and a line."""
    return [
        (name, "yes" if entry.learns else "no", ", ".join(preset_names(name)), entry.summary)
        for name, entry in AGENTS.items()
    ]


def setting_rows(agent: str) -> list[tuple[str, str, str]]:
    """Return an agent's settings with their defaults and docstrings."""
    cls = find_agent(agent).settings()
    docs = field_docstrings(cls)
    rows = []
    for field in dataclasses.fields(cls):
        default = field.default
        if default is dataclasses.MISSING:
            default = field.default_factory() if field.default_factory is not dataclasses.MISSING else "(required)"
        rows.append((field.name, str(default), docs.get(field.name, "")))
    return rows


def world_model_rows() -> list[tuple[str, str]]:
    """Return the modules of `world_models` with the first line of their docstrings."""
    folder = Path(world_models.__file__ or "").parent
    rows = []
    for module in pkgutil.iter_modules([str(folder)]):
        source = folder / f"{module.name}.py"
        if source.is_file():
            docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
            rows.append((module.name, _first_line(docstring)))
    return rows


def field_docstrings(cls: type) -> dict[str, str]:
    """Return the docstring that follows each field of a dataclass, base classes included."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                docs[field.target.id] = " ".join(str(text.value.value).split())
    return docs


def _env_docstring(env_id: str) -> str:
    spec = find_env(env_id)
    if spec.id == "daif/EnergyControl-v0":
        from envs.energy_control.env import EnergyControlEnv

        return EnergyControlEnv.__doc__ or ""
    entry = spec.entry_point
    target = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    return inspect.getdoc(target) or "No description."


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
