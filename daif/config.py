"""Settings of the DAIF agent; the defaults are the paper's (arXiv 2505.19867), each departure is a named field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from daif.expected_free_energy import EFESettings
from daif.policy_encoding import ENCODINGS
from generative.names import check_choices, unknown
from world_models.overshooting_vae import WorldModelConfig


@dataclass(frozen=True)
class DAIFConfig:
    """Settings of a DAIF agent."""

    # Schedule
    epochs: int = 100
    """Epochs of training."""
    iterations: int = 100
    """N, iterations of Algorithm 1 in an epoch."""
    num_envs: int = 1
    """Environments that run in parallel."""
    horizon: int = 300
    """H, decisions that the transition jumps in one pass."""
    segment: int | None = None
    """Decisions of one interaction (lines 5 to 8); by default H."""
    reset_options: tuple[dict[str, Any], ...] = ({},)
    """Options of the environment's reset; entry i is for epoch i, the last one for all later epochs."""

    # Memory and minibatches
    memory: int = 32
    """Segments that the memory M keeps."""
    model_batch: int = 16
    """B1, rows of a model step."""
    policy_batch: int = 16
    """B2, observations of a policy step."""
    model_steps: int = 1
    """Model steps in an iteration."""
    policy_steps: int = 1
    """Policy steps in an iteration."""

    # World model
    latent_dim: int = 16
    """S, the number of latent state variables."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of encoder, transition and decoder."""
    dropout: float = 0.1
    """Dropout probability of the world model."""
    max_variance: float = 1.5
    """λ_s, the bound of the state variance."""
    beta: float = 5.0
    """β, the weight of the state's complexity in the model's loss."""
    transition_learning_rate: float = 1e-5
    """ξ, of the transition θ_s."""
    model_learning_rate: float = 1e-5
    """γ and η, of the encoder φ_s and the decoder θ_o."""

    transition: Literal["gaussian", "flow"] = "gaussian"
    """Family of P(s_{t+H} | s_t, π̂): a diagonal Gaussian, or one that a normalising flow bends; its G2 has one draw."""
    autoencode: bool = False
    """Add −E_Q[log P_θo(õ_{t+H} | s̃_{t+H})], s̃_{t+H} ~ Q_φs, to L_o: what the predicted state does not hold yet, the
    encoder learns from the observation itself."""

    # Policy
    actor_hidden: tuple[int, ...] = (64, 32)
    """Hidden layers of the actor."""
    policy_encoding: str = "activations"
    """Π: activations, probes, parameters, or none."""
    probes: int = 16
    """K, learned probe observations of the encoding `probes`."""
    actor_learning_rate: float = 5e-5
    """α, of the actor φ_a."""
    planning_rate: float = 0.2
    """Learning rate of the planning steps at run time, as a fraction of α."""
    entropy_weight: float = 0.0
    """Weight of the actor's entropy, subtracted from G (a regulariser that Algorithm 1 does not have)."""
    entropy_weight_end: float | None = None
    """Weight at the end of training, approached geometrically; by default as at the start."""
    adapt_entropy_weight: bool = False
    """Continuous actions: adapt the weight so that the entropy stays at minus the number of dimensions, as SAC does."""
    learning_rate_end: float = 1.0
    """Fraction of the learning rates that is left at the end of training, approached linearly."""
    max_gradient_norm: float | None = None
    """Norm at which the gradients are clipped, an ensemble's together; none in Algorithm 1."""

    # Expected free energy
    preference: str = "auto"
    """Ψ, see `daif.preference`; "auto" is the last component of an observation part `scores`, or else the reward."""
    samples: int = 10
    """S1, draws of the predicted state."""
    inner_samples: int = 10
    """S2, draws of θ."""
    reduction: Literal["mean", "sum"] = "mean"
    """Entropies per random variable or joint."""
    estimator: Literal["sample", "antithetic", "analytic"] = "sample"
    """How G1 and G2 are estimated: from draws of s̃_{t+H}, from draws in pairs with opposite noise, or at its mean."""
    theta: Literal["dropout", "ensemble"] = "dropout"
    """How θ is sampled in G3: dropout masks, or the members of an ensemble of world models."""
    ensemble_members: int = 3
    """Members of that ensemble."""
    parameter_estimator: Literal["entropies", "mixture"] = "entropies"
    """The second entropy of G3: under one θ and fresh states, or of the mixture over the samples of θ."""
    preference_weight: float = 1.0
    """Weight of G1."""
    state_weight: float = 1.0
    """Weight of G2."""
    parameter_weight: float = 1.0
    """Weight of G3."""
    epistemic_until: float | None = None
    """Share of training after which the weights of G2 and G3 are 0, approached linearly; by default they stay."""

    # Departures from Algorithm 1
    horizon_conditioned: bool = False
    """Learn P(s_{t+h} | s_t, π̂, h) from every pair (t, h) of a segment, h in 1..H, instead of (0, H) alone."""
    efe_horizons: tuple[int, ...] = ()
    """G is the mean over jumps of these lengths (with `horizon_conditioned`); by default of H alone."""
    action_conditioned: bool = False
    """Give the transition the first action too, and take the policy's gradient through Σ_a π(a | o) G(o, a)."""
    discount: float = 1.0
    """γ per decision of the outcomes; below 1 with the critic."""
    observe: tuple[str, ...] = ()
    """Parts of the observation that the actor and critic see; by default all."""
    pooled: bool = False
    """Let them see how many components of a MultiDiscrete have each value, not which: for exchangeable components."""
    critic: Literal["none", "discounted"] = "none"
    """Predict outcomes and epistemic value beyond the first decision by a critic (see `daif.critic`)."""
    critic_hidden: tuple[int, ...] = (128, 128)
    """Hidden layers of the critic."""
    critic_members: int = 2
    """Members of the critic's ensemble."""
    critic_learning_rate: float = 1e-3
    """Learning rate of the critic."""
    target_rate: float = 0.005
    """Rate at which the critic's target network follows it."""
    policy_update: Literal["gradient", "posterior"] = "gradient"
    """Discrete actions: follow the gradient of Σ_a π(a | o) G(o, a), or fit the action posterior
    softmax(−G / temperature), whose gradient does not vanish for actions that have died out."""
    policy_from_average: bool = False
    """Improve the policy by the critic's averaged (target) weights, which are less noisy, not by its latest ones."""
    pessimistic: bool = True
    """Let the member with the largest G speak for the ensemble (clipped double estimation), not the mean."""
    soft_value: bool = False
    """Count the policy's entropy in the critic's targets (maximum-entropy control)."""
    outcome_scale: float = 1.0
    """Cost that counts for one nat of surprise."""
    outcome_head: Literal["state", "jump"] = "state"
    """Outcomes are read from the predicted state s_{t+H}, or predicted by θ_s from (s̃_t, π̂ [, a] [, h])."""
    rare_outcomes: tuple[str, ...] = ()
    """Outcomes, never negative, that are rare, as lost parts are: the model counts them (Poisson), the critic predicts
    them on a logarithmic scale and learns by relative error."""
    run_time_weights: dict[str, float] = field(default_factory=dict)
    """Weights of the preference's outcomes after training, by name; by default the middle of each range."""
    steps: int = 1
    """Decisions summed before the critic's target takes over; with `horizon_conditioned`, 1 to that many."""
    exploration: float = 0.0
    """Probability that a decision starts a random action, at the start of training."""
    exploration_end: float = 0.0
    """The same at the end."""
    max_hold: int = 1
    """A random action is held for 1..max_hold decisions."""
    actor_noise: float = 0.0
    """Standard deviation of noise on the actor's parameters, relative to their root mean square: each parallel
    environment and segment has its own perturbed actor, and its own π̂ (see `daif.perturbation`)."""
    warm_up: int = 0
    """Iterations of an untrained, uniformly random policy that only fill the memory."""

    def __post_init__(self) -> None:
        """Refuse impossible settings in one sentence."""
        check_choices(self)
        for name in (
            "epochs", "iterations", "num_envs", "horizon", "memory", "model_batch", "policy_batch", "samples",
            "inner_samples", "probes", "ensemble_members", "critic_members", "steps", "max_hold",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("transition_learning_rate", "model_learning_rate", "actor_learning_rate"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in (
            "beta", "entropy_weight", "planning_rate", "exploration", "exploration_end", "actor_noise", "warm_up",
        ):  # fmt: skip
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.segment is not None and self.segment < self.horizon:
            raise ValueError(f"segment is {self.segment}; it must be at least the horizon, {self.horizon}")
        if self.efe_horizons and not self.horizon_conditioned:
            raise ValueError(f"efe_horizons is {self.efe_horizons}; it needs horizon_conditioned")
        for h in self.efe_horizons:
            if not 1 <= h <= self.horizon:
                raise ValueError(f"efe_horizons holds {h}; a jump has 1 to {self.horizon} decisions")
        if self.epistemic_until is not None and not 0.0 < self.epistemic_until <= 1.0:
            raise ValueError(f"epistemic_until is {self.epistemic_until}; it must be in (0, 1]")
        if not 0.0 < self.discount <= 1.0:
            raise ValueError(f"discount is {self.discount}; it must be in (0, 1]")
        if self.critic != "none" and self.discount == 1.0:
            raise ValueError("discount is 1; with a critic it must be below 1")
        if "reward" in self.rare_outcomes:
            raise ValueError(
                "rare_outcomes holds 'reward', which may have either sign; it is for what is never negative"
            )
        if self.critic != "none" and self.steps > (self.segment or self.horizon):
            raise ValueError(f"steps is {self.steps}; a segment has {self.segment or self.horizon} decisions")
        if self.critic != "none" and self.horizon_conditioned and self.steps > self.horizon:
            raise ValueError(f"steps is {self.steps}; with horizon_conditioned the horizon, {self.horizon}, bounds it")
        if self.transition == "flow" and self.estimator == "analytic":
            raise ValueError("estimator is 'analytic'; the mean of a flow has no closed form: use 'sample'")
        if self.estimator == "antithetic" and self.samples % 2:
            raise ValueError(f"samples is {self.samples}; antithetic draws come in pairs")
        if self.policy_update == "posterior" and not self.entropy_weight > 0.0:
            raise ValueError("entropy_weight is 0; the action posterior needs a positive one as its temperature")
        if not self.reset_options:
            raise ValueError("reset_options is empty; give at least one mapping, which may be empty")
        if self.policy_encoding not in ENCODINGS:
            raise ValueError(unknown("policy_encoding", self.policy_encoding, ENCODINGS))
        if not self.actor_hidden:
            raise ValueError("actor_hidden is empty; the actor needs at least one hidden layer")

    @property
    def shortest_jump(self) -> int:
        """The smallest h of a row that the model learns from."""
        return 1 if self.horizon_conditioned else self.horizon

    @property
    def world_model(self) -> WorldModelConfig:
        """The sizes of the world model."""
        return WorldModelConfig(
            self.latent_dim, self.hidden, "relu", self.dropout, self.max_variance, self.outcome_head, self.transition,
        )  # fmt: skip

    @property
    def efe(self) -> EFESettings:
        """How G is estimated."""
        return EFESettings(
            self.samples, self.inner_samples, self.reduction, self.estimator, self.parameter_estimator,
            self.preference_weight, self.state_weight, self.parameter_weight,
        )  # fmt: skip
