"""Algorithm 1, Deep AIF agent training (arXiv 2505.19867), top to bottom; `line n` refers to its lines.

Departures are settings of `daif.config.DAIFConfig`, off by default; each is marked `departure` below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Categorical

from daif.critic import combine, weigh
from daif.expected_free_energy import ExpectedFreeEnergy, expected_free_energy
from daif.interaction import Interaction
from daif.memory import Rows
from world_models.losses import complexity, outcome_loss, reconstruction_loss, transition_loss

if TYPE_CHECKING:
    from daif.agent import DAIFAgent


def train_epoch(agent: DAIFAgent, interaction: Interaction) -> dict[str, float]:
    """Run `iterations` iterations of Algorithm 1; return the means of their metrics."""
    for _ in range(agent.config.iterations):  # line 3
        segment = interaction.run(agent)  # lines 4 to 8: π̂_t, then decisions a_τ ~ Q_φa(a | õ_τ)
        agent.memory.add(segment)  # line 9: (õ_t, π̂_t, õ_{t+H})
        if not agent.warming_up:
            learn(agent)
    return agent.metrics.means() | interaction.metrics()


def learn(agent: DAIFAgent) -> None:
    """Learn from the memory: lines 10 to 36."""
    c, metrics = agent.config, agent.metrics
    for _ in range(c.model_steps):
        for learner in range(len(agent.models.learners)):  # departure where there is more than one model
            rows = agent.rows(c.model_batch * agent.models.stacked, c.horizon)
            metrics.add(learn_model(agent, rows, learner))  # lines 10 to 18
    for _ in range(c.policy_steps):
        if agent.critic is not None:  # departure: actor-critic
            metrics.add(learn_critic(agent, agent.rows(c.policy_batch, c.steps)))
        metrics.add(improve_policy(agent, agent.observations(c.policy_batch)))  # lines 19 to 36


def learn_model(agent: DAIFAgent, rows: Rows, learner: int = 0) -> dict[str, Tensor]:
    """One step on the variational free energy of B1 rows for each of the learner's models (lines 11 to 18)."""
    model, (transition_optimiser, model_optimiser) = agent.models.learners[learner], agent.model_optimisers[learner]
    agent.scale.update(rows.outcomes, rows.horizon)
    o_t, o_next = agent.codec.normalise(rows.observation), agent.codec.normalise(rows.next_observation)
    code, y, valid = agent.code(rows), agent.standardise(rows), rows.valid
    members = agent.models.stacked
    if members > 1:  # departure: (members, B1, ...), each model's own rows
        o_t, o_next, code, y, valid = (x.unflatten(0, (members, -1)) for x in (o_t, o_next, code, y, valid))
    share = valid / valid.sum(-1, keepdim=True).clamp_min(1.0)  # rows that cross into another episode count for nothing
    model.train()

    s_t = model.encode(o_t).rsample()
    p_s_next = model.transition(s_t, code)
    q_s_next = model.encode(o_next)
    l_s = (share * transition_loss(q_s_next, p_s_next)).sum()  # line 13
    prediction = model.predict(s_t, code, p_s_next.rsample())
    inaccuracy = reconstruction_loss(prediction.observation, o_next)  # line 14
    outcomes = outcome_loss(prediction.outcomes, y)  # departure: outcomes of the jump
    inaccuracy = (share * (inaccuracy + outcomes)).sum()
    divergence = (share * complexity(q_s_next)).sum()
    l_o = inaccuracy + agent.config.beta * divergence  # line 15
    if model.outcome_net is not None:  # departure: outcomes are predicted by θ_s
        l_s = l_s + (share * outcomes).sum()
    if agent.config.autoencode:  # departure: the decoder reads the state of õ_{t+H} too
        l_o = l_o + (share * reconstruction_loss(model.decode(q_s_next.rsample()), o_next)).sum()

    transition_optimiser.differentiate(l_s, retain_graph=True)
    model_optimiser.differentiate(l_o)
    transition_optimiser.apply()  # line 16: θ_s alone
    model_optimiser.apply()  # lines 17, 18: φ_s and θ_o alone
    model.eval()
    error = (prediction.observation.mean - o_next).abs().detach()
    column = agent.preferred_column
    return {
        "model/transition_loss": l_s.detach() / members,
        "model/reconstruction_loss": inaccuracy.detach() / members,
        "model/complexity": divergence.detach() / members,
        "model/observation_error": error.mean(),
    } | ({} if column is None else {"model/preference_mae": error[..., column].mean()})


