"""No tensor of the host meets one of the device: every step of the algorithm on PyTorch's device without data, "meta".

Operations there follow shapes and devices as real ones do, and fail where two devices meet, so that a machine without
an accelerator finds what would break on one.
"""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from daif.agent import DAIFAgent
from daif.algorithm import improve_policy, learn_critic, learn_model
from daif.config import DAIFConfig
from daif.memory import Segment
from daif.optimiser import OwnedAdam

OBSERVATION = spaces.Dict(
    {
        "buffer": spaces.Discrete(3),
        "machines": spaces.MultiDiscrete([3, 3]),
        "scores": spaces.Box(0.0, 1.0, (2,)),
        "speed": spaces.Box(-np.inf, np.inf, (2,)),
        "camera": spaces.Box(0, 255, (4, 4, 3), np.uint8),
    }
)
FLAT = spaces.Dict({name: space for name, space in OBSERVATION.items() if name != "camera"})
DISCRETE, CONTINUOUS = spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,))
TINY = {
    "horizon": 2, "segment": 3, "memory": 4, "latent_dim": 3, "hidden": (6,), "actor_hidden": (5, 4), "samples": 3,
    "inner_samples": 2, "probes": 3, "num_envs": 2, "model_batch": 4, "policy_batch": 4, "dropout": 0.2,
}  # fmt: skip
CRITIC = {"action_conditioned": True, "critic": "discounted", "discount": 0.9, "critic_hidden": (6,), "steps": 2}
GOAL = "goal=" + ",".join("_" * 11 + "00")
OUTCOMES = "outcomes:lost=1..4,wasted_kj=2"
CASES = {
    "paper": (OBSERVATION, DISCRETE, {"preference": "observation:scores[-1]"}),
    "probes, horizon": (OBSERVATION, DISCRETE, {"policy_encoding": "probes", "horizon_conditioned": True}),
    "parameters, goal": (FLAT, CONTINUOUS, {"policy_encoding": "parameters", "preference": GOAL}),
    "first action": (FLAT, DISCRETE, {"action_conditioned": True, "outcome_head": "jump", "preference": OUTCOMES}),
    "critic": (
        OBSERVATION, DISCRETE,
        {**CRITIC, "preference": OUTCOMES, "rare_outcomes": ("lost",), "soft_value": True, "entropy_weight": 0.1},
    ),
    "critic, continuous": (FLAT, CONTINUOUS, {**CRITIC, "adapt_entropy_weight": True, "entropy_weight": 0.1}),
    "ensemble": (FLAT, DISCRETE, {**CRITIC, "theta": "ensemble", "parameter_estimator": "mixture", "autoencode": True}),
    "ensemble of images": (OBSERVATION, DISCRETE, {"theta": "ensemble"}),
}  # fmt: skip


def _filled(case: str) -> DAIFAgent:
    observation_space, action_space, settings = CASES[case]
    agent = DAIFAgent(observation_space, action_space, DAIFConfig(**(TINY | settings)), seed=0)
    t, n = 3, 2
    observation_space.seed(0)
    rows = [spaces.flatten(observation_space, observation_space.sample()) for _ in range((t + 1) * n)]
    observations = np.stack(rows).astype(np.float32).reshape(t + 1, n, -1)
    features = agent.features(torch.from_numpy(observations[0]), agent.weights.sample(n))
    codes = np.repeat(agent.encoding(agent.actor, features).detach().numpy()[None], t, 0)
    actions = np.zeros((t, n, 1 if agent.actor.discrete else 2), np.float32)
    outcomes, flags = np.ones((t, n, len(agent.weights.names)), np.float32), np.zeros((t, n), bool)
    agent.memory.add(Segment(observations, actions, outcomes, flags, flags, codes))
    return agent


def _move(agent: DAIFAgent, device: str) -> None:
    agent.device = torch.device(device)
    for module in (*agent._modules().values(), agent.models, agent.view):
        module.to(device)
    agent.log_temperature = torch.nn.Parameter(agent.log_temperature.detach().to(device))
    agent.model_optimisers = [agent._model_optimisers(model) for model in agent.models.learners]
    agent.optimisers["actor"] = OwnedAdam(agent.actor.parameters(), 1e-3)
    if agent.critic is not None:
        agent.optimisers["critic"] = OwnedAdam(agent.critic.online.parameters(), 1e-3)
    if agent.adapts_temperature:
        agent.optimisers["temperature"] = OwnedAdam([agent.log_temperature], 1e-3)


@pytest.mark.parametrize("case", CASES)
def test_every_step_stays_on_the_device(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnedAdam, "apply", lambda self: None)  # Adam reads its count of steps
    agent = _filled(case)
    _move(agent, "meta")
    c = agent.config
    agent.codec.update(torch.ones(5, agent.codec.size))  # what a segment brought
    metrics = {}
    for learner in range(len(agent.models.learners)):
        metrics |= learn_model(agent, agent.rows(c.model_batch * agent.models.stacked, c.horizon), learner)
    if agent.critic is not None:
        metrics |= learn_critic(agent, agent.rows(c.policy_batch, c.steps))
    metrics |= improve_policy(agent, agent.observations(c.policy_batch))
    assert {value.device.type for value in metrics.values()} == {"meta"}
