"""A VAE and a GAN on one data set with decoders of one size: the VAE covers and bridges, the GAN is sharp and may miss.

Source: both lectures, "VAEs vs GANs".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from generative.adversarial import GameConfig, mode_report, play
from generative.adversarial.modes import ModeReport
from generative.data import load
from generative.divergences import energy_distance
from generative.registry import entry
from generative.training import evaluate, fit, seeded


@dataclass(frozen=True)
class Comparison:
    """What one model's samples show."""

    name: str
    """Either vae or gan."""
    samples: Tensor
    """(n, 2)."""
    report: ModeReport
    """Modes of the eight Gaussians that they cover."""
    energy_distance: float
    """To held-out data."""
    nats: float | None
    """Mean −ELBO over held-out data; None for the GAN, which has no likelihood."""


def compare(steps: int = 1500, seed: int = 0) -> list[Comparison]:
    """Train the registry's "vae" and "gan" on 8gaussians for equally many steps of equally many samples."""
    data = load("8gaussians", seed=seed, size=10_000)
    results = []
    for name in ("vae", "gan"):
        chosen = entry(name)
        with seeded(seed):
            model = chosen.build(data)
        if name == "vae":
            config = replace(chosen.training, steps=steps, batch_size=256, patience=0, seed=seed)
            fit(model, data.train, config=config, loss=chosen.loss)
            nats = evaluate(model, data.test)
        else:
            game = GameConfig(steps=steps, batch_size=256, seed=seed)
            play(model, data.train, config=game)
            nats = None
        with seeded(seed):
            samples = model().sample((2500,))
        density = data.density
        report = mode_report(samples, density.modes, density.noise)  # type: ignore[union-attr]
        distance = float(energy_distance(samples[:1000], data.test[:1000]))
        results.append(Comparison(name, samples, report, distance, nats))
    return results
