"""Mixtures fitted by expectation maximisation: Gaussians with full covariances, and Bernoulli products.

p(x) = Σ_k π_k p(x | k)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.mixtures.em import EMConfig, run_em
from generative.protocol import Given


class Mixture(nn.Module):
    """Σ_k π_k p(x | k) with components that bring `log_probs`, `draw` and `maximise`.

    Args:
        components: `GaussianComponents` or `BernoulliComponents`.
    """

    has = frozenset({"log_prob", "sample", "mean"})

    def __init__(self, components: GaussianComponents | BernoulliComponents) -> None:
        super().__init__()
        self.components = components
        self.logits = nn.Parameter(torch.zeros(components.count))

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x); a mixture takes no context."""
        if context is not None:
            raise ValueError("a mixture takes no context")
        return Given(self)

    def joint(self, x: Tensor) -> Tensor:
        """Return log π_k + log p(x | k), (..., D) -> (..., K), in nats."""
        return torch.log_softmax(self.logits, -1) + self.components.log_probs(x)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x) in nats, (..., D) -> (...)."""
        return torch.logsumexp(self.joint(x), -1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """Return p(k | x), (..., D) -> (..., K)."""
        return torch.softmax(self.joint(x), -1)

    def mean(self, context: Tensor | None = None) -> Tensor:
        """Return E[x], (D,)."""
        return torch.softmax(self.logits, -1) @ self.components.means()

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, D)."""
        shape = torch.Size(sample_shape)
        drawn = torch.multinomial(torch.softmax(self.logits, -1), max(shape.numel(), 1), replacement=True)
        return self.components.draw(drawn).reshape(*shape, -1)

    @torch.no_grad()
    def fit(self, x: Tensor, config: EMConfig | None = None) -> list[float]:
        """Fit to x (n, D) by EM from k-means++ starts; return the mean log-likelihood of every round of the best start.

        Each round cannot lower the likelihood (up to the variance floor of the Gaussian components).
        """
        config = config or EMConfig()
        generator = torch.Generator().manual_seed(config.seed)
        best: tuple[float, list[float], dict[str, Tensor]] | None = None
        for _ in range(config.restarts):
            centres = spread_points(x, self.components.count, generator)
            nearest = torch.cdist(x, centres).argmin(-1)
            self._maximise(x, F.one_hot(nearest, self.components.count).to(x.dtype))
            trace = run_em(lambda: self._round(x), config)
            final = float(self.log_prob(x).mean())
            if best is None or final > best[0]:
                best = (final, trace, {name: value.clone() for name, value in self.state_dict().items()})
        if best is not None:
            self.load_state_dict(best[2])
            return [*best[1], best[0]]
        return []

    def _round(self, x: Tensor) -> Tensor:
        joint = self.joint(x)
        value = torch.logsumexp(joint, -1).mean()
        self._maximise(x, torch.softmax(joint, -1))
        return value

    def _maximise(self, x: Tensor, weights: Tensor) -> None:
        totals = weights.sum(0).clamp_min(1e-8)
        self.logits.copy_(totals.log() - totals.sum().log())
        self.components.maximise(x, weights, totals)


