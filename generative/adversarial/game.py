"""Training of two players: the lecture's Algorithm 1, read from top to bottom in `play`."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from generative.nn import average_
from generative.training import History, Monitor, Source, TrainingConfig, batches, copy_buffers, event_writer, seeded


class Game(Protocol):
    """An `nn.Module` whose parts play against each other.

    `critic_parts` names the submodules that minimise `critic_loss`; all the others minimise `generator_loss`. Both take
    a minibatch (x, or x and class numbers) and draw their own noise. A game with a `begin_step(progress)` is told
    before each step which share of the training is done.
    """

    critic_parts: ClassVar[tuple[str, ...]]

    def critic_loss(self, *batch: Tensor) -> Tensor:
        """Return the critic's loss of a minibatch; no gradient flows into the generator."""

    def generator_loss(self, *batch: Tensor) -> Tensor:
        """Return the generator's loss of a minibatch."""


@dataclass(frozen=True)
class GameConfig(TrainingConfig):
    """Settings of one game; `steps` counts the generator's, `average` is the decay of the kept parameters."""

    steps: int = 3000
    batch_size: int = 256
    schedule: Literal["constant", "cosine"] = "constant"
    average: float = 0.995
    evaluate_every: int = 250
    critic_steps: int = 1
    """k: the critic's steps for each step of the generator."""
    critic_learning_rate: float = 1e-3
    """Adam's step size of the critic; `learning_rate` is the generator's."""
    betas: tuple[float, float] = (0.5, 0.99)
    """Adam's decays: a small first one, because the losses move."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot train."""
        super().__post_init__()
        if self.critic_steps < 1:
            raise ValueError(f"critic_steps is {self.critic_steps}; it must be at least 1")


