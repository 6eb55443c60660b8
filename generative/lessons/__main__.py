"""Run every lesson and leave its figure: `python -m generative.lessons --output FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from generative.data import DENSITIES, load
from generative.lessons import METHODS, compare, generator_slopes, mode_collapse, spiral
from generative.pictures import save_figure


def draw_spirals(path: Path) -> Path:
    """Draw the paths of the three methods on min-max xy, and their distance from the equilibrium."""
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    plane, radius = figure.subplots(1, 2)
    for method in METHODS:
        route = spiral(method)
        plane.plot(route[:, 0], route[:, 1], label=method, linewidth=1.0)
        radius.plot(route.norm(dim=-1), label=method)
    plane.plot([0.0], [0.0], "k+")
    plane.set(xlabel="x", ylabel="y", title="min over x, max over y of x y", aspect="equal")
    radius.set(xlabel="step", ylabel="distance from the equilibrium", yscale="log")
    radius.legend()
    return save_figure(figure, path)


def draw_slopes(path: Path) -> Path:
    """Draw the generator's gradient over the distance of two narrow Gaussians."""
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    distance = torch.linspace(0.02, 2.0, 100)
    for name, slope in generator_slopes(distance).items():
        axes.plot(distance, slope.clamp_min(1e-12), label=name)
    axes.set(xlabel="distance of the supports (noise 0.1)", ylabel="|gradient|", yscale="log", ylim=(1e-12, 1e3))
    axes.legend()
    return save_figure(figure, path)


def draw_collapse(path: Path, steps: int) -> Path:
    """Draw snapshots of a game that loses modes above one that keeps them."""
    modes = DENSITIES["ring-8"]().modes
    figure = Figure(figsize=(10.0, 5.2), layout="constrained")
    for row, name in enumerate(("collapsing", "covering")):
        shots = mode_collapse(name, steps)
        for column, shot in enumerate(shots):
            axes = figure.add_subplot(2, len(shots), row * len(shots) + column + 1)
            axes.plot(shot.samples[:, 0], shot.samples[:, 1], ".", markersize=1.5)
            axes.plot(modes[:, 0], modes[:, 1], "rx", markersize=4.0)
            title = f"{name}, step {shot.step}: {int(shot.report.modes)} of 8"
            axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
            axes.set_title(title, fontsize=9)
    return save_figure(figure, path)


def draw_comparison(path: Path, steps: int) -> Path:
    """Draw the data, the VAE's samples and the GAN's."""
    figure = Figure(figsize=(10.0, 3.8), layout="constrained")
    panels = [("data", load("8gaussians", size=10_000).test[:2500])]
    for each in compare(steps):
        title = f"{each.name}: {float(each.report.high_quality):.0%} within 3 deviations of a mode"
        panels.append((title, each.samples))
    for place, (title, points) in enumerate(panels):
        axes = figure.add_subplot(1, 3, place + 1)
        axes.plot(points[:, 0], points[:, 1], ".", markersize=1.5)
        axes.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal")
        axes.set_title(title, fontsize=9)
    return save_figure(figure, path)


def main(arguments: list[str] | None = None) -> list[Path]:
    """Draw all four figures; return their paths."""
    parser = argparse.ArgumentParser(prog="python -m generative.lessons", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/generative/lessons"), help="folder of the figures")
    parser.add_argument("--steps", type=int, default=1500, help="steps of each training")
    chosen = parser.parse_args(arguments)
    return [
        draw_spirals(chosen.output / "spirals.png"),
        draw_slopes(chosen.output / "vanishing_gradients.png"),
        draw_collapse(chosen.output / "mode_collapse.png", chosen.steps),
        draw_comparison(chosen.output / "vae_and_gan.png", chosen.steps),
    ]


if __name__ == "__main__":
    main()
