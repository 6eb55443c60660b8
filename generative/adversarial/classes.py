"""Games about classes: AC-GAN, semi-supervised GAN (K + 1 classes), CatGAN and RIM.

Source: Odena et al., arXiv 1610.09585; Salimans et al., arXiv 1606.03498; Odena, arXiv 1606.01583; Springenberg,
arXiv 1511.06390; Krause, Perona & Gomes 2010; both lectures.
"""

from __future__ import annotations

from itertools import permutations
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.adversarial.gan import GAN
from generative.protocol import Given
from generative.vae.semi_supervised import UNLABELLED


class ACGAN(nn.Module):
    """Conditional generator; the critic does not see the class but predicts it: one logit of "real" and K of classes.

    Both players also minimise the cross-entropy of the classes, the critic on real samples only: with the paper's term
    on generated ones it learns to name a misplaced sample by the class that it was meant for; nothing pulls it back.

    Args:
        gan: a `GAN` with `classes` whose critic maps (..., features) -> (..., 1 + classes).
        weight: of the cross-entropies.
    """

    has: ClassVar[frozenset[str]] = GAN.has
    critic_parts: ClassVar[tuple[str, ...]] = ("critic",)

    def __init__(self, gan: GAN, weight: float = 1.0) -> None:
        super().__init__()
        self.critic = gan.critic
        gan.critic = nn.Identity()
        self.gan = gan
        self.weight = weight

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the sampler given one-hot classes; without them the classes are drawn uniformly."""
        return self.gan(context)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit of "real" (...) and those of the classes (..., K) at data (..., features)."""
        outputs = self.critic((x - self.gan.mean) / self.gan.scale)
        return outputs[..., 0], outputs[..., 1:]

    def score(self, x: Tensor) -> Tensor:
        """Return the logit of "real" at data (..., features); (...)."""
        return self.logits(x)[0]

    def critic_loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the critic's loss of data (batch, features) and labels (batch,)."""
        real, classes = self.logits(x)
        fake, _ = self.logits(self.gan.sample((), self.gan.one_hot(labels)))
        return self.gan.objective.critic(real, fake) + self.weight * F.cross_entropy(classes, labels)

    def generator_loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the generator's loss for the labels (batch,)."""
        fake, classes = self.logits(self.gan.rsample((), self.gan.one_hot(labels)))
        real, _ = self.logits(x)
        return self.gan.objective.generator(real, fake) + self.weight * F.cross_entropy(classes, labels)


class SemiSupervisedGAN(nn.Module):
    """A classifier of K classes and "generated": D(x) = Z / (Z + 1), Z = Σ_k exp(l_k), with few labels.

    The generator matches the mean features of the classifier's last hidden layer (Salimans et al. 2016).

    Args:
        generator: (..., latent_dim) -> (..., features).
        features: (..., features) -> (..., hidden), the classifier without its last layer.
        head: (..., hidden) -> (..., classes).
        latent_dim: size of z.
        mean: standardisation (features,).
        scale: standardisation (features,).
    """

    has: ClassVar[frozenset[str]] = GAN.has
    critic_parts: ClassVar[tuple[str, ...]] = ("features", "head")

    def __init__(
        self, generator: nn.Module, features: nn.Module, head: nn.Module, latent_dim: int, mean: Tensor, scale: Tensor
    ) -> None:
        super().__init__()
        self.gan = GAN(generator, nn.Identity(), latent_dim, len(mean), mean=mean, scale=scale)
        self.features = features
        self.head = head

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the sampler; it takes no context."""
        return self.gan(context)

    def hidden(self, x: Tensor) -> Tensor:
        """Return the last hidden layer (..., hidden) at data (..., features)."""
        return self.features((x - self.gan.mean) / self.gan.scale)

    def class_logits(self, x: Tensor) -> Tensor:
        """Return the logits of the K classes (..., K); that of "generated" is 0."""
        return self.head(self.hidden(x))

    def score(self, x: Tensor) -> Tensor:
        """Return the logit log Z of "real" at data (..., features); (...)."""
        return torch.logsumexp(self.class_logits(x), -1)

    def critic_loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return −log p(y | x) of the labelled, −log D of the unlabelled and −log(1 − D) of generated samples.

        Args:
            x: data (batch, features).
            labels: class numbers (batch,), `UNLABELLED` where not known.
        """
        logits = self.class_logits(x)
        known = labels != UNLABELLED
        supervised = F.cross_entropy(logits, labels.clamp_min(0), reduction="none") * known
        real = torch.logsumexp(logits, -1)
        fake = self.score(self.gan.sample(x.shape[:1]))
        return supervised.sum() / known.sum().clamp_min(1) + F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator_loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return ‖E φ(x) − E φ(G(z))‖² over the last hidden layer φ."""
        real, fake = self.hidden(x), self.hidden(self.gan.rsample(x.shape[:1]))
        return (real.mean(0) - fake.mean(0)).square().sum()


def class_information(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return H[p(y)], of the mean over the batch, and E H[p(y | x)] from logits (batch, K); scalars, nats.

    Their difference is the mutual information I(x; y) that RIM and CatGAN maximise.
    """
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    marginal = p.mean(0)
    return -torch.special.xlogy(marginal, marginal).sum(), -(p * log_p).sum(-1).mean()


