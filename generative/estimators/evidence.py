"""Importance sampling of the evidence p(x) = E_q[p(x, z) / q(z)] (Mohamed's lecture; Burda et al. for log p)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution


@dataclass(frozen=True)
class Evidence:
    """An estimate of the evidence of each element of a batch."""

    log_evidence: Tensor
    """log of the mean weight, nats (*batch,); the mean weight is unbiased, its log is low on average."""
    relative_error: Tensor
    """Standard error of the mean weight as a share of it (*batch,)."""
    effective_samples: Tensor
    """(Σ w)² / Σ w² (*batch,): small where the proposal misses the posterior."""


@torch.no_grad()
def importance_evidence(
    log_joint: Callable[[Tensor], Tensor],
    proposal: Distribution,
    samples: int = 1000,
    chunk: int = 1000,
) -> Evidence:
    """Estimate log p(x) with w = p(x, z) / q(z), z ~ q.

    Args:
        log_joint: log p(x, z) in nats at z (n, *batch, *event) -> (n, *batch).
        proposal: q(z given x), of batch shape (*batch,) and a full event; heavier tails than the posterior's are safe.
        samples: number of z, at least 2.
        chunk: how many are evaluated at once.
    """
    if samples < 2:
        raise ValueError(f"samples is {samples}; it must be at least 2")
    parts = []
    for start in range(0, samples, chunk):
        z = proposal.sample(torch.Size((min(chunk, samples - start),)))
        parts.append(log_joint(z) - proposal.log_prob(z))
    log_w = torch.cat(parts)
    total, squares = torch.logsumexp(log_w, 0), torch.logsumexp(2.0 * log_w, 0)
    effective = torch.exp(2.0 * total - squares)
    relative = ((samples / effective - 1.0).clamp_min(0.0) / (samples - 1)).sqrt()
    return Evidence(total - math.log(samples), relative, effective)