def improve_policy(agent: DAIFAgent, observations: Tensor) -> dict[str, Tensor]:
    """One step of the actor along ∇_φa E[G] at B2 observations (lines 20 to 36); the model stays as it is."""
    relative = agent.weights.sample(len(observations)).to(observations)
    loss, g, policy_entropy = policy_loss(agent, observations, relative)
    agent.optimisers["actor"].step(loss)  # line 36: φ_a alone
    if agent.adapts_temperature:  # departure: the entropy's weight is adapted
        gap = (policy_entropy.detach() + agent.actor.action_size).mean()
        agent.optimisers["temperature"].step(agent.log_temperature * gap)
    return {
        "efe/total": g.total.mean().detach(),
        "efe/preference": g.preference.mean().detach(),
        "efe/state": g.state.mean().detach(),
        "efe/parameter": g.parameter.mean().detach(),
        "policy/entropy": policy_entropy.mean().detach(),
        "policy/temperature": agent.temperature,
    }


def policy_loss(agent: DAIFAgent, observations: Tensor, relative: Tensor) -> tuple[Tensor, ExpectedFreeEnergy, Tensor]:
    """E[G] of the actor at observations (B, O), less its weighted entropy; also G (B,) and the entropy (B,)."""
    c = agent.config
    features = agent.features(observations, relative)
    policy = agent.actor(features)
    if not (agent.critic is not None or c.action_conditioned):
        g = free_energy_of_jumps(agent, observations, relative, agent.encoding(agent.actor, features))
        entropy = agent.policy_entropy(policy)
        return (g.total - agent.temperature * entropy).mean(), g, entropy

    # departure: G(o, a) of the first action, from the critic or from an action-conditioned transition
    if not isinstance(policy, Categorical):
        action, log_prob = policy.rsample_with_log_prob()
        g = first_action_free_energy(agent, observations, features, relative, action)
        return (g.total + agent.temperature * log_prob).mean(), g, -log_prob
    fits = c.policy_update == "posterior"  # departure: the action posterior softmax(-G / temperature) is fitted
    with torch.set_grad_enabled(not fits):
        by_action = first_action_free_energy(agent, observations, features, relative, None)  # (B, A)
    entropy = policy.entropy()
    g = ExpectedFreeEnergy(*((policy.probs * term).sum(-1) for term in vars(by_action).values()))
    if fits:
        posterior = torch.softmax(-by_action.total / agent.temperature, -1)
        return -(posterior * policy.logits).sum(-1).mean(), g, entropy
    return (g.total - agent.temperature * entropy).mean(), g, entropy


def first_action_free_energy(
    agent: DAIFAgent, observations: Tensor, features: Tensor, relative: Tensor, action: Tensor | None
) -> ExpectedFreeEnergy:
    """G(o, a) of each discrete action (B, A), or of one continuous action (B,) through which gradients pass."""
    if agent.critic is not None:
        values = agent.critic(features, action, target=agent.config.policy_from_average)
        values = combine(values, relative, agent.config.pessimistic)
        total, state, parameter = weigh(values.unsqueeze(0), relative)[0], values[..., -2], values[..., -1]
        return ExpectedFreeEnergy(total, total - state - parameter, state, parameter)
    encoding = agent.encoding(agent.actor, features)
    if action is None:  # all of them: (A, B, P)
        actions = torch.eye(agent.actor.action_size, device=features.device).unsqueeze(1).expand(-1, len(features), -1)
        g = free_energy_of_jumps(agent, observations, relative, encoding.expand(len(actions), -1, -1), actions)
        return ExpectedFreeEnergy(*(term.T for term in vars(g).values()))
    return free_energy_of_jumps(agent, observations, relative, encoding, action)