class CatGAN(nn.Module):
    """An unsupervised classifier: sure of real samples, unsure of generated ones, all classes used equally.

    critic:     min −H[p(y)] + E_x H[p(y | x)] − E_z H[p(y | G(z))] + (γ/2) E_x ‖∂l/∂x‖²
    generator:  min −H_G[p(y)] + E_z H[p(y | G(z))]

    γ = 0 is the paper's game. For two classes of log-odds f near 0 the critic maximises (Var_x f − E_z f(G(z))²) / 8
    less (γ/4) E_x ‖∇f‖²: without the penalty the first function to grow cuts through the data, with it one that is flat
    on each connected piece of them. A generator as fast as the critic keeps f small until that function has won; the
    classes are then right but p(y | x) stays near 1/K, since generated samples come to be like the data.

    Args:
        generator: (..., latent_dim) -> (..., features).
        classifier: (..., features) -> (..., classes).
        latent_dim: size of z.
        mean: standardisation (features,).
        scale: standardisation (features,).
        gradient_penalty: γ of the squared slope of the centred logits l at real samples (R1, arXiv 1801.04406), in
            standardised units.
    """

    has: ClassVar[frozenset[str]] = GAN.has
    critic_parts: ClassVar[tuple[str, ...]] = ("classifier",)

    def __init__(
        self,
        generator: nn.Module,
        classifier: nn.Module,
        latent_dim: int,
        mean: Tensor,
        scale: Tensor,
        gradient_penalty: float = 0.0,
    ) -> None:
        super().__init__()
        self.gan = GAN(generator, nn.Identity(), latent_dim, len(mean), mean=mean, scale=scale)
        self.classifier = classifier
        self.gradient_penalty = gradient_penalty

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the sampler; it takes no context."""
        return self.gan(context)

    def class_logits(self, x: Tensor) -> Tensor:
        """Return the logits of the classes (..., K) at data (..., features)."""
        return self.classifier((x - self.gan.mean) / self.gan.scale)

    def score(self, x: Tensor) -> Tensor:
        """Return how sure the critic is at data (..., features): −H[p(y | x)] in nats; (...)."""
        log_p = torch.log_softmax(self.class_logits(x), -1)
        return (log_p.exp() * log_p).sum(-1)

    def squared_slope(self, x: Tensor) -> Tensor:
        """Return E ‖∂l/∂x‖² of the logits l less their mean over the classes, from data (batch, features); scalar."""

        def summed(standardised: Tensor) -> Tensor:
            logits = self.classifier(standardised)
            return (logits - logits.mean(-1, keepdim=True)).sum(0)

        slopes = torch.func.jacrev(summed)((x - self.gan.mean) / self.gan.scale)  # (K, batch, features)
        return slopes.square().sum((0, -1)).mean()

    def critic_loss(self, x: Tensor) -> Tensor:
        """Return the classifier's loss of data (batch, features)."""
        marginal, conditional = class_information(self.class_logits(x))
        _, unsure = class_information(self.class_logits(self.gan.sample(x.shape[:1])))
        loss = conditional - marginal - unsure
        return loss + 0.5 * self.gradient_penalty * self.squared_slope(x) if self.gradient_penalty else loss

    def generator_loss(self, x: Tensor) -> Tensor:
        """Return the generator's loss."""
        marginal, conditional = class_information(self.class_logits(self.gan.rsample(x.shape[:1])))
        return conditional - marginal


class RIM(nn.Module):
    """Regularised information maximisation: a classifier that maximises I(x; y) − λ ‖w‖², CatGAN without a generator.

    Args:
        classifier: (..., features) -> (..., classes).
        mean: standardisation (features,).
        scale: standardisation (features,).
        penalty: λ, of the squared weights.
    """

    has: ClassVar[frozenset[str]] = frozenset()
    mean: Tensor
    scale: Tensor

    def __init__(self, classifier: nn.Module, mean: Tensor, scale: Tensor, penalty: float = 1e-3) -> None:
        super().__init__()
        self.classifier = classifier
        self.penalty = penalty
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", scale.clone())

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the model, which is no distribution of x."""
        return Given(self, context)

    def class_logits(self, x: Tensor) -> Tensor:
        """Return the logits of the classes (..., K) at data (..., features)."""
        return self.classifier((x - self.mean) / self.scale)

    def loss(self, x: Tensor) -> Tensor:
        """Return E H[p(y | x)] − H[p(y)] + λ ‖w‖² of data (batch, features); scalar, nats."""
        marginal, conditional = class_information(self.class_logits(x))
        weights = sum(p.square().sum() for p in self.classifier.parameters() if p.dim() > 1)
        return conditional - marginal + self.penalty * weights


def information_loss(model: nn.Module, x: Tensor) -> Tensor:
    """RIM's loss (`RIM.loss`), for `training.fit`."""
    if not isinstance(model, RIM):
        raise ValueError(f"{type(model).__name__} does not maximise information; RIM does")
    return model.loss(x)


def matched_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the accuracy of class numbers (n,) found without labels, under the best one-to-one naming of the classes.

    Tries every naming, so it takes at most eight classes; ValueError above.
    """
    count = int(max(predicted.max(), labels.max())) + 1
    if count > 8:
        raise ValueError(f"there are {count} classes; every naming is tried, which takes at most 8")
    table = torch.zeros(count, count)
    table.index_put_((predicted.long(), labels.long()), torch.ones(len(labels)), accumulate=True)
    rows = torch.arange(count)
    return max(float(table[rows, torch.tensor(naming)].sum()) for naming in permutations(range(count))) / len(labels)