def players(game: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters of the critic and those of the generator."""
    sides: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    critic_parts = cast(Game, game).critic_parts
    for name, parameter in game.named_parameters():
        if parameter.requires_grad:
            sides[name.split(".")[0] not in critic_parts].append(parameter)
    return sides


def play(
    game: nn.Module,
    source: Source,
    *,
    config: GameConfig | None = None,
    log_dir: str | Path | None = None,
    monitor: Monitor | None = None,
) -> History:
    """Train both players in turn (Algorithm 1) and leave the game with the averaged parameters.

    Departures from Algorithm 1, each a setting: Adam instead of momentum, and the kept parameters are an exponential
    average over the steps (`average`; 0 keeps the last ones), because the players circle around their equilibrium.

    Args:
        game: a `Game`, trained in place, on the device where its parameters are.
        source: tensors, or a sampler of fresh data, as in `training.fit`.
        config: the settings; None for the defaults.
        log_dir: folder for TensorBoard events; None for none.
        monitor: figures to record every `evaluate_every` steps, of the averaged parameters.

    Returns:
        The history; its `curves` hold both players' mean losses and the monitor's figures.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    config = config or GameConfig()
    device = next(game.parameters()).device
    sides = players(game)
    rates = (config.critic_learning_rate, config.learning_rate)
    optimisers = [
        torch.optim.AdamW(side, lr=rate, betas=config.betas, weight_decay=config.weight_decay)
        for side, rate in zip(sides, rates, strict=True)
    ]
    names, losses = ("critic", "generator"), (cast(Game, game).critic_loss, cast(Game, game).generator_loss)
    batch_of = batches(source, config.batch_size)
    generator = torch.Generator().manual_seed(config.seed)
    averaged = copy.deepcopy(game) if config.average else game
    writer = event_writer(log_dir)
    history, started = History(), time.perf_counter()
    sums = {name: torch.zeros((), device=device) for name in names}
    counts = dict.fromkeys(names, 0)

    def move(player: int) -> None:
        """Descend one player's stochastic gradient on a fresh minibatch of m examples and m noise samples."""
        loss = losses[player](*(tensor.to(device) for tensor in batch_of(generator)))
        gradients = torch.autograd.grad(loss, sides[player])
        for parameter, gradient in zip(sides[player], gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(sides[player], config.clip_norm)
        optimisers[player].step()
        sums[names[player]] += loss.detach()
        counts[names[player]] += 1

    game.train()
    with seeded(config.seed):
        for step in range(1, config.steps + 1):  # for number of training iterations do
            if hasattr(game, "begin_step"):
                cast(Any, game).begin_step((step - 1) / config.steps)
            scale = _schedule(step, config)
            for optimiser, rate in zip(optimisers, rates, strict=True):
                optimiser.param_groups[0]["lr"] = scale * rate
            for _ in range(config.critic_steps):  # for k steps do
                move(0)  # update the discriminator by ascending its stochastic gradient
            move(1)  # update the generator by descending its stochastic gradient
            if averaged is not game:
                average_(averaged, game, max(1.0 - config.average, 1.0 / step))
            if step % config.evaluate_every and step != config.steps:
                continue
            figures = {name: float(sums[name]) / counts[name] for name in names}
            if not all(math.isfinite(value) for value in figures.values()):
                raise FloatingPointError(f"the losses are {figures} at step {step}; try a smaller learning_rate")
            sums, counts = {name: torch.zeros((), device=device) for name in names}, dict.fromkeys(names, 0)
            copy_buffers(averaged, game)
            if monitor is not None:
                averaged.eval()
                figures |= monitor(averaged)
                averaged.train()
            history.steps.append(step)
            for name, value in figures.items():
                history.curves.setdefault(name, []).append(value)
                if writer is not None:
                    writer.add_scalar(f"game/{name}", value, step)
    if averaged is not game:
        game.load_state_dict(averaged.state_dict())
    game.eval()
    if writer is not None:
        writer.close()
    history.seconds = time.perf_counter() - started
    history.best_step = config.steps
    return history


def _schedule(step: int, config: GameConfig) -> float:
    """Return the factor of both learning rates: constant, or falling along a half cosine."""
    warm = min(step / config.warmup_steps, 1.0) if config.warmup_steps else 1.0
    return warm * (0.5 * (1.0 + math.cos(math.pi * (step - 1) / config.steps)) if config.schedule == "cosine" else 1.0)


class _Call(nn.Module):
    """Calls a method of a module through `forward`, the only door of `torch.func.functional_call`."""

    def __init__(self, game: nn.Module) -> None:
        super().__init__()
        self.game = game

    def forward(self, method: str, *batch: Tensor) -> Tensor:
        return getattr(self.game, method)(*batch)


class SideBySide(nn.Module):
    """Games of one kind, e.g. of several seeds, trained at once on batched parameters (`torch.func.vmap`).

    It is itself a game: its minibatch is the games' minibatches one after the other (games batch, features), its losses
    are the sums of theirs, and no gradient passes from one to another. Gradients are clipped together, so give
    `clip_norm=inf` where that matters. Modules with running statistics (batch normalisation) cannot be batched.

    Args:
        games: modules of equal structure.
    """

    critic_parts: ClassVar[tuple[str, ...]] = ("critic_stack",)

    def __init__(self, games: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(games)
        parameters, buffers = torch.func.stack_module_state(list(games))
        parts = cast(Game, games[0]).critic_parts
        names = ([], [])  # type: tuple[list[str], list[str]]
        for name in parameters:
            names[name.split(".")[0] not in parts].append(name)
        self.names = names
        self.critic_stack = nn.ParameterList([parameters[name].detach() for name in names[0]])
        self.generator_stack = nn.ParameterList([parameters[name].detach() for name in names[1]])
        self.constants = buffers
        self.skeleton = [_Call(copy.deepcopy(games[0]))]  # in a list: its parameters are not this module's

    def _state(self) -> dict[str, Tensor]:
        stacks = zip(self.names, (self.critic_stack, self.generator_stack), strict=True)
        return {name: value for names, stack in stacks for name, value in zip(names, stack, strict=True)}

    def _sum(self, method: str, *batch: Tensor) -> Tensor:
        def one(state: dict[str, Tensor], *batch: Tensor) -> Tensor:
            inside = {f"game.{name}": value for name, value in state.items()}
            return torch.func.functional_call(self.skeleton[0], inside, (method, *batch))

        parts = [tensor.unflatten(0, (self.count, -1)) for tensor in batch]
        return torch.func.vmap(one, randomness="different")(self._state() | self.constants, *parts).sum()

    def begin_step(self, progress: float) -> None:
        """Tell all games which share of the training is done."""
        if hasattr(self.skeleton[0].game, "begin_step"):
            cast(Any, self.skeleton[0].game).begin_step(progress)

    def critic_loss(self, *batch: Tensor) -> Tensor:
        """Return the sum of the critics' losses."""
        return self._sum("critic_loss", *batch)

    def generator_loss(self, *batch: Tensor) -> Tensor:
        """Return the sum of the generators' losses."""
        return self._sum("generator_loss", *batch)

    def game(self, index: int) -> nn.Module:
        """Return a copy of one of the games with its present parameters, in evaluation mode."""
        alone = copy.deepcopy(self.skeleton[0].game)
        alone.load_state_dict({name: value[index] for name, value in (self._state() | self.constants).items()})
        return alone.eval()
