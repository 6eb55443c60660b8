"""Expectation propagation for a scalar latent, its messages by quadrature or by a network that learned them.

p(z given data) ∝ N(z; prior) Π_i f_i(z) ≈ N(z; prior) Π_i q_i(z), q_i ← argmin KL[f_i q\\i ‖ q_i q\\i] (deck S,
"Message passing"; Minka 2001). Amortised messages: Heess, Tarlow & Winn (2013); Jitkrittum et al., arXiv 1503.02551.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from generative.nn import MLP

LogFactor = Callable[[Tensor, Tensor], Tensor]
"""log f(z, data): z (..., nodes), data (..., 1) -> (..., nodes)."""
Moments = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Tilted moments: cavity mean (...), cavity variance (...), data (...) -> mean and variance of f q\\i."""


def tilted_moments(
    log_factor: LogFactor, mean: Tensor, variance: Tensor, data: Tensor, nodes: int = 64
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log Z, mean and variance of f(z, data) N(z; mean, variance) / Z by Gauss-Hermite quadrature, (...)."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    at = torch.as_tensor(points, dtype=mean.dtype, device=mean.device)
    log_weight = torch.as_tensor(np.log(weights) - 0.5 * math.log(2.0 * math.pi), dtype=mean.dtype, device=mean.device)
    z = mean.unsqueeze(-1) + variance.sqrt().unsqueeze(-1) * at
    log_mass = log_weight + log_factor(z, data.unsqueeze(-1))
    log_z = torch.logsumexp(log_mass, -1)
    share = torch.exp(log_mass - log_z.unsqueeze(-1))
    first = (share * z).sum(-1)
    second = (share * (z - first.unsqueeze(-1)).square()).sum(-1)
    return log_z, first, second


@dataclass(frozen=True)
class Posterior:
    """A Gaussian approximation of p(z given data)."""

    mean: Tensor
    """(*batch,)."""
    variance: Tensor
    """(*batch,)."""
    sweeps: int
    """Passes over the factors that were made."""


def expectation_propagation(
    moments: Moments,
    data: Tensor,
    *,
    prior_mean: float = 0.0,
    prior_variance: float = 1.0,
    sweeps: int = 50,
    damping: float = 0.5,
    tolerance: float = 1e-8,
) -> Posterior:
    """Iterate the messages in parallel until their change is below the tolerance.

    Args:
        moments: tilted moments; `quadrature_moments(f)` or an `AmortisedMessage`.
        data: what each factor has seen (*batch, factors).
        prior_mean: of z.
        prior_variance: of z.
        sweeps: largest number of passes.
        damping: share of each new message that is taken in, in (0, 1].
        tolerance: largest change of a natural parameter.
    """
    if not 0.0 < damping <= 1.0:
        raise ValueError(f"damping is {damping}; it must be in (0, 1]")
    precision, shift = torch.zeros_like(data), torch.zeros_like(data)
    done = 0
    for _ in range(sweeps):
        total = precision.sum(-1, keepdim=True) + 1.0 / prior_variance
        total_shift = shift.sum(-1, keepdim=True) + prior_mean / prior_variance
        # A cavity without a positive precision (a message of negative one) is held at a wide Gaussian.
        cavity = (total - precision).clamp_min(1e-6)
        cavity_mean = (total_shift - shift) / cavity
        mean, variance = moments(cavity_mean, 1.0 / cavity, data)
        new_precision, new_shift = 1.0 / variance - cavity, mean / variance - cavity_mean * cavity
        change = torch.maximum((new_precision - precision).abs().max(), (new_shift - shift).abs().max())
        precision = precision + damping * (new_precision - precision)
        shift = shift + damping * (new_shift - shift)
        done += 1
        if float(change) < tolerance:
            break
    total = precision.sum(-1) + 1.0 / prior_variance
    return Posterior((shift.sum(-1) + prior_mean / prior_variance) / total, 1.0 / total, done)


def quadrature_moments(log_factor: LogFactor, nodes: int = 64) -> Moments:
    """Return the tilted moments of a factor by quadrature."""

    def moments(mean: Tensor, variance: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        return tilted_moments(log_factor, mean, variance, data, nodes)[1:]

    return moments


class AmortisedMessage(nn.Module):
    """A network (cavity mean, cavity log-variance, data) -> tilted moments, instead of an integral at each message.

    It gives the mean's shift in units of the cavity's scale and the log-ratio of the variances. Train it on cavities
    from the range that will be met, with `loss`.
    """

    def __init__(self, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.network = MLP(3, hidden, 2, activation_name="tanh")

    def forward(self, mean: Tensor, variance: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance of the tilted distribution, each (...)."""
        shift, log_ratio = self._outputs(mean, variance, data)
        return mean + variance.sqrt() * shift, variance * log_ratio.exp()

    def loss(self, log_factor: LogFactor, mean: Tensor, variance: Tensor, data: Tensor) -> Tensor:
        """Return the mean squared error of both outputs against quadrature."""
        with torch.no_grad():
            _, exact_mean, exact_variance = tilted_moments(log_factor, mean, variance, data)
        shift, log_ratio = self._outputs(mean, variance, data)
        error = (shift - (exact_mean - mean) / variance.sqrt()).square()
        return (error + (log_ratio - (exact_variance / variance).log()).square()).mean()

    def _outputs(self, mean: Tensor, variance: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.network(torch.stack(torch.broadcast_tensors(mean, variance.log(), data), -1))
        return outputs[..., 0], outputs[..., 1]
