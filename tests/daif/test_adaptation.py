"""Adaptation by real parts: a tiny agent trained in two rooms, whose costs then jump."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from daif.adaptation import AdaptationConfig, AdaptiveAgent, worse
from daif.agent import DAIFAgent
from daif.config import DAIFConfig

SETTINGS = {
    "epochs": 3, "iterations": 60, "horizon": 1, "segment": 8, "num_envs": 4, "critic": "discounted", "discount": 0.8,
    "action_conditioned": True, "policy_encoding": "none", "memory": 200, "policy_batch": 64, "exploration": 0.5,
    "exploration_end": 0.5, "entropy_weight": 0.05, "policy_update": "posterior", "policy_steps": 4, "model_steps": 0,
    "preference": "outcomes:rent=0.5..2,move=1", "state_weight": 0.0, "parameter_weight": 0.0, "target_rate": 0.05,
    "actor_learning_rate": 3e-3, "critic_learning_rate": 3e-3, "critic_hidden": (32,), "actor_hidden": (16,),
}  # fmt: skip
QUICK = {"window": 10, "reference_every": 3, "policy_steps": 4, "batch": 64, "target_rate": 0.05, "exploration": 0.3}


class TwoRooms(gym.Env):
    """Observation: the room. Room 0 costs a rent; action 1 there, for a move, leads to a free decision in room 1."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def __init__(self, move: float) -> None:
        self.move = move

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.room = 0
        return self.room, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        leaves = self.room == 0 and action == 1
        rent, move = float(self.room == 0), self.move * leaves
        self.room = int(leaves)
        return self.room, 0.0, False, False, {"rent": rent, "move": move}


def rooms(move: float, num_envs: int = 4) -> VectorEnv:
    return SyncVectorEnv([lambda: TwoRooms(move)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)


@pytest.fixture(scope="module")
def trained() -> DAIFAgent:
    """Learned where a move costs 20 rents: it stays in room 0."""
    agent = DAIFAgent(TwoRooms.observation_space, TwoRooms.action_space, DAIFConfig(**SETTINGS), seed=0)
    for epoch in range(3):
        agent.learn_epoch(lambda num_envs, seed: rooms(20.0, num_envs), epoch)
    assert agent.act(np.array([0]), deterministic=True).tolist() == [0]
    return agent


def run(adaptive: AdaptiveAgent, move: float, segments: int, *, deterministic: bool = False) -> list[list[int]]:
    """Run for so many segments (and the decision behind them) and return the actions."""
    envs = rooms(move)
    seen, _ = envs.reset(seed=0)
    adaptive.begin(envs.num_envs)
    actions = []
    for _ in range(SETTINGS["segment"] * segments + 1):
        action = adaptive.act(seen, deterministic=deterministic)
        seen, rewards, _, _, info = envs.step(action)
        adaptive.receive(rewards, info)
        actions.append(action.tolist())
    return actions


def flat(agent: DAIFAgent) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in agent.actor.parameters()])


def snapshot(agent: DAIFAgent) -> tuple[Any, ...]:
    return copy.deepcopy((agent.state(), agent.exploration, agent.config, agent.run_time_weights))


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, torch.Tensor | np.ndarray):
        return bool((torch.as_tensor(a) == torch.as_tensor(b)).all())
    return a == b


def test_it_learns_what_jumped_and_the_trained_agent_stays_as_it_is(trained: DAIFAgent) -> None:
    before = snapshot(trained)
    adaptive = AdaptiveAgent(trained, AdaptationConfig(**QUICK, learning_rate=1.0, max_divergence=100.0))
    run(adaptive, move=0.1, segments=100)
    assert adaptive.agent.act(np.array([0]), deterministic=True).tolist() == [1]
    assert adaptive.figures()["divergence_nats"] > 0.1
    assert adaptive.decisions == 100 * 8 * 4
    assert equal(before, snapshot(trained))
    assert trained.act(np.array([0]), deterministic=True).tolist() == [0]


def test_the_seed_decides(trained: DAIFAgent) -> None:
    config = AdaptationConfig(**QUICK)
    first, second = AdaptiveAgent(trained, config), AdaptiveAgent(trained, config)
    assert run(first, 1.0, 25) == run(second, 1.0, 25)
    assert flat(first.agent).equal(flat(second.agent))


def test_nothing_is_learned_in_the_first_window(trained: DAIFAgent) -> None:
    adaptive = AdaptiveAgent(trained, AdaptationConfig(**QUICK))
    run(adaptive, 1.0, QUICK["window"])
    assert flat(adaptive.agent).equal(flat(trained))
    assert not adaptive.is_reference
    run(adaptive, 1.0, 2)
    assert not flat(adaptive.agent).equal(flat(trained))


@pytest.mark.parametrize("bound", [0.0, 0.02, 0.3])
def test_the_policy_stays_within_the_bound(trained: DAIFAgent, bound: float) -> None:
    config = AdaptationConfig(**QUICK, learning_rate=3.0, max_divergence=bound, standard_errors=1e9)
    adaptive = AdaptiveAgent(trained, config)
    run(adaptive, 0.1, 60)
    states = torch.from_numpy(trained.codec.flatten(np.array([0, 1])))
    features = trained.features(states, trained.run_time_weights.expand(2, -1))
    assert adaptive.reversions == 0
    assert float(adaptive.figures()["divergence_nats"]) <= 1.2 * bound + 1e-6  # another sample of the same states
    assert (bound > 0.0) == (float(adaptive.divergence(features)) > 1e-6)


@pytest.mark.parametrize("damage", ["costly", "not finite"])
def test_a_bad_update_is_reverted(trained: DAIFAgent, damage: str) -> None:
    config = AdaptationConfig(**QUICK | {"exploration": 0.0}, learning_rate=1e-9, max_divergence=1e9)
    adaptive = AdaptiveAgent(trained, config)
    run(adaptive, 20.0, 21, deterministic=True)  # the third window, before the next one of the trained actor
    assert not adaptive.is_reference
    with torch.no_grad():
        if damage == "costly":  # it leaves whenever it can
            adaptive.agent.actor.readout.bias.copy_(torch.tensor([0.0, 100.0]))
        else:
            adaptive.agent.actor.readout.bias.fill_(float("nan"))
    run(adaptive, 20.0, 1 if damage == "not finite" else 19, deterministic=True)
    assert adaptive.reversions == 1
    assert flat(adaptive.agent).allclose(flat(trained), atol=1e-6)


def test_worse_by_hand() -> None:
    reference = np.array([1.0, 3.0])  # mean 2, variance 2: the error of the difference is sqrt(2/2 + 2/2) = 1.414
    assert worse(reference + 3.0, reference, 2.0)
    assert not worse(reference + 2.5, reference, 2.0)
    assert not worse(reference - 3.0, reference, 2.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 1}, "window is 1; it must be at least 2"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be positive"),
        ({"max_divergence": -1.0}, "max_divergence is -1.0; it must not be negative"),
        ({"exploration": 1.5}, "exploration is 1.5; it must lie from 0 to 1"),
    ],
)
def test_impossible_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptationConfig(**settings)


def test_a_preference_without_an_observed_cost_is_refused() -> None:
    config = DAIFConfig(preference="goal=1,_")
    agent = DAIFAgent(TwoRooms.observation_space, TwoRooms.action_space, config, seed=0)
    with pytest.raises(ValueError, match="has no observed cost"):
        AdaptiveAgent(agent, AdaptationConfig())