def free_energy_of_jumps(
    agent: DAIFAgent, observations: Tensor, relative: Tensor, encoding: Tensor, actions: Tensor | None = None
) -> ExpectedFreeEnergy:
    """G of the jump of H decisions with codes π̂ (..., B, P); departure: the mean over jumps of several lengths."""
    o_t = agent.codec.normalise(observations)
    jumps = [
        expected_free_energy(
            agent.models, agent.preference(relative, h), o_t, agent.with_horizon(encoding, actions, h), agent.efe
        )
        for h in agent.config.efe_horizons or (agent.config.horizon,)
    ]
    terms = zip(*(vars(g).values() for g in jumps), strict=True)
    return ExpectedFreeEnergy(*(torch.stack(term).mean(0) for term in terms))


# Departure: the critic (see `daif.critic`), off by default.


def learn_critic(agent: DAIFAgent, rows: Rows) -> dict[str, Tensor]:
    """One step of the critic on rows of up to `steps` decisions, each at freshly drawn preference weights."""
    c, critic = agent.config, agent.critic
    assert critic is not None
    relative = agent.weights.sample(len(rows.valid)).to(rows.valid)
    now, behind = agent.features(rows.observation, relative), agent.features(rows.next_observation, relative)
    with torch.no_grad():
        cost = rows.outcomes * agent.weights.reference().to(rows.outcomes) / c.outcome_scale
        target = torch.cat([cost, epistemic_terms(agent, rows)], -1)
        target = target + rows.discount.unsqueeze(-1) * to_go(agent, behind, relative)
    if critic.discrete:
        index = rows.action.long().unsqueeze(-1).expand(-1, -1, critic.components)
        predicted = torch.stack([member.gather(1, index).squeeze(1) for member in critic(now)])
    else:
        predicted = critic(now, rows.action)
    error = critic.error(predicted, target)
    loss = (error * rows.valid).sum(-1).div(rows.valid.sum().clamp_min(1.0)).sum()
    agent.optimisers["critic"].step(loss)
    critic.update_target(c.target_rate)
    return {"critic/loss": loss.detach(), "critic/value": weigh(predicted, relative).mean().detach()}


def to_go(agent: DAIFAgent, features: Tensor, relative: Tensor) -> Tensor:
    """(Y, E) behind features (B, I) under the present actor, by the target network, (B, C + 2)."""
    c, critic = agent.config, agent.critic
    assert critic is not None
    policy = agent.actor(features)
    if isinstance(policy, Categorical):
        values = (policy.probs.unsqueeze(-1) * critic(features, target=True)).sum(-2)
        policy_entropy = policy.entropy()
    else:
        action, log_prob = policy.rsample_with_log_prob()
        values, policy_entropy = critic(features, action, target=True), -log_prob
    value = combine(values, relative, c.pessimistic)
    if c.soft_value:
        value[..., -1] -= agent.temperature * policy_entropy
    return value


def epistemic_terms(agent: DAIFAgent, rows: Rows) -> Tensor:
    """G2 and G3 of the rows' first actions, (B, 2), in nats; a preference that is not over outcomes counts with G2."""
    c = agent.config
    preference_weight = 0.0 if agent.weights.names else c.preference_weight
    settings = replace(agent.efe, preference_weight=preference_weight)
    if not (preference_weight or settings.state_weight or settings.parameter_weight):
        return torch.zeros(len(rows.valid), 2, device=rows.valid.device)
    o_t = agent.codec.normalise(rows.observation)
    g = expected_free_energy(agent.models, agent.preference(), o_t, agent.code(rows), settings)
    return torch.stack([g.state + g.preference, g.parameter], -1)
