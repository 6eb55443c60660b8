"""The settings of a run: defaults < shipped preset < `--config` file < flags."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daif.experiments.environments import MAX_DECISIONS, PLANT_ENV, find_env
from daif.experiments.names import unknown
from daif.experiments.registry import AgentEntry, find_agent
from daif.experiments.settings import SettingsError, build, read_yaml, to_plain

GENERAL = "general"
"""The preset for an environment that has none of its own."""
PRESETS_FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class PeriodicEvaluation:
    """Evaluations during training; they choose the best checkpoint, on seeds that no reported evaluation uses."""

    every: int | None = None
    """Epochs from one to the next, 0 for none; by default about twenty in a run."""
    episodes: int = 10
    """Episodes, on environments with episodes."""
    max_decisions: int = MAX_DECISIONS
    """Decisions after which an episode is cut, for environments without a time limit."""
    replications: int = 64
    """Independent plants, on the workstation."""
    days: float = 0.5
    """Simulated days of each plant that count, on the workstation."""
    response_days: float = 0.35
    """Simulated days under the policy before them."""
    deterministic: bool = True
    """Act greedily, not as sampled."""

    def __post_init__(self) -> None:
        for name in ("episodes", "max_decisions", "replications"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not self.days > 0.0 or not self.response_days >= 0.0:
            raise ValueError(f"days is {self.days} and response_days {self.response_days}; days must be above 0.")


@dataclass(frozen=True)
class RunConfig:
    """Everything that a training run follows from."""

    env: str = PLANT_ENV
    """Gymnasium id; `module:namespace/Name-v0` imports the module first."""
    agent: str = "daif"
    """Registered name of the agent."""
    preset: str | None = None
    """Shipped preset that the settings started from."""
    seed: int = 0
    """Seed of the run."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    steps: int | None = None
    """Training decisions; by default what the agent's settings say."""
    device: str = "cpu"
    """cpu, cuda, cuda:N, or auto."""
    threads: int = 1
    """Threads of torch; small networks are fastest on one."""
    evaluation: PeriodicEvaluation = field(default_factory=PeriodicEvaluation)
    """Evaluations during training."""
    checkpoint_every: int = 0
    """Epochs between numbered checkpoints, 0 for none; `latest` and `best` are always kept."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the agent."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must not be negative.")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1.")
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}; it must be at least 1.")
        if self.checkpoint_every < 0:
            raise ValueError(f"checkpoint_every is {self.checkpoint_every}; it must not be negative.")

    @property
    def entry(self) -> AgentEntry:
        """The registered agent."""
        return find_agent(self.agent)

    @property
    def full_env_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment, with those that the agent needs."""
        return {**self.env_kwargs, **self.entry.env_kwargs}

    def agent_settings(self) -> Any:
        """Return the agent's typed settings."""
        return self.entry.build_settings(self.settings, self.steps)

    def resolved(self) -> dict[str, Any]:
        """Return everything as plain data, the agent's defaults included."""
        plain = to_plain(self)
        plain["settings"] = to_plain(build(self.entry.settings(), self.settings))
        return plain


def resolve(
    *,
    env: str | None = None,
    agent: str | None = None,
    preset: str | None = None,
    config: Mapping[str, Any] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **flags: Any,
) -> RunConfig:
    """Return the settings of a run, merged from all sources and checked.

    Args:
        env: id from the flags.
        agent: name from the flags.
        preset: name of a shipped preset, "none" for none; by default the environment's, if it has one.
        config: contents of a configuration file.
        env_kwargs: arguments of the environment from the flags.
        settings: settings of the agent from the flags.
        flags: other fields of `RunConfig` from the flags; None means not given.

    Raises:
        SettingsError: in one sentence, with the closest name where one is mistyped.
    """
    config = dict(config or {})
    _check_fields(config)
    agent_name = agent or config.get("agent") or RunConfig.agent
    find_agent(agent_name)
    wanted_env = env or config.get("env")
    if wanted_env is not None:
        find_env(wanted_env)
    preset_name, base = _preset(agent_name, preset or config.get("preset"), wanted_env)
    merged = _merge(base, config)
    merged = _merge(merged, {name: value for name, value in flags.items() if value is not None})
    merged = _merge(merged, {"env_kwargs": dict(env_kwargs or {}), "settings": dict(settings or {})})
    merged.update(agent=agent_name, preset=preset_name)
    merged["env"] = wanted_env or base.get("env") or RunConfig.env
    run = build(RunConfig, merged)
    find_env(run.env)
    run.agent_settings()
    return run


def load_preset(agent: str, name: str) -> dict[str, Any]:
    """Return a shipped preset of an agent, or raise a sentence with the closest names."""
    presets = preset_names(agent)
    if name not in presets:
        if not presets:
            raise SettingsError(f"Agent {agent!r} has no presets.")
        raise SettingsError(unknown(f"preset of agent {agent}", name, presets))
    content = read_yaml(PRESETS_FOLDER / agent / f"{name}.yaml")
    content.pop("description", None)
    content.pop("default", None)
    _check_fields(content)
    return content


def preset_names(agent: str) -> list[str]:
    """Return the names of an agent's shipped presets."""
    return sorted(file.stem for file in (PRESETS_FOLDER / agent).glob("*.yaml"))


def default_preset(agent: str, env: str) -> str | None:
    """Return the agent's preset for an environment: the one marked `default: true` there, else its `general` one."""
    for name in preset_names(agent):
        content = read_yaml(PRESETS_FOLDER / agent / f"{name}.yaml")
        if content.get("env") == env and content.get("default", False):
            return name
    return GENERAL if GENERAL in preset_names(agent) else None


def _preset(agent: str, name: str | None, env: str | None) -> tuple[str | None, dict[str, Any]]:
    if name == "none":
        return None, {}
    if name is None:
        name = default_preset(agent, env or RunConfig.env)
        return (name, load_preset(agent, name)) if name else (None, {})
    content = load_preset(agent, name)
    if env is not None and content.get("env", env) != env:
        raise SettingsError(f"Preset {name!r} is for {content['env']}, not for {env}.")
    return name, content


def _check_fields(values: Mapping[str, Any]) -> None:
    fields = [entry.name for entry in dataclasses.fields(RunConfig)]
    for name in values:
        if name not in fields:
            raise SettingsError(unknown("setting", name, fields))


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Later values win; the mappings of arguments, settings and evaluation are merged by key."""
    merged = dict(base)
    for name, value in over.items():
        if name in ("env_kwargs", "settings", "evaluation") and value is not None:
            if not isinstance(value, Mapping):
                raise SettingsError(f"{name} is {value!r}; it must be a mapping.")
            merged[name] = {**merged.get(name, {}), **value}
        else:
            merged[name] = value
    return merged
