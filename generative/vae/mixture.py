"""Mixtures of variational autoencoders: a finite one, and the infinite one that opens components as the data ask.

    p(x) = Σ_k π_k p_k(x),      log p(x) ≥ E log Σ_k π_k w_k,      w_k = p_k(x, z_k) / q_k(z_k | x)

In the infinite one the weights are a Dirichlet process' stick-breaking, π_k = v_k ∏_{j<k} (1 − v_j), v_k ~ Beta(1, α),
and the components not opened yet stand together as one broad density, their prior predictive.
Sources: Abbasnejad et al., arXiv 1611.07800 (infinite variational autoencoder); Blei & Jordan 2006 (sticks).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Beta, Independent, Normal, kl_divergence

from generative.protocol import Given, leading_shape
from generative.training import History, Monitor, TrainingConfig, evaluate, event_writer, fit, seeded
from generative.vae.core import GaussianVAE


class MixtureVAE(nn.Module):
    """Σ_k π_k p_k(x) with free weights and an autoencoder for each component.

    Args:
        components: the autoencoders, over the same variables and with the same context.
    """

    has = frozenset({"elbo", "sample"})

    def __init__(self, components: Sequence[GaussianVAE]) -> None:
        super().__init__()
        self.components = nn.ModuleList(components)
        self.logits = nn.Parameter(torch.zeros(len(components)))

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x) or p(x | context), which has an `elbo` and a `sample`."""
        return Given(self, context)

    def joint(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log π_k + log w_k of one draw of each code, (..., D) -> (..., K), in nats."""
        weights = [component.terms(x, context).log_weight for component in self.components]  # type: ignore[operator]
        return torch.log_softmax(self.logits, -1) + torch.stack(weights, -1)

    def elbo(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log Σ_k π_k w_k in nats, (..., D) -> (...); its expectation is a bound on log p(x)."""
        return torch.logsumexp(self.joint(x, context), -1)

    def responsibilities(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return an estimate of p(k | x) from one draw of each code, (..., D) -> (..., K)."""
        return torch.softmax(self.joint(x, context), -1)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, ..., D)."""
        shape = leading_shape(sample_shape, context)
        rows = torch.stack([component.sample(sample_shape, context) for component in self.components])  # type: ignore[operator]
        weights = torch.softmax(self.logits, -1)
        drawn = torch.multinomial(weights, max(shape.numel(), 1), replacement=True).reshape(1, *shape, 1)
        return rows.gather(0, drawn.expand(1, *rows.shape[1:])).squeeze(0)


class Sticks(nn.Module):
    """Posterior q(v_k) = Beta(a_k, b_k) of a stick-breaking with the prior Beta(1, α), k = 1 … K.

    Args:
        count: K, the number of sticks broken off; what is left is the weight of all later components.
        concentration: α > 0; the larger, the more components are expected.
    """

    first: Tensor
    second: Tensor

    def __init__(self, count: int, concentration: float) -> None:
        super().__init__()
        if concentration <= 0.0:
            raise ValueError(f"concentration is {concentration}; it must be above 0")
        self.concentration = concentration
        self.register_buffer("first", torch.ones(count))
        self.register_buffer("second", torch.full((count,), concentration))

    def log_weights(self) -> Tensor:
        """Return E log π_k of the K components and of the rest, (K + 1,), in nats."""
        total = torch.digamma(self.first + self.second)
        taken, left = torch.digamma(self.first) - total, torch.digamma(self.second) - total
        before = torch.cat([left.new_zeros(1), left.cumsum(0)])
        return before + torch.cat([taken, taken.new_zeros(1)])

    def mean(self) -> Tensor:
        """Return E π_k of the K components and of the rest, (K + 1,); they sum to 1."""
        share = self.first / (self.first + self.second)
        left = torch.cat([share.new_ones(1), (1.0 - share).cumprod(0)])
        return left * torch.cat([share, share.new_ones(1)])

    def cost(self) -> Tensor:
        """Return KL[q(v) ‖ p(v)] in nats, once for all the data; scalar."""
        prior = Beta(torch.ones_like(self.first), torch.full_like(self.first, self.concentration))
        return kl_divergence(Beta(self.first, self.second), prior).sum()

    def update(self, counts: Tensor) -> None:
        """Set the best q for expected counts (K + 1,): a_k = 1 + N_k, b_k = α + Σ_{j>k} N_j."""
        self.first = 1.0 + counts[:-1]
        self.second = self.concentration + counts.flip(0).cumsum(0).flip(0)[1:]


@dataclass(frozen=True)
class GrowthConfig:
    """Settings of the growth of an infinite mixture."""

    concentration: float = 1.0
    """α of the stick-breaking."""
    share: float = 0.05
    """A component is opened while more than this share of the data is explained better by the base density."""
    limit: int = 20
    """Largest number of components."""
    training: TrainingConfig = TrainingConfig(steps=300, learning_rate=1e-2, evaluate_every=300)  # noqa: RUF009 - frozen
    """Of a new component on the points around its seed, and then of all of them together."""
    spread: float = 2.0
    """Standard deviation of the base density, in those of the data."""


class InfiniteVAE(nn.Module):
    """Dirichlet-process mixture of autoencoders; it starts with none, and `grow` opens what the data ask for.

    Args:
        new_component: builds an untrained autoencoder.
        mean: mean of the data (D,), of the base density.
        scale: standard deviation of the data, scalar or (D,).
        config: the settings.
    """

    has = frozenset({"elbo", "sample"})
    location: Tensor
    scale: Tensor

    def __init__(
        self, new_component: Callable[[], GaussianVAE], mean: Tensor, scale: Tensor, config: GrowthConfig
    ) -> None:
        super().__init__()
        self.config, self.new_component = config, new_component
        self.register_buffer("location", mean.detach().clone())
        self.register_buffer("scale", (config.spread * scale).expand(mean.shape).detach().clone())
        self.components = nn.ModuleList()
        self.sticks = Sticks(0, config.concentration)

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x), which has an `elbo` and a `sample`; the mixture takes no context."""
        if context is not None:
            raise ValueError("the infinite mixture takes no context")
        return Given(self)

    def base(self) -> Independent:
        """Return the density of a component that is not opened yet, event (D,)."""
        return Independent(Normal(self.location, self.scale, validate_args=False), 1, validate_args=False)

    def joint(self, x: Tensor) -> Tensor:
        """Return E log π_k + log w_k of one draw of each code, the base density last, (..., D) -> (..., K + 1)."""
        weights = [component.terms(x).log_weight for component in self.components]  # type: ignore[operator]
        return self.sticks.log_weights() + torch.stack([*weights, self.base().log_prob(x)], -1)

    def elbo(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log Σ_k exp(E log π_k) w_k in nats, (..., D) -> (...); its expectation bounds the predictive log p(x).

        Its sum over the training data less `sticks.cost()` bounds their log-evidence.
        """
        return torch.logsumexp(self.joint(x), -1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """Return an estimate of p(k | x), the base density last, (..., D) -> (..., K + 1)."""
        return torch.softmax(self.joint(x), -1)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, D)."""
        shape = torch.Size(sample_shape)
        opened = [component.sample(shape) for component in self.components]  # type: ignore[operator]
        rows = torch.stack([*opened, self.base().sample(shape)])
        drawn = torch.multinomial(self.sticks.mean(), max(shape.numel(), 1), replacement=True).reshape(1, *shape, 1)
        return rows.gather(0, drawn.expand(1, *rows.shape[1:])).squeeze(0)

    def open(self, count: int) -> None:
        """Set the number of components, untrained ones at the end."""
        built = [self.new_component() for _ in range(count - len(self.components))]
        self.components = nn.ModuleList([*self.components, *built][:count]).to(self.location)
        self.sticks = Sticks(count, self.config.concentration).to(self.location)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Open as many components as were saved, and load them."""
        self.open(len(state_dict["sticks.first"]))
        return super().load_state_dict(state_dict, *args, **kwargs)

    def grow(self, x: Tensor, opened: Callable[[InfiniteVAE], None] = lambda model: None) -> list[int]:
        """Open components until the data (n, D) are explained; return how many points each new one was asked for.

        A new component learns the points around one that the base density explains best; then all are trained together.
        Components are kept in order of their size, largest first, as stick-breaking wants them; `opened` is called with
        the mixture whenever there is one more.
        """
        c, asked = self.config, []
        generator = torch.Generator().manual_seed(c.training.seed)
        while len(self.components) < c.limit:
            with torch.no_grad(), seeded(c.training.seed):
                unexplained = x[self.responsibilities(x)[:, -1] > 0.5]
            if len(unexplained) <= c.share * len(x):
                break
            asked.append(len(unexplained))
            seed_point = unexplained[torch.randint(len(unexplained), (1,), generator=generator).to(x.device)]
            near = torch.cdist(unexplained, seed_point)[:, 0].argsort()[: max(int(c.share * len(x)), 2)]
            with seeded(c.training.seed + len(asked)):
                self.open(len(self.components) + 1)
            fit(self.components[-1], unexplained[near], config=c.training)
            self.update(x)
            fit(self, x, config=c.training, on_step=lambda _, step: self.update(x) if step % 50 == 0 else None)
            self.update(x)
            opened(self)
        return asked

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Give the components their order and the sticks their best posterior for the data (n, D)."""
        counts = self.responsibilities(x).sum(0)
        order = counts[:-1].argsort(descending=True)
        self.components = nn.ModuleList(self.components[i] for i in order.tolist())
        self.sticks.update(torch.cat([counts[order], counts[-1:]]))


def train_by_growth(
    model: InfiniteVAE,
    source: Sequence[Tensor],
    *,
    config: TrainingConfig,
    log_dir: str | Path | None = None,
    monitor: Monitor | None = None,
) -> History:
    """Grow an infinite mixture; the history's steps are the numbers of components that it had.

    Args:
        model: without components, changed in place.
        source: the data (n, D), alone in a sequence.
        config: of each new component, and of all of them together after it.
        log_dir: folder for TensorBoard events; None for none.
        monitor: figures to record whenever there is one more component.
    """
    (x,) = source
    model.config = replace(model.config, training=config)
    history, started, writer = History(), time.perf_counter(), event_writer(log_dir)

    def record(grown: InfiniteVAE) -> None:
        nats, count = evaluate(grown, x), len(grown.components)
        history.steps.append(count)
        history.train.append(nats)
        history.validation.append(nats)
        history.best, history.best_step = nats, count
        figures = {} if monitor is None else monitor(grown)
        for name, value in figures.items():
            history.curves.setdefault(name, []).append(value)
        if writer is not None:
            for name, value in {"loss/train": nats, **figures}.items():
                writer.add_scalar(name, value, count)

    model.grow(x, record)
    model.eval()
    if writer is not None:
        writer.close()
    history.seconds = time.perf_counter() - started
    return history
