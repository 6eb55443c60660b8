"""Training losses of variational autoencoders: loss(model, x, context) is a mean over the batch, in nats."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from generative.objectives import importance_weighted_bound, log_weights, renyi_bound


@dataclass(frozen=True)
class BetaLoss:
    """Mean −E_q log p(x | z) + β KL: β > 1 asks for codes that carry less (β-VAE)."""

    beta: float = 4.0
    """Weight of the KL divergence."""

    def __call__(self, model: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch in nats."""
        return -model(context).elbo(x, beta=self.beta).mean()


@dataclass(frozen=True)
class ImportanceWeightedLoss:
    """Mean −L_K, the importance-weighted autoencoder's loss (arXiv 1509.00519)."""

    samples: int = 5
    """K, the number of samples of each data point."""

    def __call__(self, model: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch in nats."""
        return -importance_weighted_bound(log_weights(model, x, context, self.samples)).mean()  # type: ignore[arg-type]


@dataclass(frozen=True)
class RenyiLoss:
    """Mean −L_α of the Rényi bound (arXiv 1602.02311)."""

    alpha: float = 0.5
    """Order: 1 is the ELBO, 0 the importance-weighted bound."""
    samples: int = 5
    """K, the number of samples of each data point."""

    def __call__(self, model: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch in nats."""
        return -renyi_bound(log_weights(model, x, context, self.samples), self.alpha).mean()  # type: ignore[arg-type]


class WarmUpLoss:
    """Mean −E_q log p(x | z) + β KL with β rising linearly from 0 to 1 over each model's first calls while training.

    Args:
        steps: number of training calls until β = 1.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._calls: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

    def __call__(self, model: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch in nats."""
        beta = 1.0
        if model.training:
            calls = self._calls.get(model, 0)
            beta = min(calls / max(self.steps, 1), 1.0)
            self._calls[model] = calls + 1
        return -model(context).elbo(x, beta=beta).mean()


@dataclass(frozen=True)
class FreeBitsLoss:
    """Mean −E_q log p(x | z) + max(KL, nats): the first nats of the code cost nothing while training, so it is used.

    Source: Kingma et al., arXiv 1606.04934 (one group). In evaluation mode it is the mean −ELBO.
    """

    nats: float = 4.0
    """Mean KL below which the divergence has no gradient."""

    def __call__(self, model: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch in nats."""
        terms = model.terms(x, context)  # type: ignore[operator]
        penalty = terms.kl.mean()
        return (penalty.clamp_min(self.nats) if model.training else penalty) - terms.log_likelihood.mean()
