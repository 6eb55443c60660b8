"""Pictures of samples and densities as PNG files, without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from torch import Tensor, nn

from generative.data import Dataset
from generative.training import event_writer


def save_points(path: str | Path, samples: Tensor, data: Tensor, title: str = "") -> Path:
    """Save samples (n, 2) beside data (m, 2), on the same axes."""
    figure = Figure(figsize=(7.0, 3.5), layout="constrained")
    low, high = _box(data)
    for place, (name, points) in enumerate((("data", data), ("samples", samples))):
        axes = figure.add_subplot(1, 2, place + 1)
        shown = points[:4000].detach().cpu().numpy()
        axes.plot(shown[:, 0], shown[:, 1], ".", markersize=1.5, alpha=0.6)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=name, aspect="equal")
    figure.suptitle(title)
    return save_figure(figure, path)


@torch.no_grad()
def save_density(path: str | Path, model: nn.Module, data: Dataset, title: str = "", points: int = 200) -> Path:
    """Save the model's 2-D density over the data's box, beside the true one where it is known."""
    low, high = _box(data.train)
    axes = [torch.linspace(low[i], high[i], points) for i in range(2)]
    grid = torch.cartesian_prod(*axes).to(data.train.device)
    panels: list[tuple[str, Tensor]] = []
    if data.density is not None:
        panels.append(("true density", data.density.log_prob(grid)))
    given = model()
    panels.append(("model's density", torch.cat([given.log_prob(part) for part in grid.split(4000)])))
    figure = Figure(figsize=(3.5 * len(panels), 3.5), layout="constrained")
    top = max(float(log_p.exp().max()) for _, log_p in panels[:1])
    for place, (name, log_p) in enumerate(panels):
        plot = figure.add_subplot(1, len(panels), place + 1)
        image = log_p.exp().reshape(points, points).T.cpu().numpy()
        extent = (low[0], high[0], low[1], high[1])
        plot.imshow(image, origin="lower", extent=extent, vmin=0.0, vmax=top, cmap="viridis", aspect="equal")
        plot.set_title(name)
    figure.suptitle(title)
    return save_figure(figure, path)


@torch.no_grad()
def save_field(
    path: str | Path, function: Callable[[Tensor], Tensor], data: Dataset, title: str = "", points: int = 200
) -> Path:
    """Save a function of 2-D points (n, 2) -> (n,), such as a critic, over the data's box, with the data on top."""
    low, high = _box(data.train)
    axes = [torch.linspace(low[i], high[i], points) for i in range(2)]
    grid = torch.cartesian_prod(*axes).to(data.train.device)
    values = torch.cat([function(part) for part in grid.split(4000)]).reshape(points, points).T.cpu().numpy()
    figure = Figure(figsize=(4.5, 3.8), layout="constrained")
    plot = figure.add_subplot(1, 1, 1)
    image = plot.imshow(values, origin="lower", extent=(low[0], high[0], low[1], high[1]), cmap="coolwarm")
    shown = data.train[:1000].cpu().numpy()
    plot.plot(shown[:, 0], shown[:, 1], "k.", markersize=1.0, alpha=0.5)
    plot.set_title(title)
    figure.colorbar(image)
    return save_figure(figure, path)


def save_images(
    path: str | Path, images: Tensor, image_shape: tuple[int, int, int], title: str = "", columns: int = 10
) -> Path:
    """Save images (n, pixels) of one channel as a grid, black to white over their own range."""
    count = len(images)
    rows = -(-count // columns)
    figure = Figure(figsize=(0.7 * columns, 0.7 * rows + 0.4), layout="constrained")
    shown = images.detach().cpu().reshape(count, *image_shape)[:, 0]
    low, high = float(shown.min()), float(shown.max())
    for place in range(count):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(shown[place].numpy(), cmap="gray", vmin=low, vmax=high)
        axes.set_axis_off()
    figure.suptitle(title)
    return save_figure(figure, path)


def save_curve(
    path: str | Path, steps: Sequence[int], curves: Mapping[str, Sequence[float]], title: str = "", ylabel: str = "nats"
) -> Path:
    """Save curves over the training steps."""
    figure = Figure(figsize=(5.0, 3.5), layout="constrained")
    axes = figure.add_subplot(1, 1, 1)
    for name, values in curves.items():
        axes.plot(steps, values, label=name)
    axes.set(xlabel="step", ylabel=ylabel, title=title)
    axes.legend()
    return save_figure(figure, path)


def show_pictures(log_dir: str | Path, pictures: Sequence[Path], step: int) -> None:
    """Write PNG pictures into a folder's TensorBoard events, each under its file's name."""
    writer = event_writer(log_dir)
    assert writer is not None
    for path in pictures:
        writer.add_image(path.stem, imread(path)[..., :3], step, dataformats="HWC")
    writer.close()


def _box(points: Tensor) -> tuple[list[float], list[float]]:
    low, high = points.amin(0), points.amax(0)
    margin = 0.1 * (high - low)
    return (low - margin).tolist(), (high + margin).tolist()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Save a figure as PNG, making its folder; return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)
    return path
