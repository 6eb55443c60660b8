"""The expected free energy G of a policy, in nats, and its three terms (Algorithm 1, lines 20 to 35).

    G  = G1 + G2 + G3
    G1 = −log Ψ[ P_θo(o_{t+H} | s̃_{t+H}) ]                                      preference (extrinsic)
    G2 = H[ Q_φs(s_{t+H} | õ_{t+H}) ] − H[ P_θs(s_{t+H} | s̃_t, π̂) ]             state uncertainty
    G3 = E_θ H[ o_{t+H} | s̃_{t+H}, θ ] − H[ o_{t+H} | s̃_{t+H} ]                 parameter uncertainty

All samples are evaluated in one batch; there is no loop over them. A smaller G is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from daif.preference import Preference
from generative.divergences import Reduction, entropy
from generative.nn import sampled_theta
from world_models.overshooting_vae import OvershootingVAE

Estimator = Literal["sample", "analytic"]


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
    """"sample": s̃_{t+H} drawn as in Algorithm 1; "analytic": its mean, where G1 and G2 need no noise."""
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
    model: OvershootingVAE, preference: Preference, observation: Tensor, code: Tensor, settings: EFESettings
) -> ExpectedFreeEnergy:
    """Estimate G for normalised observations õ_t (..., O) and transition codes (..., P).

    The model's dropout is off but for G3, where its masks are the samples of θ.
    """
    s_t = model.encode(observation).rsample()  # lines 21, 22
    p_s_next = model.transition(s_t, code)  # line 24
    if settings.estimator == "analytic":
        s_next = p_s_next.mean.unsqueeze(0)
    else:
        s_next = p_s_next.rsample(torch.Size([settings.samples]))  # line 25
    prediction = model.decode(s_next)  # line 26
    zero = torch.zeros_like(s_next[0, ..., 0])

    g1 = preference(prediction).mean(0) if settings.preference_weight else zero  # line 29

    g2 = zero
    if settings.state_weight:
        q_s_next = model.encode(prediction.observation.rsample())  # lines 27, 28
        g2 = entropy(q_s_next, settings.reduction).mean(0) - entropy(p_s_next, settings.reduction)  # line 30

    g3 = zero
    if settings.parameter_weight:
        g3 = parameter_uncertainty(model, s_t, code, settings)  # lines 31 to 35

    g1, g2, g3 = settings.preference_weight * g1, settings.state_weight * g2, settings.parameter_weight * g3
    return ExpectedFreeEnergy(g1 + g2 + g3, g1, g2, g3)


def parameter_uncertainty(model: OvershootingVAE, s_t: Tensor, code: Tensor, settings: EFESettings) -> Tensor:
    """G3 = E_θ H[o | s̃, θ] for a fresh θ (dropout mask) per sample, minus H[o | s̃] under one θ and fresh states."""
    samples = torch.Size([settings.inner_samples])
    entropies = []
    for theta in ("fresh", "same"):
        with sampled_theta(model, theta):
            s_next = model.transition(s_t.expand(samples + s_t.shape), code.expand(samples + code.shape)).rsample()
            entropies.append(model.decode(s_next).observation.entropy(settings.reduction).mean(0))
    return entropies[0] - entropies[1]
