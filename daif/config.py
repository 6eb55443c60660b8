"""Settings of the DAIF agent; the defaults are the paper's (arXiv 2505.19867), each departure is a named field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from daif.expected_free_energy import EFESettings
from daif.policy_encoding import ENCODINGS
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

    # Policy
    actor_hidden: tuple[int, ...] = (64, 32)
    """Hidden layers of the actor."""
    policy_encoding: str = "activations"
    """Π: activations, probes or parameters."""
    probes: int = 16
    """K, learned probe observations of the encoding `probes`."""
    actor_learning_rate: float = 5e-5
    """α, of the actor φ_a."""
    planning_rate: float = 0.2
    """Learning rate of the planning steps at run time, as a fraction of α."""
    entropy_weight: float = 0.0
    """Weight of the actor's entropy, subtracted from G (a regulariser that Algorithm 1 does not have)."""
    max_gradient_norm: float | None = None
    """Norm at which the gradients are clipped; none in Algorithm 1."""

    # Expected free energy
    preference: str = "auto"
    """Ψ, see `daif.preference`; "auto" is the last component of an observation part `scores`, or else the reward."""
    samples: int = 10
    """S1, draws of the predicted state."""
    inner_samples: int = 10
    """S2, draws of θ."""
    reduction: Literal["mean", "sum"] = "mean"
    """Entropies per random variable or joint."""
    estimator: Literal["sample", "analytic"] = "sample"
    """How G1 and G2 are estimated."""
    preference_weight: float = 1.0
    """Weight of G1."""
    state_weight: float = 1.0
    """Weight of G2."""
    parameter_weight: float = 1.0
    """Weight of G3."""

    # Departures from Algorithm 1
    horizon_conditioned: bool = False
    """Learn P(s_{t+h} | s_t, π̂, h) from every pair (t, h) of a segment, h in 1..H, instead of (0, H) alone."""
    action_conditioned: bool = False
    """Give the transition the first action too, and take the policy's gradient through Σ_a π(a | o) G(o, a)."""
    outcome_discount: float = 1.0
    """Discount per decision of the outcomes that the model predicts."""

    def __post_init__(self) -> None:
        """Refuse impossible settings in one sentence."""
        for name in (
            "epochs", "iterations", "num_envs", "horizon", "memory", "model_batch", "policy_batch", "samples",
            "inner_samples", "probes",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("transition_learning_rate", "model_learning_rate", "actor_learning_rate"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("beta", "entropy_weight", "planning_rate"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.segment is not None and self.segment < self.horizon:
            raise ValueError(f"segment is {self.segment}; it must be at least the horizon, {self.horizon}")
        if not 0.0 < self.outcome_discount <= 1.0:
            raise ValueError(f"outcome_discount is {self.outcome_discount}; it must be in (0, 1]")
        if not self.reset_options:
            raise ValueError("reset_options is empty; give at least one mapping, which may be empty")
        if self.policy_encoding not in ENCODINGS:
            raise ValueError(f"unknown policy_encoding {self.policy_encoding!r}; allowed: {', '.join(ENCODINGS)}")
        if not self.actor_hidden:
            raise ValueError("actor_hidden is empty; the actor needs at least one hidden layer")

    @property
    def world_model(self) -> WorldModelConfig:
        """The sizes of the world model."""
        return WorldModelConfig(self.latent_dim, self.hidden, "relu", self.dropout, self.max_variance)

    @property
    def efe(self) -> EFESettings:
        """How G is estimated."""
        return EFESettings(
            self.samples, self.inner_samples, self.reduction, self.estimator,
            self.preference_weight, self.state_weight, self.parameter_weight,
        )  # fmt: skip
