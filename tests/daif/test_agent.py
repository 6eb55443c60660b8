"""The agent as a whole: determinism, resumption, spaces, planning, the critic against exact values."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from daif.actor import Actor
from daif.agent import DAIFAgent
from daif.algorithm import epistemic_terms, learn_model
from daif.config import DAIFConfig
from envs.toy import IdentityEnv

ALGORITHM_1 = {"epochs": 4, "iterations": 2, "horizon": 10, "memory": 4, "model_batch": 4, "policy_batch": 4}
CRITIC = {
    "epochs": 4, "iterations": 4, "horizon": 1, "segment": 8, "num_envs": 2, "critic": "discounted", "discount": 0.9,
    "action_conditioned": True, "policy_encoding": "none", "memory": 50, "policy_batch": 16, "exploration": 0.2,
    "max_hold": 3, "entropy_weight": 0.05,
}  # fmt: skip
CONDITIONED = {
    "epochs": 4, "iterations": 2, "horizon": 6, "segment": 12, "num_envs": 2, "horizon_conditioned": True,
    "action_conditioned": True, "policy_encoding": "probes", "memory": 8,
}  # fmt: skip
PERTURBED = CONDITIONED | {"policy_encoding": "parameters", "actor_noise": 0.2}
FLOW = CONDITIONED | {"transition": "flow", "theta": "ensemble"}


def make(env_id: str) -> Any:
    def make_envs(num_envs: int, seed: int) -> VectorEnv:
        kwargs = {"autoreset_mode": AutoresetMode.SAME_STEP}
        return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="sync", vector_kwargs=kwargs)

    return make_envs


def agent_for(env_id: str, settings: dict, seed: int = 0) -> DAIFAgent:
    env = gym.make(env_id)
    return DAIFAgent(env.observation_space, env.action_space, DAIFConfig(**settings), seed=seed)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
@pytest.mark.parametrize(
    "settings",
    [ALGORITHM_1, CRITIC, CONDITIONED, PERTURBED, FLOW],
    ids=["algorithm-1", "critic", "conditioned", "perturbed", "flow"],
)
def test_trains_on_discrete_and_box_spaces_with_finite_metrics_and_resumes_bit_for_bit(
    env_id: str, settings: dict
) -> None:
    straight, interrupted = agent_for(env_id, settings), agent_for(env_id, settings)
    global_state = torch.get_rng_state()
    first = [straight.learn_epoch(make(env_id), epoch) for epoch in range(3)]
    assert torch.equal(global_state, torch.get_rng_state()), "the global generator stays as it was"
    assert all(np.isfinite(list(metrics.values())).all() for metrics in first)
    for epoch in range(2):
        interrupted.learn_epoch(make(env_id), epoch)
    resumed = agent_for(env_id, settings, seed=0)
    resumed.load_state(*interrupted.state())
    assert resumed.learn_epoch(make(env_id), 2) == first[2]
    assert resumed.decisions == straight.decisions


def test_the_seed_decides() -> None:
    metrics = [agent_for("CartPole-v1", ALGORITHM_1, seed).learn_epoch(make("CartPole-v1"), 0) for seed in (0, 0, 1)]
    assert metrics[0] == metrics[1]
    assert metrics[0] != metrics[2]


def test_a_model_that_autoencodes_knows_where_the_car_is() -> None:
    settings = {
        "epochs": 2, "iterations": 50, "num_envs": 8, "horizon": 1, "segment": 8, "memory": 50, "warm_up": 50,
        "max_hold": 30, "action_conditioned": True, "policy_encoding": "none", "preference": "reward", "latent_dim": 8,
        "dropout": 0.0, "beta": 0.001, "model_learning_rate": 1e-3, "transition_learning_rate": 1e-3,
    }  # fmt: skip
    errors = {}
    for autoencode in (False, True):
        agent = agent_for("MountainCar-v0", settings | {"autoencode": autoencode})
        agent.learn_epoch(make("MountainCar-v0"), 0)
        with agent.random.active():
            latest = [learn_model(agent, agent.rows(128, 1))["model/observation_error"] for _ in range(400)][-20:]
        errors[autoencode] = float(torch.stack(latest).mean())
    assert errors[True] < 0.2 < 0.5 < errors[False], "mean absolute errors, in standard deviations"


def test_the_epistemic_weights_fall_to_zero() -> None:
    settings = CRITIC | {"preference": "reward", "epistemic_until": 0.5, "state_weight": 2.0, "parameter_weight": 4.0}
    agent = agent_for("CartPole-v1", settings)
    weights = []
    for epoch in range(4):
        agent.learn_epoch(make("CartPole-v1"), epoch)
        weights.append((agent.efe.state_weight, agent.efe.parameter_weight))
    assert weights == [(2.0, 4.0), (1.0, 2.0), (0.0, 0.0), (0.0, 0.0)]
    assert not epistemic_terms(agent, agent.rows(8, 1)).any()


def test_planning_changes_a_copy_and_never_the_agent() -> None:
    agent = agent_for("CartPole-v1", ALGORITHM_1 | {"actor_learning_rate": 1e-2})
    agent.learn_epoch(make("CartPole-v1"), 0)
    before = [p.detach().clone() for p in agent.actor.parameters()]
    planner = agent.planner()
    observations = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    for _ in range(21):
        assert planner.act(observations).shape == (4,)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.actor.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before, planner.agent.actor.parameters(), strict=True))


def test_actions_lie_in_the_action_space() -> None:
    box = spaces.Box(np.float32([-3, 0]), np.float32([1, 5]))
    grid = spaces.MultiDiscrete(np.array([[2, 3], [4, 1]]), start=np.array([[0, -1], [5, 2]]))
    for space in (spaces.Discrete(3, start=2), spaces.MultiDiscrete([3, 2], start=[1, 0]), grid, box):
        agent = DAIFAgent(spaces.Box(-np.inf, np.inf, (2,)), space, DAIFConfig(**ALGORITHM_1), seed=0)
        for deterministic in (False, True):
            for action in agent.act(np.random.default_rng(0).normal(size=(50, 2)), deterministic=deterministic):
                assert space.contains(action)


def test_a_multidiscrete_policy_is_a_product_of_categoricals() -> None:
    actor = Actor(2, spaces.MultiDiscrete([3, 2]), (8,))
    seen = torch.randn(5, 2)
    outputs = actor.hidden_and_outputs(seen)[1]
    first, second = outputs[:, :3].softmax(-1), outputs[:, 3:].softmax(-1)
    assert actor(seen).probs.allclose((first.unsqueeze(-1) * second.unsqueeze(-2)).flatten(1), atol=1e-6)
    assert actor.to_environment(torch.arange(6)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    with pytest.raises(ValueError, match="has 1080 joint actions; the actor takes up to 1024"):
        Actor(2, spaces.MultiDiscrete([30, 36]), (8,))


class Lock(gym.Env):
    """Observation: a number from 0 to 2. The reward is 1 for the joint action (number, 1), else 0."""

    observation_space = spaces.Discrete(3)
    action_space = spaces.MultiDiscrete([3, 2])

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.number = int(self.np_random.integers(3))
        return self.number, {}

    def step(self, action: np.ndarray) -> tuple[int, float, bool, bool, dict]:
        reward = float(action[0] == self.number and action[1] == 1)
        self.number = int(self.np_random.integers(3))
        return self.number, reward, False, False, {}


def test_joint_actions_are_learned() -> None:
    settings = CRITIC | {
        "preference": "reward", "iterations": 30, "policy_steps": 4, "policy_batch": 64, "exploration": 0.5,
        "actor_learning_rate": 1e-2, "critic_learning_rate": 1e-2, "discount": 0.5, "pessimistic": False,
        "policy_update": "posterior", "model_steps": 0, "state_weight": 0.0, "parameter_weight": 0.0, "memory": 200,
        "critic_hidden": (32,),
    }  # fmt: skip
    agent = DAIFAgent(Lock.observation_space, Lock.action_space, DAIFConfig(**settings), seed=0)
    for epoch in range(3):
        agent.learn_epoch(
            lambda num_envs, seed: SyncVectorEnv([Lock] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP), epoch
        )
    assert agent.act(np.arange(3), deterministic=True).tolist() == [[0, 1], [1, 1], [2, 1]]


class TwoRooms(gym.Env):
    """Observation: the room. Action 1 goes to (or stays in) room 1. Cost: 1 in room 0, and 2 for action 1 in room 0."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.room = int(self.np_random.integers(2))
        return self.room, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        rent, move = float(self.room == 0), float(self.room == 0 and action == 1)
        self.room = int(action == 1)
        return self.room, -rent - 2.0 * move, False, False, {"rent": rent, "move": move}