class GaussianComponents(nn.Module):
    """K Gaussians with full covariances Σ_k = L_k L_kᵀ.

    Args:
        count: K.
        features: D.
        floor: added to the diagonal of every covariance in `maximise` (variance, in squared units of x).
    """

    def __init__(self, count: int, features: int, floor: float = 1e-6) -> None:
        super().__init__()
        self.count, self.features, self.floor = count, features, floor
        self.location = nn.Parameter(torch.zeros(count, features))
        self.scale_tril = nn.Parameter(torch.eye(features).repeat(count, 1, 1))

    def means(self) -> Tensor:
        """Return the means (K, D)."""
        return self.location

    def log_probs(self, x: Tensor) -> Tensor:
        """Return log N(x; μ_k, Σ_k), (..., D) -> (..., K)."""
        lower = self.scale_tril.tril()
        flat = x.reshape(-1, self.features)
        centred = (flat.unsqueeze(0) - self.location.unsqueeze(1)).transpose(1, 2)
        whitened = torch.linalg.solve_triangular(lower, centred, upper=False)
        log_det = lower.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        constant = 0.5 * self.features * math.log(2.0 * math.pi)
        each = -0.5 * whitened.square().sum(1) - log_det.unsqueeze(-1) - constant
        return each.T.reshape(*x.shape[:-1], self.count)

    def draw(self, component: Tensor) -> Tensor:
        """Return one sample of each numbered component, (n,) -> (n, D)."""
        noise = torch.randn(len(component), self.features, 1).to(self.location)
        return self.location[component] + (self.scale_tril.tril()[component] @ noise).squeeze(-1)

    def maximise(self, x: Tensor, weights: Tensor, totals: Tensor) -> None:
        """Set the maximum-likelihood means and covariances for responsibilities (n, K) with their sums (K,)."""
        self.location.copy_(weights.T @ x / totals.unsqueeze(-1))
        centred = x.unsqueeze(0) - self.location.unsqueeze(1)
        scatter = torch.einsum("nk,knd,kne->kde", weights, centred, centred) / totals.reshape(-1, 1, 1)
        eye = torch.eye(self.features, dtype=x.dtype, device=x.device)
        self.scale_tril.copy_(torch.linalg.cholesky(scatter + self.floor * eye))


class BernoulliComponents(nn.Module):
    """K products of Bernoulli variables.

    Args:
        count: K.
        features: D.
        pseudo_count: ones and zeros added to each variable's counts in `maximise` (0 is maximum likelihood).
    """

    def __init__(self, count: int, features: int, pseudo_count: float = 0.0) -> None:
        super().__init__()
        self.count, self.features, self.pseudo_count = count, features, pseudo_count
        self.pixel_logits = nn.Parameter(torch.zeros(count, features))

    def means(self) -> Tensor:
        """Return the probabilities of a one (K, D)."""
        return torch.sigmoid(self.pixel_logits)

    def log_probs(self, x: Tensor) -> Tensor:
        """Return log P(x | k), (..., D) -> (..., K)."""
        return x @ F.logsigmoid(self.pixel_logits).T + (1.0 - x) @ F.logsigmoid(-self.pixel_logits).T

    def draw(self, component: Tensor) -> Tensor:
        """Return one sample of each numbered component, (n,) -> (n, D)."""
        return torch.bernoulli(self.means()[component])

    def maximise(self, x: Tensor, weights: Tensor, totals: Tensor) -> None:
        """Set the maximum-likelihood probabilities for responsibilities (n, K) with their sums (K,)."""
        ones = weights.T @ x + self.pseudo_count
        probability = ones / (totals.unsqueeze(-1) + 2.0 * self.pseudo_count)
        # a logit of ±14 keeps impossible values finite at a cost below 1e-6 nat a variable
        self.pixel_logits.copy_(torch.logit(probability.clamp(0.0, 1.0)).clamp(-14.0, 14.0))


def gaussian_mixture(count: int, features: int, floor: float = 1e-6) -> Mixture:
    """Return a mixture of `count` Gaussians with full covariances."""
    return Mixture(GaussianComponents(count, features, floor))


def bernoulli_mixture(count: int, features: int, pseudo_count: float = 0.0) -> Mixture:
    """Return a mixture of `count` products of Bernoulli variables."""
    return Mixture(BernoulliComponents(count, features, pseudo_count))


def spread_points(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose `count` points of x (n, D), each with probability ∝ its squared distance to those before (k-means++)."""
    if len(x) < count:
        raise ValueError(f"there are {len(x)} points; {count} components need at least as many")
    chosen = x[torch.randint(len(x), (1,), generator=generator)]
    for _ in range(count - 1):
        gap = torch.cdist(x, chosen).amin(-1).square().double().cpu() + 1e-12
        chosen = torch.cat([chosen, x[torch.multinomial(gap, 1, generator=generator)]])
    return chosen
