"""How much of a mixture of separate Gaussians a sampler covers, and how well it hits what it covers.

Source: Srivastava et al., arXiv 1705.07761 (VEEGAN); Lin et al., arXiv 1712.04086 (PacGAN).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PERFECT_SHARE = 1.0 - math.exp(-4.5)
"""High-quality share of the true mixture in two dimensions, P(χ²₂ ≤ 9) = 0.9889; more means that variance is lost."""


@dataclass(frozen=True)
class ModeReport:
    """What 2-D samples say about the modes; tensors have the samples' batch shape."""

    modes: Tensor
    """Number of modes with at least one sample within three standard deviations."""
    high_quality: Tensor
    """Share of samples within three standard deviations of a mode."""
    reverse_kl: Tensor
    """KL(samples' nearest modes ‖ uniform) in nats: 0 for equal shares, log K where all went to one mode."""


def mode_report(samples: Tensor, modes: Tensor, noise: float) -> ModeReport:
    """Count the modes that samples cover.

    Args:
        samples: (..., n, 2).
        modes: centres (K, 2).
        noise: standard deviation of each mode.
    """
    distance, nearest = torch.cdist(samples, modes.to(samples)).min(-1)
    close = distance <= 3.0 * noise
    member = torch.nn.functional.one_hot(nearest, len(modes)).to(samples.dtype)
    share = member.mean(-2)
    return ModeReport(
        modes=((member * close.unsqueeze(-1)).sum(-2) > 0).sum(-1),
        high_quality=close.to(samples.dtype).mean(-1),
        reverse_kl=(torch.xlogy(share, share) + share * math.log(len(modes))).sum(-1),
    )
