"""Perturbed actors: one for each environment, which decides by its own parameters and has its own code."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from daif.actor import Actor
from daif.agent import DAIFAgent
from daif.config import DAIFConfig
from daif.interaction import Interaction
from daif.perturbation import PerturbedActors
from daif.policy_encoding import policy_encoding
from world_models.likelihood import ObservationCodec


@pytest.mark.parametrize("encoding", ["activations", "probes", "parameters", "none"])
@pytest.mark.parametrize(
    "action_space",
    [spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), spaces.Box(-1.0, 1.0, (2,))],
    ids=["discrete", "joint", "box"],
)
def test_each_copy_is_an_actor_of_its_own(action_space: spaces.Space, encoding: str) -> None:
    torch.manual_seed(0)
    actor = Actor(4, action_space, (8, 6))
    encode = policy_encoding(encoding, actor, 4, 3)
    before = copy.deepcopy(actor.state_dict())
    copies = PerturbedActors(actor, encode, 5, 0.3)
    features = torch.randn(5, 4)
    outputs, codes = copies.outputs(features), copies.codes(features)
    for i in range(5):
        own = copy.deepcopy(actor)
        own.load_state_dict({name: value[i] for name, value in copies.parameters.items()}, strict=False)
        row = features[i : i + 1]
        torch.testing.assert_close(outputs[i], own.hidden_and_outputs(row)[1][0])
        torch.testing.assert_close(codes[i], encode(own, row)[0])
    assert all(torch.equal(value, before[name]) for name, value in actor.state_dict().items())


def test_the_noise_is_relative_to_the_parameters() -> None:
    torch.manual_seed(0)
    actor = Actor(4, spaces.Discrete(3), (32, 32))
    for parameter, factor in zip(actor.parameters(), (0.1, 1.0, 10.0, 100.0, 3.0, 0.01), strict=True):
        parameter.data.mul_(factor)
    copies = PerturbedActors(actor, policy_encoding("none", actor, 4, 1), 4000, 0.2)
    for name, value in actor.state_dict().items():
        deviation = (copies.parameters[name] - value).square().mean().sqrt()
        torch.testing.assert_close(deviation, 0.2 * value.square().mean().sqrt(), rtol=0.05, atol=0.0)


def test_images_are_read_by_perturbed_convolutions() -> None:
    torch.manual_seed(0)
    codec = ObservationCodec(spaces.Box(0, 255, (32, 32, 3), np.uint8))
    actor = Actor(codec.size, spaces.Discrete(3), (16,), codec.parts)
    copies = PerturbedActors(actor, policy_encoding("none", actor, codec.size, 1), 2, 0.3)
    image = torch.rand(1, codec.size).expand(2, -1)
    outputs = copies.outputs(image)
    assert not torch.allclose(outputs[0], outputs[1])
    own = copy.deepcopy(actor)
    own.load_state_dict({name: value[1] for name, value in copies.parameters.items()}, strict=False)
    torch.testing.assert_close(outputs[1], own.hidden_and_outputs(image[1:])[1][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_rows_keep_the_code_of_the_copy_that_acted(noise: float) -> None:
    config = DAIFConfig(horizon=4, segment=8, num_envs=3, policy_encoding="parameters", actor_noise=noise)
    envs = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    agent = DAIFAgent(envs.single_observation_space, envs.single_action_space, config, seed=0)
    interaction = Interaction(envs, agent, 0, {})
    with agent.random.active():
        first, second = interaction.run(agent).codes, interaction.run(agent).codes
    flat = torch.cat([parameter.flatten() for parameter in agent.actor.parameters()]).detach().numpy()
    assert np.array_equal(first[0], first[-1]), "one copy for a segment"
    if noise:
        assert (first[0, 0] != first[0, 1]).all(), "another copy for another environment"
        assert (first[0] != second[0]).all(), "and for the next segment"
        assert np.corrcoef(first[0, 0], flat)[0, 1] > 0.7
    else:
        assert (first == flat).all()
        assert (second == flat).all()
