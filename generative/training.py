"""One training loop for demonstrations and tests: minibatches, Adam, early stopping, TensorBoard where asked for."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from generative.nn import average_

Loss = Callable[..., Tensor]
"""Called as loss(model, *batch); returns the mean loss of the batch, a scalar to minimise (nats where it is one)."""
Source = Tensor | Sequence[Tensor] | Callable[[int, torch.Generator], Sequence[Tensor]]
"""Tensors that share their first dimension, or a sampler (batch_size, generator) -> tensors of fresh data."""
Monitor = Callable[[nn.Module], Mapping[str, float]]
"""Figures of a model while it trains, by name."""

NOISE_STREAM = 2**31
"""Added to the seed of what the loss draws: a sampler's data and the loss's noise must not be the same numbers."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training."""

    steps: int = 2000
    """Number of gradient steps."""
    batch_size: int = 128
    """Samples per step; at most the size of the data."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW)."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the steps: constant, or falling to zero along a half cosine."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from zero."""
    clip_norm: float = 10.0
    """Largest norm of the gradient; infinity for none."""
    average: float = 0.0
    """Decay of the exponential average of the parameters that is evaluated and kept; 0 keeps the last ones."""
    evaluate_every: int = 200
    """Steps between two validations."""
    patience: int = 0
    """Validations without an improvement before stopping; 0 never stops early."""
    seed: int = 0
    """Seed of minibatches, dropout and every sample drawn while training."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        for name in ("steps", "batch_size", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0.0 <= self.average < 1.0:
            raise ValueError(f"average is {self.average}; it must be in [0, 1)")


@dataclass
class History:
    """What a training went through."""

    steps: list[int] = field(default_factory=list)
    """Step of each validation."""
    train: list[float] = field(default_factory=list)
    """Mean training loss since the validation before."""
    validation: list[float] = field(default_factory=list)
    """Validation loss (the training loss where there is no validation)."""
    best: float = math.inf
    """Lowest validation loss: the parameters that gave it are the ones kept."""
    best_step: int = 0
    """Step of the lowest validation loss."""
    seconds: float = 0.0
    """Wall time."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Other figures at each of `steps`, by name: the losses of both players of a game, the quality of samples."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generators inside a block and put their states back after it.

    `torch.distributions` and dropout can only draw from the global generator; this keeps it from being changed.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def negative_bound(model: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Mean −log p(x), or the mean −ELBO where the model has no `log_prob`; summed over dimensions, in nats."""
    given = model(context)
    value = given.log_prob(x) if "log_prob" in given.has else given.elbo(x)
    return -value.mean()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    *tensors: Tensor,
    loss: Loss = negative_bound,
    batch_size: int = 1000,
    repeats: int = 1,
    seed: int = 0,
) -> float:
    """Return the mean loss over whole tensors in evaluation mode, the same at every call with the same seed.

    Args:
        model: the model; its mode is put back.
        tensors: what `loss` takes after the model, sharing their first dimension.
        loss: mean loss of a batch.
        batch_size: samples per call of the loss.
        repeats: passes to average over, for losses that draw samples.
        seed: of those samples.
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    with seeded(seed):
        for _ in range(repeats):
            for batch in zip(*(tensor.split(batch_size) for tensor in tensors), strict=True):
                total += float(loss(model, *batch)) * len(batch[0])
                count += len(batch[0])
    model.train(was_training)
    return total / count


def batches(source: Source, batch_size: int) -> Callable[[torch.Generator], Sequence[Tensor]]:
    """Turn a source into a function that returns the next minibatch; tensors are shuffled once an epoch."""
    if callable(source) and not isinstance(source, Tensor):
        return lambda generator: source(batch_size, generator)
    tensors = [source] if isinstance(source, Tensor) else list(source)
    count = len(tensors[0])
    size = min(batch_size, count)
    order = torch.empty(0, dtype=torch.long)

    def following(generator: torch.Generator) -> Sequence[Tensor]:
        nonlocal order
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        rows, order = order[:size], order[size:]
        return [tensor[rows.to(tensor.device)] for tensor in tensors]

    return following


def fit(
    model: nn.Module,
    source: Source,
    *,
    config: TrainingConfig | None = None,
    loss: Loss = negative_bound,
    validate: Callable[[nn.Module], float] | None = None,
    log_dir: str | Path | None = None,
    on_step: Callable[[nn.Module, int], None] | None = None,
) -> History:
    """Minimise a loss by Adam and leave the model with the parameters of its best validation.

    Args:
        model: trained in place, on the device where its parameters are.
        source: tensors (a validation part is the caller's) or a sampler of fresh data.
        config: the settings; None for the defaults.
        loss: mean loss of a batch.
        validate: returns the figure to minimise, e.g. `lambda model: evaluate(model, data.validation)`; without it the
            last parameters are kept.
        log_dir: folder for TensorBoard events; None for none.
        on_step: called as on_step(model, step) before each step (schedules such as KL warm-up).

    Raises:
        FloatingPointError: the loss is not finite.
    """
    config = config or TrainingConfig()
    device = next(model.parameters()).device
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config))
    batch_of = batches(source, config.batch_size)
    generator = torch.Generator().manual_seed(config.seed)
    averaged = copy.deepcopy(model) if config.average else None
    kept = model if averaged is None else averaged
    writer = event_writer(log_dir)
    history, best_state, stale, running = History(), None, 0, 0.0
    since, started = 0, time.perf_counter()
    model.train()
    with seeded(config.seed + NOISE_STREAM):
        for step in range(1, config.steps + 1):
            if on_step is not None:
                on_step(model, step)
            value = loss(model, *(tensor.to(device) for tensor in batch_of(generator)))
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimiser.step()
            schedule.step()
            if averaged is not None:
                average_(averaged, model, max(1.0 - config.average, 1.0 / step))
            running, since = running + value.detach().item(), since + 1
            if step % config.evaluate_every and step != config.steps:
                continue
            mean, running, since = running / since, 0.0, 0
            if not math.isfinite(mean):
                raise FloatingPointError(f"the loss is {mean} at step {step}; try a smaller learning_rate or clip_norm")
            copy_buffers(kept, model)
            figure = mean if validate is None else validate(kept)
            history.steps.append(step)
            history.train.append(mean)
            history.validation.append(figure)
            if writer is not None:
                writer.add_scalar("loss/train", mean, step)
                writer.add_scalar("loss/validation", figure, step)
            stale += 1
            if figure < history.best or validate is None:
                history.best, history.best_step, stale = figure, step, 0
                best_state = copy.deepcopy(kept.state_dict())
            if config.patience and stale >= config.patience:
                break
    if best_state is not None:
        model.load_state_dict(best_state)
    model.eval()
    if writer is not None:
        writer.close()
    history.seconds = time.perf_counter() - started
    return history


def _rate(step: int, config: TrainingConfig) -> float:
    """Return the factor of the learning rate after `step` steps."""
    warm = min((step + 1) / config.warmup_steps, 1.0) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return warm
    return warm * 0.5 * (1.0 + math.cos(math.pi * min(step / config.steps, 1.0)))


@torch.no_grad()
def copy_buffers(target: nn.Module, source: nn.Module) -> None:
    """Copy the buffers (running statistics) that an average of parameters does not cover."""
    for into, value in zip(target.buffers(), source.buffers(), strict=True):
        if into is not value:
            into.copy_(value)


def event_writer(log_dir: str | Path | None) -> torch.utils.tensorboard.SummaryWriter | None:
    """Open TensorBoard events in a folder; None for no folder."""
    if log_dir is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("log_dir needs TensorBoard: pip install tensorboard") from error
    return SummaryWriter(str(log_dir))
