"""Mode collapse: Algorithm 1 on the eight sharp modes of ring-8, beside a game that keeps them.

Source: Abbasnejad's lecture, "Mode collapse" (target, expected, output); Metz et al., arXiv 1611.02163.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generative.adversarial import GAN, GameConfig, MixtureLatent, ModeReport, mode_report, octave_critic, play
from generative.data import DENSITIES
from generative.names import unknown
from generative.nn import MLP
from generative.training import seeded

GAMES = ("collapsing", "covering")


@dataclass(frozen=True)
class Snapshot:
    """A game's samples at one step."""

    step: int
    """Steps of the generator so far."""
    samples: Tensor
    """(n, 2)."""
    report: ModeReport
    """The modes that they cover."""


def mode_collapse(name: str, steps: int = 1500, shots: int = 4, seed: int = 0) -> list[Snapshot]:
    """Train on ring-8 and return snapshots of the present (not averaged) generator.

    Args:
        name: "collapsing" (Algorithm 1: saturating, no penalty) or "covering" (relativistic, falling gradient penalty,
            mixture latent space); ValueError for another.
        steps: of the generator.
        shots: number of snapshots, the last one at the end.
        seed: of parameters, batches and samples.
    """
    if name not in GAMES:
        raise ValueError(unknown("game", name, GAMES))
    density = DENSITIES["ring-8"]()
    settings = {"objective_name": "saturating"}
    with seeded(seed):
        generator: nn.Module = MLP(4, (64, 64), 2)
        if name == "covering":
            generator = nn.Sequential(MixtureLatent(80, 4), generator)
            settings = {"objective_name": "relativistic", "gradient_penalty": (0.1, 0.0005)}  # type: ignore[dict-item]
        scale = torch.full((2,), 0.5**0.5)
        game = GAN(generator, octave_critic(2, (64, 64), 5), 4, 2, scale=scale, **settings)  # type: ignore[arg-type]
    shown: list[Snapshot] = []

    def look(model: nn.Module) -> dict[str, float]:
        with seeded(seed):
            samples = model().sample((1000,))
        report = mode_report(samples, density.modes, density.noise)
        shown.append(Snapshot((len(shown) + 1) * (steps // shots), samples, report))
        return {"modes": float(report.modes)}

    config = GameConfig(
        steps=steps // shots * shots,
        batch_size=128,
        learning_rate=2e-3,
        critic_learning_rate=4e-3,
        betas=(0.0, 0.99),
        schedule="cosine",
        average=0.0,
        evaluate_every=steps // shots,
        clip_norm=math.inf,
        seed=seed,
    )
    play(game, lambda count, draws: [density.sample_labelled(count, draws)[0]], config=config, monitor=look)
    return shown
