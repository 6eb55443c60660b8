"""The agents by name: what each is, its settings, how it is built. Nothing heavy is imported before it is asked for."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium import spaces

from daif.experiments.names import unknown
from daif.experiments.protocol import Agent
from daif.experiments.settings import SettingsError, build


@dataclass(frozen=True)
class BuildContext:
    """What an agent is built for."""

    observation_space: spaces.Space
    """The space of a single environment's observation."""
    action_space: spaces.Space
    """The space of a single environment's action."""
    seed: int
    """Of everything that the agent draws."""
    device: str
    """Where its networks live."""
    env_kwargs: Mapping[str, Any]
    """Arguments of the environment, for agents that are computed from the plant."""


@dataclass(frozen=True)
class AgentEntry:
    """A registered agent."""

    name: str
    """Its name on the command line."""
    summary: str
    """One line."""
    settings: Callable[[], type]
    """Imports and returns the dataclass of its settings."""
    create: Callable[[BuildContext, Any], Agent]
    """Builds it from its settings."""
    learns: bool = False
    """Whether it is trained."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that the environment must be made with for this agent."""
    plan: Callable[[Any, int], Any] | None = None
    """Returns the settings for a planned number of training decisions."""

    def build_settings(self, values: Mapping[str, Any], steps: int | None = None) -> Any:
        """Return the typed settings, planned for `steps` training decisions if given."""
        settings: Any = build(self.settings(), values, what=f"setting of agent {self.name}")
        return settings if steps is None or self.plan is None else self.plan(settings, steps)

    def build(self, context: BuildContext, settings: Any) -> Agent:
        """Return the agent."""
        return self.create(context, settings)


def find_agent(name: str) -> AgentEntry:
    """Return a registered agent, or raise a sentence with the closest names."""
    if name not in AGENTS:
        raise SettingsError(unknown("agent", name, AGENTS))
    return AGENTS[name]


def _daif_settings() -> type:
    from daif.config import DAIFConfig

    return DAIFConfig


def _daif(context: BuildContext, settings: Any) -> Agent:
    from daif.agent import DAIFAgent

    return DAIFAgent(
        context.observation_space, context.action_space, settings, seed=context.seed, device=context.device
    )


def _plan_daif(settings: Any, steps: int) -> Any:
    """The number of epochs follows from the decisions; less than an epoch shortens the epoch."""
    decisions = settings.num_envs * (settings.segment or settings.horizon)
    iterations = min(settings.iterations, max(1, steps // decisions))
    return dataclasses.replace(
        settings, iterations=iterations, epochs=max(1, math.ceil(steps / (iterations * decisions)))
    )


def _sb3_settings(name: str) -> Callable[[], type]:
    def settings() -> type:
        from baselines import sb3

        return {"dqn": sb3.DQNSettings, "ppo": sb3.PPOSettings, "sac": sb3.SACSettings}[name]

    return settings


def _sb3(context: BuildContext, settings: Any) -> Agent:
    from baselines.sb3 import SB3Learner

    return SB3Learner(
        context.observation_space, context.action_space, settings, seed=context.seed, device=context.device
    )


def _plan_steps(settings: Any, steps: int) -> Any:
    return dataclasses.replace(settings, total_steps=steps)


def _rule_settings(name: str) -> Callable[[], type]:
    def settings() -> type:
        from baselines import heuristics

        return heuristics.RULES[name].settings

    return settings


def _rule(name: str) -> Callable[[BuildContext, Any], Agent]:
    def create(context: BuildContext, settings: Any) -> Agent:
        from baselines import heuristics

        return heuristics.RULES[name](context.observation_space, context.action_space, settings, seed=context.seed)

    return create


def _optimal_settings() -> type:
    from baselines.optimal import OptimalSettings

    return OptimalSettings


def _optimal(context: BuildContext, settings: Any) -> Agent:
    from baselines.optimal import OptimalAgent

    return OptimalAgent(context.observation_space, context.action_space, settings, env_kwargs=context.env_kwargs)


def _rule_entry(name: str, summary: str) -> AgentEntry:
    return AgentEntry(name, summary, _rule_settings(name), _rule(name))


_ENTRIES = (
    AgentEntry(
        "daif", "deep active inference: expected free energy over an overshooting world model",
        _daif_settings, _daif, learns=True, plan=_plan_daif,
    ),
    AgentEntry(
        "dqn", "deep Q-network of Stable-Baselines3", _sb3_settings("dqn"), _sb3, learns=True, plan=_plan_steps,
    ),
    AgentEntry(
        "ppo", "proximal policy optimisation of Stable-Baselines3",
        _sb3_settings("ppo"), _sb3, learns=True, plan=_plan_steps,
    ),
    AgentEntry(
        "sac", "soft actor-critic of Stable-Baselines3", _sb3_settings("sac"), _sb3, learns=True, plan=_plan_steps,
    ),
    _rule_entry("random", "uniformly random actions, in any environment"),
    _rule_entry("all-on", "all machines on, the reference of loss and saving"),
    _rule_entry("constant", "a fixed number of machines on"),
    _rule_entry("busy-plus-waiting", "as many machines on as are busy or failed, plus the waiting parts"),
    _rule_entry("hysteresis", "between two numbers of machines, by two thresholds of the buffer"),
    _rule_entry("threshold-linear", "a clipped linear function of the parts in the workstation"),
    AgentEntry(
        "optimal", "the exact optimum of the workstation for a weight in kJ per part",
        _optimal_settings, _optimal, env_kwargs={"observe_event": True},
    ),
)  # fmt: skip

AGENTS: dict[str, AgentEntry] = {entry.name: entry for entry in _ENTRIES}
