"""Bayesian dark knowledge (Korattikara et al., arXiv 1506.04416): one student for a posterior over networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def langevin_step_(
    model: nn.Module, step_size: float, prior_precision: float, generator: torch.Generator | None = None
) -> None:
    """Move parameters by stochastic-gradient Langevin dynamics: θ += ½ ε (∇ log p(D given θ) − λ θ) + N(0, ε).

    Args:
        model: with the gradient of log p(D given θ), scaled to all of the data, in `.grad`.
        step_size: ε.
        prior_precision: λ of the prior N(0, 1/λ).
        generator: of the noise.
    """
    for parameter in model.parameters():
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype).to(parameter.device)
        parameter.add_(0.5 * step_size * (gradient - prior_precision * parameter) + step_size**0.5 * noise)


@dataclass(frozen=True)
class DistillationConfig:
    """Settings of the sampling and of the student."""

    steps: int = 4000
    """Langevin steps after the burn-in."""
    burn_in: int = 1000
    """Steps before the first sample."""
    thinning: int = 50
    """Steps between two samples of the ensemble (the student learns from every one)."""
    batch_size: int = 64
    """Samples per gradient."""
    step_size: float = 1e-4
    """ε of the Langevin steps."""
    prior_precision: float = 1.0
    """λ of the Gaussian prior over the weights."""
    student_rate: float = 1e-3
    """The student's first learning rate (Adam); it falls to zero along a half cosine, so that the last samples weigh
    no more than the others."""
    spread: float = 0.3
    """Scale of the noise added to inputs for the student, so that it learns the predictive off the data too."""
    seed: int = 0
    """Seed of batches and noise."""


def distil(
    teacher: nn.Module,
    student: nn.Module,
    x: Tensor,
    y: Tensor,
    config: DistillationConfig | None = None,
) -> list[nn.Module]:
    """Sample classifiers from the posterior and train a student on their predictive as they come; both change in place.

    The student minimises E_{θ, x'} KL[p(y given x', θ) ‖ s(y given x')], whose minimum is the posterior predictive
    ∫ p(y given x', θ) p(θ given D) dθ.

    Args:
        teacher: (n, features) -> logits (n, classes); starts the chain.
        student: (n, features) -> logits (n, classes).
        x: inputs (n, features).
        y: class numbers (n,).
        config: the settings; None for the defaults.

    Returns:
        the thinned ensemble, the teacher's oracle.
    """
    config = config or DistillationConfig()
    generator = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.Adam(student.parameters(), lr=config.student_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    ensemble: list[nn.Module] = []
    for step in range(config.burn_in + config.steps):
        rows = torch.randint(len(x), (config.batch_size,), generator=generator).to(x.device)
        teacher.zero_grad(set_to_none=True)
        log_likelihood = -F.cross_entropy(teacher(x[rows]), y[rows]) * len(x)
        log_likelihood.backward()
        langevin_step_(teacher, config.step_size, config.prior_precision, generator)
        if step < config.burn_in:
            continue
        noise = torch.randn(rows.shape[0], x.shape[1], generator=generator, dtype=x.dtype).to(x.device)
        inputs = x[rows] + config.spread * noise
        with torch.no_grad():
            target = torch.softmax(teacher(inputs), -1)
        loss = F.cross_entropy(student(inputs), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step - config.burn_in) % config.thinning == 0:
            ensemble.append(copy.deepcopy(teacher))
    return ensemble


@torch.no_grad()
def predictive(ensemble: list[nn.Module] | Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the mean class probabilities of an ensemble, or of one model, (n, features) -> (n, classes)."""
    models = ensemble if isinstance(ensemble, list) else [ensemble]
    return torch.stack([torch.softmax(model(x), -1) for model in models]).mean(0)
