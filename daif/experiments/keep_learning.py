"""Turns a trained agent into one that keeps learning while it is evaluated; the trained one stays as it is."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from daif.experiments.protocol import Agent
from daif.experiments.settings import SettingsError, build


@runtime_checkable
class KeepsLearning(Agent, Protocol):
    """An agent that learns from what its actions bring."""

    def begin(self, num_envs: int) -> None:
        """Start in environments that have just been reset."""
        ...

    def receive(self, rewards: np.ndarray, info: Mapping[str, Any]) -> None:
        """Take in what the latest actions brought: rewards (N,) and the entries of `info`, (N,) each."""
        ...

    def figures(self) -> dict[str, float]:
        """Return what learning did, by name."""
        ...


def keep_learning(agent: Agent, settings: Mapping[str, Any]) -> KeepsLearning:
    """Return a copy of a trained DAIF agent or DQN that keeps learning.

    Args:
        agent: the trained one.
        settings: fields of `daif.adaptation.AdaptationConfig` by name; a DQN goes on as it was trained and takes none.

    Raises:
        SettingsError: for another agent, or settings that cannot be used.
    """
    from daif.adaptation import AdaptationConfig, AdaptiveAgent
    from daif.agent import DAIFAgent

    try:
        if isinstance(agent, DAIFAgent):
            return AdaptiveAgent(agent, build(AdaptationConfig, settings, what="setting of --adapt"))
        from baselines.continual_dqn import ContinualDQN
        from baselines.sb3 import SB3Learner

        if not isinstance(agent, SB3Learner):
            raise SettingsError("--adapt is for runs of daif and dqn; this agent does not learn.")
        if settings:
            raise SettingsError("--adapt takes no settings for a DQN, which goes on as it was trained.")
        return ContinualDQN(agent)
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"--adapt: {str(error).rstrip('.')}.") from None
