"""What the two players of an adversarial game minimise, as functions of the critic's free outputs.

`critic(real, fake)` and `generator(real, fake)` take logits or scores of any equal shape and return scalars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from generative.f_divergences import TABLE, FDivergence
from generative.names import unknown

PlayerLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """The two losses of a game."""

    name: str
    """Its name."""
    critic: PlayerLoss
    """The critic's loss from its outputs at real and at fake samples."""
    generator: PlayerLoss
    """The generator's loss from the same."""


def binary_cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """−E log D(x) − E log(1 − D(G(z))) with D = σ(logit): Algorithm 1's critic (Goodfellow et al. 2014)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def saturating(real: Tensor, fake: Tensor) -> Tensor:
    """E log(1 − D(G(z))): Algorithm 1's generator; its gradient vanishes where the critic is sure."""
    return -F.softplus(fake).mean()


def non_saturating(real: Tensor, fake: Tensor) -> Tensor:
    """−E log D(G(z)): the same fixed point, a gradient where the critic is sure."""
    return F.softplus(-fake).mean()


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """−E log σ(C(x) − C(G(z))) over pairs (Jolicoeur-Martineau, arXiv 1807.00734): every fake is judged beside a real.

    A generator cannot satisfy it by pushing one mode's score up alone (Huang et al., arXiv 2501.05441).
    """
    return F.softplus(fake - real).mean()


def difference(real: Tensor, fake: Tensor) -> Tensor:
    """−(E f(x) − E f(G(z))): an integral probability metric, for a critic whose class is bounded by its design."""
    return fake.mean() - real.mean()


def _f_gan(row: FDivergence) -> Objective:
    """The f-GAN game of one row: max over the critic and min over the generator of the row's bound."""
    return Objective(
        f"f-{row.name}", lambda real, fake: -row.bound(real, fake), lambda real, fake: -row.penalty(fake).mean()
    )


OBJECTIVES = {
    each.name: each
    for each in (
        Objective("saturating", binary_cross_entropy, saturating),
        Objective("non-saturating", binary_cross_entropy, non_saturating),
        Objective("relativistic", relativistic, lambda real, fake: relativistic(fake, real)),
        Objective("ipm", difference, lambda real, fake: -fake.mean()),
        *map(_f_gan, TABLE),
    )
}


def objective(name: str) -> Objective:
    """Return an objective by name: one of the above, or "f-" and a row of `f_divergences`; ValueError for another."""
    if name not in OBJECTIVES:
        raise ValueError(unknown("objective", name, OBJECTIVES))
    return OBJECTIVES[name]
