"""The DAIF agent: what Algorithm 1 trains, and how it acts and plans at run time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from torch import Tensor
from torch.distributions import Categorical

from daif.actor import Actor, SquashedGaussian
from daif.algorithm import policy_loss, train_epoch
from daif.config import DAIFConfig
from daif.critic import Critic
from daif.interaction import Interaction
from daif.memory import Memory, Rows
from daif.metrics import Metrics
from daif.optimiser import OwnedAdam
from daif.outcomes import OutcomePreference, OutcomeScale
from daif.policy_encoding import policy_encoding
from daif.preference import Preference, observed_column, preference_of
from daif.randomness import OwnedRandomness
from world_models.ensemble import Ensemble
from world_models.likelihood import ObservationCodec, View
from world_models.overshooting_vae import OvershootingVAE


class DAIFAgent:
    """Deep active inference agent.

    Args:
        observation_space: of a single environment; every likelihood is derived from it.
        action_space: Discrete, MultiDiscrete, or Box with finite bounds.
        config: settings; the defaults are the paper's.
        seed: of everything that the agent draws.
        device: where its networks live.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        config: DAIFConfig,
        *,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.config = config
        self.seed = seed
        self.device = torch.device(device)
        self.decisions = 0
        self.exploration = config.exploration
        self.efe = config.efe
        self.metrics = Metrics()
        self.random = OwnedRandomness(seed, self.device)
        self.memory = Memory(config.memory)
        with self.random.active():
            self._build()

    def _build(self) -> None:
        c = self.config
        self.codec = ObservationCodec(self.observation_space).to(self.device)
        spec = self._preference_spec()
        self.weights = OutcomePreference.parse(spec) if _weighs_outcomes(spec) else OutcomePreference(())
        self._observed_preference = None if self.weights.names else preference_of(spec, self.codec)
        self.preferred_column = observed_column(spec, self.codec)
        self.view = View(self.codec, c.observe, pooled=c.pooled).to(self.device)
        inputs = self.view.size + len(self.weights.free)
        self.actor = Actor(inputs, self.action_space, c.actor_hidden, self.view.images).to(self.device)
        self.encoding = policy_encoding(c.policy_encoding, self.actor, inputs, c.probes).to(self.device)
        outcomes = len(self.weights.names)
        rare = self.weights.indices(c.rare_outcomes)
        self.scale = OutcomeScale(c.horizon, outcomes, rare).to(self.device)
        code = (
            self.encoding.size
            + c.horizon_conditioned * HORIZON_FEATURES
            + c.action_conditioned * self.actor.action_size
        )
        members = c.ensemble_members if c.theta == "ensemble" else 1
        models = [OvershootingVAE(self.codec, code, outcomes, c.world_model, rare) for _ in range(members)]
        self.models = Ensemble(models).to(self.device).eval()
        self.optimisers = {"actor": OwnedAdam(self.actor.parameters(), c.actor_learning_rate, c.max_gradient_norm)}
        self.model_optimisers = [self._model_optimisers(model) for model in self.models.learners]
        for i, pair in enumerate(self.model_optimisers):
            self.optimisers |= {f"transition-{i}": pair[0], f"model-{i}": pair[1]}
        self.critic: Critic | None = None
        if c.critic != "none":
            size, discrete, images = self.actor.action_size, self.actor.discrete, self.view.images
            critic = Critic(inputs, size, discrete, outcomes, c.critic_hidden, c.critic_members, images, rare)
            self.critic = critic.to(self.device)
            online = self.critic.online.parameters()
            self.optimisers["critic"] = OwnedAdam(online, c.critic_learning_rate, c.max_gradient_norm)
        self.log_temperature = torch.nn.Parameter(
            torch.tensor(math.log(max(c.entropy_weight, 1e-8)), device=self.device)
        )
        self.adapts_temperature = c.adapt_entropy_weight and not self.actor.discrete
        if self.adapts_temperature:
            self.optimisers["temperature"] = OwnedAdam([self.log_temperature], c.actor_learning_rate)
        self.run_time_weights = self.weights.relative(c.run_time_weights)

    def _model_optimisers(self, model: OvershootingVAE) -> tuple[OwnedAdam, OwnedAdam]:
        """One for the transition θ_s (and the policy encoding), another for encoder φ_s and decoder θ_o."""
        c = self.config
        transition = [*model.transition_parameters(), *self.encoding.parameters()]
        owned = {id(parameter) for parameter in transition}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in owned]
        return (
            OwnedAdam(transition, c.transition_learning_rate, c.max_gradient_norm),
            OwnedAdam(rest, c.model_learning_rate, c.max_gradient_norm),
        )

    def _preference_spec(self) -> str:
        if self.config.preference != "auto":
            return self.config.preference
        scored = any(part.name == "scores" and part.kind == "unit" for part in self.codec.parts)
        return "observation:scores[-1]" if scored else "reward"

    # What the networks see

    def features(self, observation: Tensor, relative: Tensor) -> Tensor:
        """What actor and critic see: flattened observations (B, O) and relative preference weights (B, C) -> (B, I)."""
        seen = self.view(self.codec.normalise(observation))
        return torch.cat([seen, self.weights.features(relative)], -1) if self.weights.free else seen

    def preference(self, relative: Tensor | None = None, horizon: int | None = None) -> Preference:
        """Ψ behind a jump of `horizon` (by default H) decisions.

        Where it weighs outcomes it is for relative weights (B, C); by default for the reference weights.
        """
        if self._observed_preference is not None:
            return self._observed_preference
        weights = self.weights.reference().to(self.device)
        weights = (weights if relative is None else weights * relative) / self.config.outcome_scale
        return self.scale.surprise(weights, horizon or self.config.horizon)

    def policy_entropy(self, policy: Categorical | SquashedGaussian) -> Tensor:
        """Entropy of a policy (B,) in nats; of a squashed Gaussian by one draw."""
        return policy.entropy() if isinstance(policy, Categorical) else -policy.rsample_with_log_prob()[1]

    def with_horizon(self, encoding: Tensor, action: Tensor | None, horizon: Tensor | int) -> Tensor:
        """Complete the transition's code: π̂ (..., P), then the horizon's features and the first action, where used.

        The horizon is one of all jumps, or of each, (...).
        """
        pieces = [encoding]
        if self.config.horizon_conditioned:
            h = torch.as_tensor(horizon).to(encoding).expand(encoding.shape[:-1])
            pieces.append(horizon_features(h, self.config.horizon))
        if self.config.action_conditioned:
            assert action is not None
            pieces.append(action)
        return torch.cat(pieces, -1)

    def code(self, rows: Rows) -> Tensor:
        """The transition's code of stored rows, (B, P)."""
        action = rows.action
        if self.actor.discrete:
            action = torch.nn.functional.one_hot(action[:, 0].long(), self.actor.action_size).to(rows.observation)
        return self.with_horizon(rows.code, action, rows.horizon)

    def standardise(self, rows: Rows) -> Tensor:
        """The rows' summed outcomes, standardised for each horizon but for the rare ones, (B, C)."""
        return self.scale.standardise(rows.outcomes, rows.horizon)

    def rows(self, batch: int, horizon: int) -> Rows:
        """Draw rows of `horizon` decisions, or of 1..horizon where the model is conditioned on the horizon."""
        shortest = 1 if self.config.horizon_conditioned else horizon
        rows = self.memory.rows(
            batch, self.random.numpy, shortest=shortest, longest=horizon, discount=self.config.discount
        )
        return rows.to(self.device)

    def observations(self, batch: int) -> Tensor:
        """Draw flattened observations of the memory, (batch, O)."""
        return self.memory.observations(batch, self.random.numpy).to(self.device)

    # Acting

    @torch.no_grad()
    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Choose actions for batched observations as a vector environment gives them; drawn from Q_φa, or its mode."""
        flat = torch.from_numpy(self.codec.flatten(observations)).to(self.device)
        relative = self.run_time_weights.to(self.device).expand(len(flat), -1)
        features = self.features(flat, relative)
        if deterministic:
            return self.actor.to_environment(self.actor(features).mode)
        with self.random.active():
            return self.actor.to_environment(self.actor.draw(features))

    def prefer(self, weights: Mapping[str, float | np.ndarray]) -> None:
        """Change the preference's weights for `act`, at once: of all environments, or an array (N,) of one each.

        ValueError for a weight that was not trained for.
        """
        self.run_time_weights = self.weights.relative(weights)

    def planner(self) -> Planner:
        """An agent that keeps improving a copy of this one's actor while it acts (run-time planning)."""
        return Planner(self)

    # Training

    @property
    def epochs(self) -> int:
        """Planned number of epochs."""
        return self.config.epochs

    def learn_epoch(self, make_envs: Callable[[int, int], VectorEnv], epoch: int) -> dict[str, float]:
        """Train for one epoch in freshly made environments; the same seed and epoch give the same result."""
        c = self.config
        self._anneal(epoch / c.epochs)
        options = c.reset_options[min(epoch, len(c.reset_options) - 1)]
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        envs = make_envs(c.num_envs, seed)
        try:
            with self.random.active():
                return train_epoch(self, Interaction(envs, self, seed, options))
        finally:
            envs.close()

    def _anneal(self, progress: float) -> None:
        c = self.config
        self.scale_learning_rates(1.0 + progress * (c.learning_rate_end - 1.0))
        self.exploration = c.exploration + progress * (c.exploration_end - c.exploration)
        if c.epistemic_until is not None:
            left = max(0.0, 1.0 - progress / c.epistemic_until)
            self.efe = replace(c.efe, state_weight=left * c.state_weight, parameter_weight=left * c.parameter_weight)
        if not self.adapts_temperature and c.entropy_weight > 0.0:
            end = c.entropy_weight if c.entropy_weight_end is None else c.entropy_weight_end
            self.log_temperature.data.fill_(math.log(c.entropy_weight) + progress * math.log(end / c.entropy_weight))

    def scale_learning_rates(self, fraction: float) -> None:
        """Set the learning rates to a fraction of those at the start of training; the temperature's stays."""
        c = self.config
        rates = {
            "transition": c.transition_learning_rate,
            "model": c.model_learning_rate,
            "actor": c.actor_learning_rate,
        }
        rates["critic"] = c.critic_learning_rate
        for name, optimiser in self.optimisers.items():
            if name != "temperature":
                optimiser.set_learning_rate(fraction * rates[name.partition("-")[0]])

    @property
    def warming_up(self) -> bool:
        """Whether the memory is still being filled by random actions."""
        c = self.config
        return self.decisions < c.warm_up * c.num_envs * (c.segment or c.horizon)

    @property
    def temperature(self) -> Tensor:
        """Present weight of the actor's entropy; 0 without regularisation."""
        return self.log_temperature.exp().detach() * (self.config.entropy_weight > 0.0)

    # Checkpoints

    def _modules(self) -> dict[str, torch.nn.Module]:
        modules = {
            "codec": self.codec,
            "actor": self.actor,
            "encoding": self.encoding,
            "models": torch.nn.ModuleList(self.models.learners),
            "scale": self.scale,
        }
        return modules | ({"critic": self.critic} if self.critic is not None else {})

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        """Return everything that training continues from: tensors, arrays and JSON-able metadata."""
        random, numpy_state = self.random.state()
        tensors = self.learned() | {"random": random}
        return tensors, self.memory.state(), {"decisions": self.decisions, "numpy": numpy_state}

    def load_state(self, tensors: dict[str, Any], arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.load_learned(tensors)
        self.random.load_state(tensors["random"], metadata["numpy"])
        self.decisions = metadata["decisions"]
        if arrays:
            self.memory.load_state(arrays)

    def learned(self) -> dict[str, Any]:
        """Return what learning changes: the parameters and the optimisers' moments, not copied."""
        return {
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
            "optimisers": {name: optimiser.adam.state_dict() for name, optimiser in self.optimisers.items()},
            "log_temperature": self.log_temperature.detach(),
        }

    def load_learned(self, tensors: dict[str, Any]) -> None:
        """Go back to what `learned` returned."""
        for name, module in self._modules().items():
            module.load_state_dict(tensors["modules"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.adam.load_state_dict(tensors["optimisers"][name])
        self.log_temperature.data.copy_(tensors["log_temperature"])


class Planner:
    """Run-time planning: every H decisions one more gradient step on a copy of the actor, with a smaller learning rate.

    Args:
        agent: the trained agent, which stays as it is.
    """

    def __init__(self, agent: DAIFAgent) -> None:
        self.agent = copy.copy(agent)
        self.agent.actor = copy.deepcopy(agent.actor)
        self.observation_space, self.action_space = agent.observation_space, agent.action_space
        rate = agent.config.planning_rate * agent.config.actor_learning_rate
        self.optimiser = OwnedAdam(self.agent.actor.parameters(), rate, agent.config.max_gradient_norm)
        self.decisions = 0

    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Act as the agent does; every H decisions, plan first."""
        if self.decisions % self.agent.config.horizon == 0:
            self.plan(observations)
        self.decisions += 1
        return self.agent.act(observations, deterministic=deterministic)

    def plan(self, observations: Any) -> None:
        """One step of the copied actor along ∇_φa G at these observations."""
        flat = torch.from_numpy(self.agent.codec.flatten(observations)).to(self.agent.device)
        relative = self.agent.run_time_weights.to(self.agent.device).expand(len(flat), -1)
        with self.agent.random.active():
            self.optimiser.step(policy_loss(self.agent, flat, relative)[0])


HORIZON_FEATURES = 3


def horizon_features(h: Tensor, horizon: int) -> Tensor:
    """What the transition sees of a jump's length h (...): h/H, its root, and log h relative to log H, (..., 3)."""
    share = h / horizon
    return torch.stack([share, share.sqrt(), h.log() / math.log(max(horizon, 2))], -1)


def _weighs_outcomes(spec: str) -> bool:
    return spec == "reward" or spec.startswith("outcomes:")
