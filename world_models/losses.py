"""Variational free energy of the overshooting model: functions of distributions, in nats, of the batch shape.

`s_next` stands for time t+H, `s` for time t. Algorithm 1, lines 12 to 15.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from generative.distributions import standard_normal
from generative.divergences import kl
from world_models.likelihood import ObservationDistribution


def transition_loss(q_s_next: Distribution, p_s_next: Distribution) -> Tensor:
    """L_s = KL[ Q_φs(s_{t+H}) ‖ P_θs(s_{t+H} | s̃_t, π̂) ] (line 13)."""
    return kl(q_s_next, p_s_next)


def complexity(q_s_next: Distribution) -> Tensor:
    """KL[ Q_φs(s_{t+H}) ‖ N(0, 1) ] (line 15, before β)."""
    return kl(q_s_next, standard_normal(q_s_next.mean))


def reconstruction_loss(prediction: ObservationDistribution, observation: Tensor) -> Tensor:
    """−log P_θo(o_{t+H} | s̃_{t+H}) (line 14)."""
    return -prediction.log_prob(observation)


def outcome_loss(prediction: Distribution | None, outcomes: Tensor) -> Tensor:
    """−log P(y | ...) of the outcomes (..., C) of a jump as they are scaled; 0 where the model predicts none."""
    return -prediction.log_prob(outcomes) if prediction is not None else outcomes.new_zeros(outcomes.shape[:-1])
