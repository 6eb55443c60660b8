"""Semi-supervised variational autoencoders: M1, M2 and the auxiliary deep generative model.

M1 (Kingma et al., arXiv 1406.5298) is a classifier on the codes of an autoencoder that saw no class. M2 (same paper)
has a class y and a code z,

    p(x, y, z) = p(y) p(z) p(x | y, z),      q(y, z | x) = q(y | x) q(z | x, y);

the auxiliary model (Maaløe et al., arXiv 1602.05473) adds a variable a that makes the posterior richer and leaves
p(x, y, z) as it is: p(a | x, y, z) and q(a, y, z | x) = q(a | x) q(y | a, x) q(z | a, x, y).
The class is summed out exactly, never sampled. M1 + M2 is M2 on the codes of M1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Independent
from torch.nn import functional as F

from generative.data import Dataset
from generative.distributions import Head, gaussian
from generative.nn import MLP
from generative.protocol import Given, leading_shape
from generative.vae.core import GaussianVAE, Trunk
from generative.vae.likelihood import Likelihood, log_standard_normal

UNLABELLED = -1
"""The class number of a sample whose class is not known."""


@dataclass(frozen=True)
class SemiSupervisedConfig:
    """Settings of a semi-supervised variational autoencoder."""

    classes: int
    """Number of classes C."""
    latent_dim: int = 8
    """Size of the code z."""
    auxiliary_dim: int = 0
    """Size of the auxiliary variable a; 0 for none, which is M2."""
    hidden: tuple[int, ...] = (128,)
    """Widths of the hidden layers of every network."""
    activation: str = "silu"
    """Activation of the hidden layers."""
    dropout: float = 0.0
    """Dropout probability of the hidden layers while training."""
    input_noise: float = 0.0
    """Standard deviation of the noise on the inference networks' standardised input while training."""
    alpha: float = 10.0
    """Weight of the labelled cross-entropy, per labelled sample."""
    label_share: float = 0.1
    """Weight of the labelled bound beside the unlabelled one."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        if self.classes < 2:
            raise ValueError(f"classes is {self.classes}; it must be at least 2")
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}; it must be at least 1")
        if self.auxiliary_dim < 0:
            raise ValueError(f"auxiliary_dim is {self.auxiliary_dim}; it must be 0 or more")
        if not self.hidden:
            raise ValueError("hidden is (); every network needs a hidden layer")


class SemiSupervisedVAE(nn.Module):
    """M2 (`auxiliary_dim` 0) or the auxiliary deep generative model, with the class enumerated.

    Args:
        likelihood: the observation model; its `in_features` is the first hidden width.
        config: the settings.
    """

    has = frozenset({"elbo", "sample"})

    def __init__(self, likelihood: Likelihood, config: SemiSupervisedConfig) -> None:
        super().__init__()
        c = self.config = config
        features, code, aux = likelihood.features, c.latent_dim, c.auxiliary_dim
        self.likelihood = likelihood
        self.classifier = MLP(features + aux, c.hidden, c.classes, activation_name=c.activation, dropout=c.dropout)
        self.posterior = self._gaussian(features + aux + c.classes, code)
        self.decoder = Trunk(code + c.classes, c.hidden[::-1], c.activation, c.dropout)
        if aux:
            self.auxiliary_posterior = self._gaussian(features, aux)
            self.auxiliary_model = self._gaussian(features + c.classes + code, aux)

    def _gaussian(self, inputs: int, outputs: int) -> nn.Sequential:
        trunk = Trunk(inputs, self.config.hidden, self.config.activation, self.config.dropout)
        return nn.Sequential(trunk, Head(trunk.out_features, 2 * outputs, gaussian))

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x), which has an `elbo` and a `sample`; a context (..., C) of one-hot classes gives p(x | y)."""
        return Given(self, context)

    def standardise(self, x: Tensor) -> Tensor:
        """Return x as the inference networks see it: scaled, and with noise while training."""
        scaled = self.likelihood.standardise(x)
        if self.training and self.config.input_noise > 0.0:
            scaled = scaled + self.config.input_noise * torch.randn_like(scaled)
        return scaled

    def class_log_probs(self, x: Tensor, a: Tensor) -> Tensor:
        """Return log q(y | a, x), (..., C); a is (..., 0) where there is no auxiliary."""
        return torch.log_softmax(self.classifier(torch.cat([self.standardise(x), a], -1)), -1)

    def auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a ~ q(a | x); return it (..., A) and log q(a | x) (...)."""
        if not self.config.auxiliary_dim:
            return x[..., :0], torch.zeros(x.shape[:-1], dtype=x.dtype, device=x.device)
        q: Independent = self.auxiliary_posterior(self.standardise(x))
        a = q.rsample()
        return a, q.log_prob(a)

    def joint_bound(self, x: Tensor, y: Tensor, a: Tensor, log_q_a: Tensor, beta: float = 1.0) -> Tensor:
        """One-sample bound on log p(x, y) in nats for one-hot classes y (..., C), given a ~ q(a | x); shape (...).

        Its exponential is an unbiased estimate of p(x, y) where β, the weight of the code's cost, is 1.
        """
        scaled = self.standardise(x)
        q: Independent = self.posterior(torch.cat([scaled, a, y], -1))
        z = q.rsample()
        cost = q.log_prob(z) - log_standard_normal(z)
        if self.config.auxiliary_dim:
            p_a: Independent = self.auxiliary_model(torch.cat([self.likelihood.standardise(x), y, z], -1))
            cost = cost + log_q_a - p_a.log_prob(a)
        return self.decode(z, y).log_prob(x) - math.log(self.config.classes) - beta * cost

    def decode(self, z: Tensor, y: Tensor) -> Independent:
        """Return p(x | y, z) for one-hot classes y (..., C), event shape (D,)."""
        return self.likelihood(self.decoder(torch.cat([z, y], -1)))

    def labelled_bound(self, x: Tensor, labels: Tensor, beta: float = 1.0) -> Tensor:
        """One-sample bound on log p(x, y) in nats for class numbers (...)."""
        a, log_q_a = self.auxiliary(x)
        return self.joint_bound(x, self.one_hot(labels, x), a, log_q_a, beta)

    def class_bounds(self, x: Tensor, a: Tensor, log_q_a: Tensor, beta: float = 1.0) -> Tensor:
        """Return the bound on log p(x, y) of every class, (..., C), in nats."""
        count = self.config.classes
        y = torch.eye(count, dtype=x.dtype, device=x.device)
        y = y.reshape(count, *(1,) * (x.dim() - 1), count).expand(count, *x.shape[:-1], count)
        a, log_q_a = a.expand(count, *a.shape), log_q_a.expand(count, *log_q_a.shape)
        return self.joint_bound(x.expand(count, *x.shape), y, a, log_q_a, beta).movedim(0, -1)

    def elbo(self, x: Tensor, context: Tensor | None = None, beta: float = 1.0) -> Tensor:
        """One-sample bound in nats on log p(x), or on log p(x | y) for a context y; (..., D) -> (...).

        The former is Σ_y q(y | a, x) [bound on log p(x, y) − log q(y | a, x)].
        """
        a, log_q_a = self.auxiliary(x)
        if context is not None:
            return self.joint_bound(x, context, a, log_q_a, beta) + math.log(self.config.classes)
        log_q = self.class_log_probs(x, a)
        return (log_q.exp() * (self.class_bounds(x, a, log_q_a, beta) - log_q)).sum(-1)

    def classify(self, x: Tensor, samples: int = 1) -> Tensor:
        """Return q(y | x) = E_q(a | x) q(y | a, x) by Monte Carlo over the auxiliary, (..., C)."""
        many = x.expand(samples if self.config.auxiliary_dim else 1, *x.shape)
        return self.class_log_probs(many, self.auxiliary(many)[0]).exp().mean(0)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, ..., D) of x; a context (..., C) of one-hot classes fixes the class."""
        weight = self.likelihood.affine.weight
        shape = leading_shape(sample_shape, context)
        z = torch.randn(*shape, self.config.latent_dim, dtype=weight.dtype, device=weight.device)
        if context is None:
            context = self.one_hot(torch.randint(self.config.classes, tuple(shape), device=weight.device), z)
        return self.decode(z, context.expand(*shape, -1)).sample()

    def one_hot(self, labels: Tensor, like: Tensor) -> Tensor:
        """Return class numbers (...) as one-hot rows (..., C) in the dtype of a tensor."""
        return F.one_hot(labels, self.config.classes).to(like.dtype)


