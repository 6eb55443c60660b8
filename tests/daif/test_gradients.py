"""The gradient of G: against finite differences, term by term, and who is moved by which step."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from daif.agent import DAIFAgent
from daif.algorithm import first_action_free_energy, improve_policy, learn_model, policy_loss
from daif.config import DAIFConfig
from daif.expected_free_energy import expected_free_energy
from daif.memory import Segment

SPACES = {
    "categorical": spaces.MultiDiscrete([3, 3]),
    "bernoulli": spaces.MultiBinary(3),
    "unit": spaces.Box(0.0, 1.0, (3,)),
    "gaussian": spaces.Box(-np.inf, np.inf, (3,)),
    "image": spaces.Box(0, 255, (4, 4, 3), np.uint8),
    "product": spaces.Dict({"buffer": spaces.Discrete(3), "scores": spaces.Box(0.0, 1.0, (2,))}),
}
ACTIONS = {"discrete": spaces.Discrete(3), "continuous": spaces.Box(-1.0, 1.0, (2,))}
TINY = {
    "horizon": 2, "memory": 4, "latent_dim": 3, "hidden": (6,), "actor_hidden": (5, 4), "samples": 3,
    "inner_samples": 2, "probes": 3, "num_envs": 2, "model_batch": 8, "policy_batch": 8, "dropout": 0.2,
}  # fmt: skip


def _agent(space: str = "product", action: str = "discrete", **settings: object) -> DAIFAgent:
    config = DAIFConfig(**(TINY | settings))
    agent = DAIFAgent(SPACES[space], ACTIONS[action], config, seed=0)
    for module in (agent.actor, agent.models, agent.encoding, agent.scale):
        module.double()
    agent.codec.double()
    agent.view.double()
    return agent


def _observations(agent: DAIFAgent, batch: int = 4) -> torch.Tensor:
    agent.observation_space.seed(1)
    rows = [spaces.flatten(agent.observation_space, agent.observation_space.sample()) for _ in range(batch)]
    return torch.from_numpy(np.stack(rows)).double()


def _loss(agent: DAIFAgent, observations: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)  # common random numbers on both sides of a difference
    return policy_loss(agent, observations, torch.ones(len(observations), len(agent.weights.names)))[0]


def _compare_with_finite_differences(agent: DAIFAgent, observations: torch.Tensor) -> None:
    parameters = list(agent.actor.parameters())
    gradients = torch.autograd.grad(_loss(agent, observations), parameters)
    rng = np.random.default_rng(0)
    compared, step = 0, 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        for index in rng.integers(parameter.numel(), size=3):
            flat = parameter.data.view(-1)
            value = float(flat[index])
            flat[index] = value + step
            above = _loss(agent, observations).item()
            flat[index] = value - step
            below = _loss(agent, observations).item()
            flat[index] = value
            assert float(gradient.reshape(-1)[index]) == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-8)
            compared += 1
    assert compared
    assert max(float(g.abs().max()) for g in gradients) > 0


@pytest.mark.parametrize("encoding", ["activations", "probes", "parameters"])
@pytest.mark.parametrize("space", ["unit", "gaussian", "image"])
def test_gradient_of_g_agrees_with_finite_differences(space: str, encoding: str) -> None:
    # heads whose draws are differentiable; one-hot draws are straight through and compared without G2 below
    agent = _agent(space, policy_encoding=encoding)
    _compare_with_finite_differences(agent, _observations(agent))


@pytest.mark.parametrize("encoding", ["activations", "probes", "parameters"])
@pytest.mark.parametrize("space", ["categorical", "bernoulli", "product"])
def test_gradient_of_g_with_discrete_heads_agrees_with_finite_differences(space: str, encoding: str) -> None:
    agent = _agent(space, policy_encoding=encoding, state_weight=0.0)
    _compare_with_finite_differences(agent, _observations(agent))


@pytest.mark.parametrize("transition", ["gaussian", "flow"])
@pytest.mark.parametrize("action", ["discrete", "continuous"])
def test_gradient_through_the_first_action_agrees_with_finite_differences(action: str, transition: str) -> None:
    settings = {"action_conditioned": True, "horizon_conditioned": True, "policy_encoding": "probes"}
    agent = _agent("gaussian", action, transition=transition, efe_horizons=(1, 2), **settings)
    _compare_with_finite_differences(agent, _observations(agent))


@pytest.mark.parametrize("parameter_estimator", ["entropies", "mixture"])
def test_gradient_of_g_over_an_ensemble_agrees_with_finite_differences(parameter_estimator: str) -> None:
    settings = {"theta": "ensemble", "ensemble_members": 3, "parameter_estimator": parameter_estimator}
    agent = _agent("gaussian", **settings)
    _compare_with_finite_differences(agent, _observations(agent))
    agent = _agent("gaussian", action_conditioned=True, state_weight=0.0, preference_weight=0.0, **settings)
    _compare_with_finite_differences(agent, _observations(agent))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("term", ["preference", "state", "parameter"])
def test_each_term_alone_moves_the_actor(space: str, term: str) -> None:
    weights = {f"{name}_weight": float(name == term) for name in ("preference", "state", "parameter")}
    agent = _agent(space, **weights)
    gradients = torch.autograd.grad(_loss(agent, _observations(agent)), list(agent.actor.parameters()))
    assert max(float(g.abs().max()) for g in gradients) > 0


def _fill(agent: DAIFAgent) -> None:
    t, n = agent.config.horizon, agent.config.num_envs
    observations = _observations(agent, (t + 1) * n).reshape(t + 1, n, -1).float().numpy()
    codes = agent.encoding(agent.actor, torch.from_numpy(observations[0]).double()).detach().numpy()[None]
    actions = np.zeros((t, n, 1), np.float32)
    outcomes = np.random.default_rng(0).normal(size=(t, n, len(agent.weights.names))).astype(np.float32)
    flags = np.zeros((t, n), bool)
    agent.memory.add(Segment(observations, actions, outcomes, flags, flags, codes))


def _copies(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def _changed(before: list[torch.Tensor], module: torch.nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("theta", ["dropout", "ensemble"])
def test_the_policy_step_moves_the_actor_alone_and_the_model_step_the_model_alone(theta: str) -> None:
    agent = _agent("gaussian", theta=theta)
    _fill(agent)
    actor, model = _copies(agent.actor), _copies(agent.models)
    improve_policy(agent, agent.observations(4).double())
    assert _changed(actor, agent.actor)
    assert not _changed(model, agent.models)
    actor = _copies(agent.actor)
    rows = agent.rows(12, agent.config.horizon)
    learn_model(agent, type(rows)(*(v.double() if v.is_floating_point() else v for v in vars(rows).values())))
    assert _changed(model, agent.models)
    assert not _changed(actor, agent.actor)


@pytest.mark.parametrize("estimator", ["sample", "antithetic", "analytic"])
def test_batched_g_equals_the_loop_over_samples(estimator: str) -> None:
    agent = _agent("gaussian", parameter_weight=0.0, samples=400, estimator=estimator)
    o = _observations(agent, 2)
    code = agent.encoding(agent.actor, o)
    with torch.no_grad():
        torch.manual_seed(0)
        batched = torch.stack(
            [expected_free_energy(agent.models, agent.preference(), o, code, agent.config.efe).total for _ in range(30)]
        )
        looped = []
        for _ in range(30):  # Algorithm 1 as it is written: one state, then S1 draws one after another
            s = agent.models[0].encode(o).rsample()
            p = agent.models[0].transition(s, code)
            terms = []
            for _ in range(40):
                s_next = p.mean if estimator == "analytic" else p.rsample()
                prediction = agent.models[0].predict(s, code, s_next)
                q = agent.models[0].encode(prediction.observation.rsample())
                terms.append(agent.preference()(prediction) + (q.entropy() - p.entropy()) / agent.config.latent_dim)
            looped.append(torch.stack(terms).mean(0))
    difference = batched.mean(0) - torch.stack(looped).mean(0)
    error = (batched.var(0) / 30 + torch.stack(looped).var(0) / 30).sqrt()
    assert (difference.abs() < 4 * error + 1e-3).all()


@pytest.mark.parametrize("transition", ["gaussian", "flow"])
@pytest.mark.parametrize("action_conditioned", [False, True])
def test_antithetic_draws_lie_on_both_sides_of_the_middle(action_conditioned: bool, transition: str) -> None:
    agent = _agent(
        "gaussian", estimator="antithetic", transition=transition, action_conditioned=action_conditioned, samples=4
    )
    model, seen = agent.models[0], []
    predict, jump = model.predict, model.transition
    model.transition = lambda s, code: seen.append(jump(s, code)) or seen[-1]  # type: ignore[method-assign]
    model.predict = lambda s, code, s_next: seen.append(s_next) or predict(s, code, s_next)  # type: ignore[method-assign]
    with torch.no_grad():
        _loss(agent, _observations(agent))
    p, s_next = seen[:2]
    if transition == "flow":
        s_next, p = p.flow.to_noise(s_next, p.context)[0], p.base
    torch.testing.assert_close(s_next[:2] - p.mean, p.mean - s_next[2:])
    noise = (s_next[:2] - p.mean) / p.stddev
    assert noise[0].ne(noise[1]).all()
    if action_conditioned:
        torch.testing.assert_close(noise, noise[:, :1].expand_as(noise), msg="first actions share their noise")


def test_outcomes_are_weighed_in_their_own_units_for_each_observation() -> None:
    weights = {"preference": "outcomes:lost=1..100,wasted=2", "outcome_scale": 5.0, "outcome_head": "jump"}
    agent = _agent("gaussian", action_conditioned=True, state_weight=0.0, parameter_weight=0.0, **weights)
    agent.scale.mean[-1], agent.scale.second_moment[-1] = torch.tensor([3.0, 7.0]), torch.tensor([13.0, 58.0])
    o = _observations(agent)
    relative = torch.tensor([[0.1, 1.0], [1.0, 1.0], [10.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    features = agent.features(o, relative)
    with torch.no_grad():
        torch.manual_seed(3)
        g = first_action_free_energy(agent, o, features, relative, None).total
        torch.manual_seed(3)
        state = agent.models[0].encode(agent.codec.normalise(o)).rsample()
        for i in range(3):
            action = torch.eye(3, dtype=torch.float64)[i].expand(4, -1)
            code = agent.with_horizon(agent.encoding(agent.actor, features), action, agent.config.horizon)
            predicted = agent.models[0].predict(state, code, state.unsqueeze(0)).outcomes
            assert predicted is not None
            y = predicted.mean[0] * torch.tensor([2.0, 3.0]) + torch.tensor([3.0, 7.0])  # standard deviations 2 and 3
            by_hand = (torch.tensor([[1.0, 2.0], [10.0, 2.0], [100.0, 2.0], [10.0, 2.0]]) * y).sum(-1) / 5.0
            torch.testing.assert_close(g[:, i], by_hand, check_dtype=False, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("action_conditioned", [False, True])
def test_g_is_the_mean_over_jumps_of_several_lengths(action_conditioned: bool) -> None:
    settings = {
        "horizon": 5, "horizon_conditioned": True, "action_conditioned": action_conditioned, "preference": "reward",
        "estimator": "analytic", "parameter_weight": 0.0, "state_weight": 0.0, "max_variance": 1e-9,
    }  # fmt: skip
    alone = {}
    for horizons in ((2,), (4,), (5,), (), (2, 4)):
        agent = _agent("gaussian", efe_horizons=horizons, **settings)
        agent.scale.mean += torch.arange(6).unsqueeze(-1)  # longer jumps cost more
        alone[horizons] = _loss(agent, _observations(agent)).item()
    assert alone[()] == alone[5,]
    assert alone[2, 4] == pytest.approx((alone[2,] + alone[4,]) / 2, abs=1e-3)
    assert alone[5,] > alone[4,] + 0.5 > alone[2,] + 1.0


@pytest.mark.parametrize("transition", ["gaussian", "flow"])
def test_first_actions_share_their_noise(transition: str) -> None:
    terms = {"parameter_weight": 0.0, "state_weight": 0.0}
    agent = _agent("unit", action_conditioned=True, dropout=0.0, transition=transition, **terms)
    with torch.no_grad():  # a transition that does not read the action: all actions must have the same G, draw by draw
        agent.models[0].transition_net[0].weight[:, -3:] = 0.0
        o = _observations(agent)
        relative = torch.ones(len(o), 0)
        g = first_action_free_energy(agent, o, agent.features(o, relative), relative, None).total
    torch.testing.assert_close(g, g[:, :1].expand_as(g))
