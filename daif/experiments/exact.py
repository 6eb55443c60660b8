"""Trained policies on the plant's exact chain: their long-run figures, without simulation."""

import copy

import numpy as np

from daif.experiments.evaluate import stack
from daif.experiments.protocol import Agent
from daif.experiments.settings import SettingsError
from envs.energy_control.optimal import Chain


def chain_actions(agent: Agent, chain: Chain) -> np.ndarray:
    """Return the action of an agent, acting greedily, at each decision of the chain, (D,).

    Raises:
        SettingsError: for an agent that sees more than the state of the chain, such as the scores.
    """
    seen = chain.observations()
    rows = len(seen["event"])
    space = copy.deepcopy(agent.observation_space)
    space.seed(0)
    actions = []
    for fill in (space.sample(), space.sample()):  # what the chain does not know must not matter
        batch = stack(space, [fill] * rows)
        batch |= {name: values for name, values in seen.items() if name in batch}
        actions.append(agent.act(batch, deterministic=True))
    if not np.array_equal(actions[0], actions[1]):
        raise SettingsError(
            "The agent sees more than parts, machines and the kind of decision, such as the scores, "
            "so its policy is none of the plant's chain."
        )
    return actions[0]
