"""What the experiments ask of an agent: how to act, how to learn an epoch, what to save."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

MakeEnvs = Callable[[int, int], VectorEnv]
"""Makes `num_envs` environments with same-step autoreset; the caller resets them, with the seed it gave."""

Tensors = dict[str, Any]
"""Nested mappings of tensors and plain numbers, as `state_dict()` returns them."""


@runtime_checkable
class Agent(Protocol):
    """Chooses actions for a batch of environments.

    An agent that remembers something from one decision to the next also has `begin(num_envs)`, which is called before
    the first decision of every evaluation.
    """

    observation_space: spaces.Space
    """The space of a single environment's observation."""
    action_space: spaces.Space
    """The space of a single environment's action."""

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return one action per environment for observations batched as Gymnasium's vector environments batch them."""
        ...


@runtime_checkable
class Learner(Agent, Protocol):
    """An agent that is trained in epochs, each from freshly reset environments, so that it resumes bit for bit."""

    decisions: int
    """Environment decisions trained on so far, all environments together."""

    @property
    def epochs(self) -> int:
        """Planned number of epochs."""
        ...

    def learn_epoch(self, make_envs: MakeEnvs, epoch: int) -> dict[str, float]:
        """Train for one epoch, counted from 0, and return its metrics by name."""
        ...

    def state(self) -> tuple[Tensors, dict[str, np.ndarray], dict[str, Any]]:
        """Return tensors, arrays and JSON-able metadata that together continue the training bit for bit."""
        ...

    def load_state(self, tensors: Tensors, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        ...
