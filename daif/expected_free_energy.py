"""The expected free energy G of a policy, in nats, and its three terms (Algorithm 1, lines 20 to 35).

    G  = G1 + G2 + G3
    G1 = −log Ψ[ P_θo(o_{t+H} | s̃_{t+H}) ]                                      preference (extrinsic)
    G2 = H[ Q_φs(s_{t+H} | õ_{t+H}) ] − H[ P_θs(s_{t+H} | s̃_t, π̂) ]             state uncertainty
    G3 = E_θ H[ o_{t+H} | s̃_{t+H}, θ ] − H[ o_{t+H} | s̃_{t+H} ]                 parameter uncertainty

The model may be one network, whose dropout masks are the samples of θ, or an ensemble of them.

All samples are evaluated in one batch; there is no loop over them. A smaller G is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from daif.preference import Preference
from generative.divergences import Reduction, entropy
from generative.nn import sampled_theta
from world_models.ensemble import Ensemble
from world_models.flowed_gaussian import FlowedGaussian
from world_models.likelihood import ObservationDistribution
from world_models.overshooting_vae import OvershootingVAE

Estimator = Literal["sample", "antithetic", "analytic"]
ParameterEstimator = Literal["entropies", "mixture"]


@dataclass(frozen=True)
class EFESettings:
    """How G is estimated and weighted."""

    samples: int = 10
    """S1, draws of the state s̃_{t+H} in G1 and G2."""
    inner_samples: int = 10
    """S2, draws of (θ, s̃_{t+H}) in G3."""
    reduction: Reduction = "mean"
    """Entropies per random variable ("mean": the terms are of one scale, as the authors have it) or joint ("sum")."""
    estimator: Estimator = "sample"
    """"sample": s̃_{t+H} drawn as in Algorithm 1; "antithetic": in pairs with opposite noise, whose errors cancel to
    first order; "analytic": its mean alone, without that noise but biased where the decoder is curved."""
    parameter_estimator: ParameterEstimator = "entropies"
    """The second entropy of G3: under one θ and fresh states ("entropies", Algorithm 1), or of the mixture over θ
    ("mixture"), so that G3 is minus the mutual information of θ and o, which vanishes where the samples of θ agree."""
    preference_weight: float = 1.0
    """Weight of G1; 0 leaves the term out."""
    state_weight: float = 1.0
    """Weight of G2; 0 leaves the term out."""
    parameter_weight: float = 1.0
    """Weight of G3; 0 leaves the term out."""


@dataclass(frozen=True)
class ExpectedFreeEnergy:
    """G and its weighted terms, each of the batch shape, in nats."""

    total: Tensor
    preference: Tensor
    state: Tensor
    parameter: Tensor


def expected_free_energy(
    models: Ensemble,
    preference: Preference,
    observation: Tensor,
    code: Tensor,
    settings: EFESettings,
) -> ExpectedFreeEnergy:
    """Estimate G for normalised observations õ_t (B, O) and transition codes (B, P), or (A, B, P) for A first actions.

    First actions are compared with the same states s̃_t and the same noise of s̃_{t+H}. The first model speaks for G1 and
    G2. Dropout is off but for G3, where its masks are the samples of θ if there is but one model.
    """
    model = models[0]
    s_t = model.draw_state(observation, code)  # lines 21, 22
    p_s_next = model.transition(s_t, code)  # line 24
    if settings.estimator == "analytic":
        s_next = p_s_next.mean.unsqueeze(0)
    else:
        s_next = _draws(p_s_next, settings, len(observation))  # line 25
    prediction = model.predict(s_t, code, s_next)  # line 26
    zero = torch.zeros_like(s_next[0, ..., 0])

    g1 = preference(prediction).mean(0) if settings.preference_weight else zero  # line 29

    g2 = zero
    if settings.state_weight:
        q_s_next = model.encode(prediction.observation.rsample())  # lines 27, 28
        g2 = entropy(q_s_next, settings.reduction).mean(0) - entropy(p_s_next, settings.reduction)  # line 30

    g3 = zero
    if settings.parameter_weight:
        g3 = parameter_uncertainty(models, observation, s_t, code, settings)  # lines 31 to 35

    g1, g2, g3 = settings.preference_weight * g1, settings.state_weight * g2, settings.parameter_weight * g3
    return ExpectedFreeEnergy(g1 + g2 + g3, g1, g2, g3)


def _draws(p_s_next: Distribution, settings: EFESettings, batch: int) -> Tensor:
    """Draw states (S1, ..., B, S) of a distribution of batch shape (..., B), whose noise is shared over `...`."""
    samples, antithetic = settings.samples, settings.estimator == "antithetic"
    if p_s_next.batch_shape == (batch,) and not antithetic:
        return p_s_next.rsample(torch.Size([samples]))
    gaussian = p_s_next.base if isinstance(p_s_next, FlowedGaussian) else p_s_next
    mean, scale = gaussian.mean, gaussian.stddev
    noise = torch.randn(samples // 2 if antithetic else samples, *mean.shape[-2:], device=mean.device, dtype=mean.dtype)
    if antithetic:
        noise = torch.cat([noise, -noise])
    drawn = mean + scale * noise.reshape(samples, *(1,) * (mean.dim() - 2), *mean.shape[-2:])
    return p_s_next.bend(drawn) if isinstance(p_s_next, FlowedGaussian) else drawn


def parameter_uncertainty(
    models: Ensemble, observation: Tensor, s_t: Tensor, code: Tensor, settings: EFESettings
) -> Tensor:
    """G3 of the first model's states s̃_t (..., S): E_θ H[o | s̃, θ] over θ, minus the entropy of one prediction."""
    if len(models) > 1:  # departure: θ by an ensemble
        fresh = models.predict(observation, code)
    else:
        fresh = _under_dropout(models[0], "fresh", s_t, code, settings.inner_samples)
    if settings.parameter_estimator == "mixture":  # departure: the mixture's entropy
        second = fresh.mixture_entropy(settings.reduction)
    elif len(models) > 1:
        p_s_next = models[0].transition(s_t, code)
        s_next = p_s_next.rsample(torch.Size([len(models)]))
        second = models[0].decode(s_next).entropy(settings.reduction).mean(0)
    else:
        same = _under_dropout(models[0], "same", s_t, code, settings.inner_samples)
        second = same.entropy(settings.reduction).mean(0)
    return fresh.entropy(settings.reduction).mean(0) - second


def _under_dropout(
    model: OvershootingVAE, theta: str, s_t: Tensor, code: Tensor, samples: int
) -> ObservationDistribution:
    """Predictions (samples, ...) of a jump, with a fresh dropout mask for each sample or the same one for all."""
    shape = torch.Size([samples])
    with sampled_theta(model, theta):
        s_next = model.transition(s_t.expand(shape + s_t.shape), code.expand(shape + code.shape)).rsample()
        return model.decode(s_next)