def semi_supervised_loss(model: SemiSupervisedVAE, x: Tensor, labels: Tensor, beta: float = 1.0) -> Tensor:
    """Mean loss J = mean −U(x) + share · mean −L(x, y) + α · mean −log q(y | a, x), in nats.

    Rows of x (n, D) whose class number in labels (n,) is `UNLABELLED` give U, the others L and the cross-entropy.
    In evaluation mode it is the mean −U of all rows, which needs no class.
    """
    if not model.training:
        return -model.elbo(x).mean()
    known = labels != UNLABELLED
    loss = x.new_zeros(())
    if not bool(known.all()):
        loss = loss - model.elbo(x[~known], beta=beta).mean()
    if bool(known.any()):
        rows, classes = x[known], labels[known]
        a, log_q_a = model.auxiliary(rows)
        bound = model.joint_bound(rows, model.one_hot(classes, rows), a, log_q_a, beta).mean()
        cross_entropy = F.nll_loss(model.class_log_probs(rows, a), classes)
        share = 1.0 if bool(known.all()) else model.config.label_share
        loss = loss - share * bound + model.config.alpha * cross_entropy
    return loss


def few_labels(labels: Tensor, per_class: int, generator: torch.Generator) -> Tensor:
    """Keep `per_class` class numbers of each class, drawn at random; (n,) -> (n,) with `UNLABELLED` elsewhere."""
    kept = torch.full_like(labels, UNLABELLED)
    for number in labels.unique().tolist():
        rows = (labels == number).nonzero()[:, 0]
        if len(rows) < per_class:
            raise ValueError(f"class {number} has {len(rows)} samples; {per_class} labels cannot be kept")
        chosen = rows[torch.randperm(len(rows), generator=generator)[:per_class].to(rows.device)]
        kept[chosen] = number
    return kept