def test_the_critic_finds_exact_values_and_the_preference_is_applied_afterwards() -> None:
    settings = CRITIC | {
        "preference": "outcomes:rent=1,move=0.2..20", "state_weight": 0.0, "parameter_weight": 0.0, "model_steps": 0,
        "iterations": 100, "policy_steps": 5, "policy_batch": 64, "exploration": 0.5, "actor_learning_rate": 3e-3,
        "critic_learning_rate": 3e-3, "target_rate": 0.05, "entropy_weight": 0.01, "pessimistic": False, "memory": 500,
    }  # fmt: skip
    agent = DAIFAgent(TwoRooms.observation_space, TwoRooms.action_space, DAIFConfig(**settings), seed=0)

    def make_envs(num_envs: int, seed: int) -> VectorEnv:
        return SyncVectorEnv([TwoRooms] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)

    for epoch in range(4):
        agent.learn_epoch(make_envs, epoch)
    rooms = np.array([0, 1])
    # γ = 0.9: staying in room 0 costs 1 / (1 - γ) = 10 rents, leaving it 1 rent and 1 move
    for move, best in ((0.2, [1, 1]), (1.0, [1, 1]), (20.0, [0, 1])):
        agent.prefer({"move": move})
        assert agent.act(rooms, deterministic=True).tolist() == best
    assert agent.critic is not None
    relative = agent.weights.relative({"move": 20.0}).expand(2, -1)
    with torch.no_grad():
        values = agent.critic(agent.features(torch.eye(2), relative)).mean(0)
    scale = torch.tensor([1.0, agent.weights.outcomes[1].reference])
    y = values[..., :2] / scale
    assert float(y[0, 0, 0]) == pytest.approx(10.0, rel=0.08), "rents to come when room 0 is kept"
    assert float(y[0, 1, 0]) == pytest.approx(1.0, abs=0.5)
    assert float(y[0, 1, 1]) == pytest.approx(1.0, abs=0.2), "moves to come when room 0 is left"
    agent.prefer({"move": 100.0})  # the actor extrapolates
    with pytest.raises(ValueError, match="by more than 10 times"):
        agent.prefer({"move": 1000.0})
    with pytest.raises(ValueError, match="no outcome 'mvoe'"):
        agent.prefer({"mvoe": 1.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": -3}, "horizon is -3"),
        ({"policy_encoding": "probe"}, "unknown policy_encoding 'probe'"),
        ({"critic": "discounted"}, "must be below 1"),
        ({"rare_outcomes": ("reward",)}, "may have either sign"),
        (
            {"rare_outcomes": ("lots",), "preference": "outcomes:lost=1"},
            "unknown outcome of the preference 'lots'; did you mean 'lost'",
        ),
        ({"epistemic_until": 0.0}, "epistemic_until is 0"),
        ({"hidden": ()}, "hidden is empty"),
        ({"estimator": "smaple"}, "unknown estimator 'smaple'; did you mean 'sample'"),
        ({"theta": "x"}, "unknown theta 'x'. Allowed: dropout, ensemble"),
        ({"segment": 3, "horizon": 5}, "at least the horizon"),
        ({"efe_horizons": (2,)}, "needs horizon_conditioned"),
        ({"horizon_conditioned": True, "efe_horizons": (2, 11)}, "holds 11; a jump has 1 to 10"),
        (
            {"critic": "discounted", "discount": 0.9, "steps": 12, "horizon": 8},
            "steps is 12; a segment has 8 decisions",
        ),
        (
            {
                "critic": "discounted",
                "discount": 0.9,
                "steps": 6,
                "horizon": 4,
                "segment": 8,
                "horizon_conditioned": True,
            },
            "steps is 6; with horizon_conditioned the horizon, 4, bounds it",
        ),
        ({"estimator": "antithetic", "samples": 5}, "samples is 5; antithetic draws come in pairs"),
        ({"transition": "flow", "estimator": "analytic"}, "estimator is 'analytic'"),
        ({"preference": "observation:x[0]"}, "names no observation part"),
        ({"preference": "outcomes:lost=a"}, "not of the form"),
        ({"preference": "goal=1,2"}, "flattened observation has 4"),
        ({"preference": "happiness"}, "unknown preference"),
        ({"preference": "no_such_module:f"}, "no function"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        agent_for("CartPole-v1", ALGORITHM_1 | settings)
    assert "\n" not in str(error.value)


class Quadrants(gym.ObservationWrapper):
    """A camera over the contextual bandit: a bright dot somewhere in the quadrant that is the best action."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        camera = spaces.Box(0, 255, (8, 8, 1), np.uint8)
        self.observation_space = spaces.Dict({"camera": camera, "speed": spaces.Box(-1.0, 1.0, (1,))})

    def observation(self, observation: int) -> dict[str, np.ndarray]:
        rng = self.unwrapped.np_random
        camera = rng.integers(0, 30, size=(8, 8, 1), dtype=np.uint8)
        row, column = rng.integers(0, 4, size=2) + 4 * np.array([observation // 2, observation % 2])
        camera[row, column] = 255
        return {"camera": camera, "speed": np.zeros(1, np.float32)}


def test_actor_and_critic_read_images_by_convolutions() -> None:
    def make_envs(num_envs: int, seed: int) -> VectorEnv:
        envs = [lambda: Quadrants(IdentityEnv(actions=4, steps=50)) for _ in range(num_envs)]
        return SyncVectorEnv(envs, autoreset_mode=AutoresetMode.SAME_STEP)

    settings = {
        "epochs": 4, "iterations": 25, "num_envs": 8, "horizon": 1, "segment": 8, "memory": 100, "preference": "reward",
        "action_conditioned": True, "policy_encoding": "none", "state_weight": 0.0, "parameter_weight": 0.0,
        "model_steps": 0, "critic": "discounted", "discount": 0.5, "critic_learning_rate": 2e-3, "policy_steps": 8,
        "policy_batch": 64, "policy_update": "posterior", "actor_learning_rate": 2e-3, "entropy_weight": 0.1,
        "warm_up": 5,
    }  # fmt: skip
    env = Quadrants(IdentityEnv())
    agent = DAIFAgent(env.observation_space, env.action_space, DAIFConfig(**settings), seed=0)
    assert len(agent.actor.reader.encoders) == 1
    rewards = [agent.learn_epoch(make_envs, epoch)["rollout/reward_mean"] for epoch in range(4)]
    assert rewards[0] < 0.5 < 0.8 < rewards[-1], "a random policy finds a quarter"


def test_outcomes_that_leave_no_trace_in_the_next_state_are_predicted_beside_it() -> None:
    """The bandit's next observation says nothing about the reward before it, so only the jump's own head can know."""
    settings = {
        "epochs": 1, "iterations": 20, "num_envs": 8, "horizon": 1, "segment": 8, "memory": 20, "warm_up": 20,
        "preference": "reward", "action_conditioned": True, "policy_encoding": "none", "autoencode": True,
        "dropout": 0.0, "beta": 1e-3, "model_learning_rate": 3e-3, "transition_learning_rate": 3e-3,
    }  # fmt: skip

    def make_envs(num_envs: int, seed: int) -> VectorEnv:
        return SyncVectorEnv([lambda: IdentityEnv(actions=3)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)

    explained = {}
    for head in ("state", "jump"):
        env = IdentityEnv(actions=3)
        config = DAIFConfig(**settings | {"outcome_head": head})
        agent = DAIFAgent(env.observation_space, env.action_space, config, seed=0)
        agent.learn_epoch(make_envs, 0)
        with agent.random.active():
            for _ in range(500):
                learn_model(agent, agent.rows(64, 1))
            rows = agent.rows(1000, 1)
            with torch.no_grad():
                model, code = agent.models[0], agent.code(rows)
                s_t = model.encode(rows.observation).mean
                predicted = model.predict(s_t, code, model.transition(s_t, code).mean).outcomes
                assert predicted is not None
                error = (predicted.mean - agent.standardise(rows)).square().mean()
                explained[head] = 1.0 - float(error / agent.standardise(rows).var())
    assert explained["state"] < 0.2 < 0.9 < explained["jump"], explained