def mixed_batches(x: Tensor, labels: Tensor) -> Callable[[int, torch.Generator], list[Tensor]]:
    """Return a sampler for `fit`: each batch has `batch_size` rows without their class, and all the labelled rows."""
    known = labels != UNLABELLED
    rows, classes = x[known], labels[known]

    def draw(batch_size: int, generator: torch.Generator) -> list[Tensor]:
        chosen = torch.randint(len(x), (batch_size,), generator=generator).to(x.device)
        hidden = torch.full((batch_size,), UNLABELLED, dtype=labels.dtype, device=labels.device)
        return [torch.cat([x[chosen], rows]), torch.cat([hidden, classes])]

    return draw


def semi_supervised_batches(
    data: Dataset, per_class: int = 5, seed: int = 0
) -> Callable[[int, torch.Generator], list[Tensor]]:
    """Return a sampler of the training part that shows `per_class` labels of each class, all of them in every batch."""
    shown = few_labels(data.labels["train"], per_class, torch.Generator().manual_seed(seed))
    return mixed_batches(data.train, shown)


class M1(nn.Module):
    """A multinomial logistic regression on the posterior means of an autoencoder trained without classes.

    Args:
        vae: the autoencoder; it is not changed.
        classes: number of classes C.
    """

    def __init__(self, vae: GaussianVAE, classes: int) -> None:
        super().__init__()
        self.vae = vae
        self.classifier = nn.Linear(vae.config.latent_dim, classes)

    def codes(self, x: Tensor) -> Tensor:
        """Return the posterior means (..., latent_dim) without gradients."""
        with torch.no_grad():
            return self.vae.posterior(x).mean

    def classify(self, x: Tensor) -> Tensor:
        """Return p(y | code of x), (..., C)."""
        return torch.softmax(self.classifier(self.codes(x)), -1)

    def fit_classifier(self, x: Tensor, labels: Tensor, decay: float = 1e-2, steps: int = 100) -> None:
        """Fit the regression to labelled x (n, D), class numbers (n,): mean cross-entropy + decay/2 ‖weights‖²."""
        codes = self.codes(x)
        optimiser = torch.optim.LBFGS(
            self.classifier.parameters(), max_iter=steps, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            penalty = 0.5 * decay * self.classifier.weight.square().sum()
            loss = F.cross_entropy(self.classifier(codes), labels) + penalty
            loss.backward()
            return loss

        optimiser.step(closure)
