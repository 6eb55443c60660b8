"""Data for demonstrations and tests: 2-D densities whose entropy is known, scikit-learn's digits, solid shapes.

Everything is drawn from a `torch.Generator` made from a seed; no global generator is read or written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from generative.names import unknown

Kind = Literal["real", "binary", "levels"]
"""What one variable is: a real number, 0 or 1, or one of the integers 0 .. levels - 1 (held as a float)."""

DIGITS_SPLIT = (1000, 1350, 1797)
DIGITS_LEVELS = 17


class Density(Protocol):
    """A 2-D density that can be sampled, evaluated and integrated."""

    @property
    def components(self) -> int:
        """Number of pieces that carry a label."""

    def sample_labelled(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return points (count, 2) and the number of the component that each came from (count,)."""

    def log_prob(self, points: Tensor) -> Tensor:
        """Return log p in nats, (..., 2) -> (...)."""

    def entropy(self) -> float:
        """Return −∫ p log p in nats: no model's mean −log q can lie below it."""


@dataclass(frozen=True)
class NoisyCurve:
    """A point on a curve plus isotropic Gaussian noise: p(x) = ∫₀¹ N(x; centre(u), noise²) du.

    The integral is a midpoint sum over `nodes`, exact to rounding for closed curves and isolated points.
    """

    centre: Callable[[Tensor], Tensor]
    """The curve: u in [0, 1) of shape (...) to a point (..., 2); component k is u in [k, k + 1) / components."""
    components: int
    """Number of separate pieces of the curve; they are the labels."""
    noise: float
    """Standard deviation of the noise."""
    nodes: int = 1024
    """Number of quadrature nodes for `log_prob`."""

    def sample_labelled(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return points (count, 2) and labels (count,)."""
        u = torch.rand(count, generator=generator)
        noise = torch.randn(count, 2, generator=generator)
        return self.centre(u) + self.noise * noise, (u * self.components).long()

    def log_prob(self, points: Tensor) -> Tensor:
        """Return log p in nats, (..., 2) -> (...)."""
        u = (torch.arange(self.nodes, dtype=points.dtype, device=points.device) + 0.5) / self.nodes
        centres = self.centre(u)
        normaliser = math.log(self.nodes) + math.log(2.0 * math.pi * self.noise**2)
        pieces = [
            torch.logsumexp(-0.5 * torch.cdist(piece, centres).square() / self.noise**2, -1) - normaliser
            for piece in points.reshape(-1, 2).split(8192)
        ]
        return torch.cat(pieces).reshape(points.shape[:-1])

    @property
    def modes(self) -> Tensor | None:
        """Centres (components, 2) where the pieces are single points; None for curves."""
        if self.nodes != self.components:
            return None
        return self.centre((torch.arange(self.components) + 0.5) / self.components)

    def entropy(self) -> float:
        """Return −∫ p log p in nats, by the trapezoidal rule on a grid of spacing noise / 3."""
        return self._entropy

    @cached_property
    def _entropy(self) -> float:
        centres = self.centre((torch.arange(self.nodes, dtype=torch.float64) + 0.5) / self.nodes)
        low, high = centres.amin(0) - 7.0 * self.noise, centres.amax(0) + 7.0 * self.noise
        spacing = self.noise / 3.0
        axes = [torch.arange(float(low[i]), float(high[i]), spacing, dtype=torch.float64) for i in range(2)]
        log_p = self.log_prob(torch.cartesian_prod(*axes))
        return float(-(log_p.exp() * log_p).sum() * spacing**2)


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on the eight black squares (side 2) of the 4 x 4 board over [-4, 4]²: entropy log 32."""

    components: int = 8

    def sample_labelled(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return points (count, 2) and the number of their square (count,)."""
        square = torch.randint(8, (count,), generator=generator)
        row, column = square // 2, 2 * (square % 2) + (square // 2) % 2
        corner = torch.stack([column, row], -1) * 2.0 - 4.0
        return corner + 2.0 * torch.rand(count, 2, generator=generator), square

    def log_prob(self, points: Tensor) -> Tensor:
        """Return −log 32 on a black square and −inf elsewhere, (..., 2) -> (...)."""
        cell = torch.floor((points + 4.0) / 2.0)
        black = (cell.sum(-1) % 2 == 0) & ((cell >= 0) & (cell < 4)).all(-1)
        inside = torch.full_like(points[..., 0], -math.log(32.0))
        return torch.where(black, inside, torch.full_like(inside, -math.inf))

    def entropy(self) -> float:
        """Return log 32 nats."""
        return math.log(32.0)


def _on_circle(angle: Tensor, radius: float | Tensor = 1.0) -> Tensor:
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)


def moons(noise: float = 0.1) -> NoisyCurve:
    """Two interleaving half circles of radius 1 (scikit-learn's `make_moons`), label 0 the upper one."""

    def centre(u: Tensor) -> Tensor:
        angle = 2.0 * math.pi * (u % 0.5)
        upper = _on_circle(angle)
        lower = torch.stack([1.0 - upper[..., 0], 0.5 - upper[..., 1]], -1)
        return torch.where((u < 0.5).unsqueeze(-1), upper, lower)

    return NoisyCurve(centre, 2, noise)


def rings(radii: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0), noise: float = 0.08) -> NoisyCurve:
    """Concentric circles of equal weight; the label is the number of the radius."""
    count = len(radii)

    def centre(u: Tensor) -> Tensor:
        radius = torch.tensor(radii, dtype=u.dtype, device=u.device)[(u * count).long().clamp_max(count - 1)]
        return _on_circle(2.0 * math.pi * count * (u % (1.0 / count)), radius)

    return NoisyCurve(centre, count, noise, nodes=256 * count)


def gaussians(count: int = 8, radius: float = 2.0 * 2.0**0.5, noise: float = 0.5 / 2.0**0.5) -> NoisyCurve:
    """Equal Gaussians on a circle; the defaults are FFJORD's "8gaussians" (arXiv 1810.01367)."""

    def centre(u: Tensor) -> Tensor:
        return _on_circle(2.0 * math.pi / count * (u * count).floor().clamp_max(count - 1), radius)

    return NoisyCurve(centre, count, noise, nodes=count)


def ring_8() -> NoisyCurve:
    """Eight sharp Gaussians, standard deviation 0.01, on the unit circle (PacGAN, arXiv 1712.04086)."""
    return gaussians(8, radius=1.0, noise=0.01)


def grid_25() -> NoisyCurve:
    """Twenty-five Gaussians, standard deviation 0.05, on the 5 x 5 grid of spacing 2 (VEEGAN, arXiv 1705.07761)."""

    def centre(u: Tensor) -> Tensor:
        place = (u * 25).floor().clamp_max(24)
        return torch.stack([(place / 5).floor(), place % 5], -1) * 2.0 - 4.0

    return NoisyCurve(centre, 25, 0.05, nodes=25)


DENSITIES: dict[str, Callable[..., Any]] = {
    "moons": moons,
    "8gaussians": gaussians,
    "checkerboard": Checkerboard,
    "rings": rings,
    "ring-8": ring_8,
    "grid-25": grid_25,
}
KINDS: dict[str, Kind] = {
    **dict.fromkeys(DENSITIES, "real"),
    "digits": "levels",
    "digits-binary": "binary",
    "voxels": "binary",
}
"""Every data set by name, and what one of its variables is."""
NAMES = tuple(KINDS)
IMAGES = frozenset({"digits", "digits-binary"})
VOLUMES = frozenset({"voxels"})


@dataclass(frozen=True)
class Dataset:
    """One data set in its three parts; every sample is a flat float32 vector (features,)."""

    name: str
    """Its name, one of `NAMES`."""
    kind: Kind
    """What one variable is."""
    train: Tensor
    """Training samples (n, features)."""
    validation: Tensor
    """Validation samples (n, features): early stopping and reported figures."""
    test: Tensor
    """Test samples (n, features): never used for a choice."""
    labels: dict[str, Tensor]
    """Class numbers by part ("train", "validation", "test")."""
    classes: int
    """Number of classes."""
    density: Density | None = None
    """The true density where it is known."""
    levels: int = 0
    """Number of values of one variable: 17 for digits, 2 for binary data, 0 for real data."""
    image_shape: tuple[int, int, int] | None = None
    """(channels, height, width) where a sample is an image."""
    volume_shape: tuple[int, int, int] | None = None
    """(depth, height, width) where a sample is a volume."""

    @property
    def features(self) -> int:
        """Number of variables of one sample."""
        return self.train.shape[-1]

    @property
    def floor(self) -> float | None:
        """Entropy of the true density in nats, where it is known."""
        return None if self.density is None else self.density.entropy()

    def to(self, device: torch.device | str) -> Dataset:
        """Return the data set on a device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
            labels={part: values.to(device) for part, values in self.labels.items()},
        )


def load(name: str, *, seed: int = 0, size: int | None = None, device: torch.device | str = "cpu") -> Dataset:
    """Return a data set by name.

    Args:
        name: one of `NAMES`.
        seed: of the points and shapes drawn (the digits are fixed).
        size: number of training samples that are drawn, by default 20,000 points or 2,000 volumes; validation and test
            get half as many each.
        device: where the tensors live.

    Raises:
        ValueError: unknown name or a size below 2.
        ImportError: digits without scikit-learn.
    """
    if name in IMAGES:
        return _digits(binary=name == "digits-binary").to(device)
    if name not in KINDS:
        raise ValueError(unknown("data set", name, NAMES))
    if size is None:
        size = 2_000 if name in VOLUMES else 20_000
    if size < 2:
        raise ValueError(f"size is {size}; it must be at least 2")
    density: Density | None = None if name in VOLUMES else DENSITIES[name]()
    draw = voxel_shapes if density is None else density.sample_labelled
    generator = torch.Generator().manual_seed(seed)
    (train, a), (validation, b), (test, c) = (draw(count, generator) for count in (size, size // 2, size // 2))
    labels = {"train": a, "validation": b, "test": c}
    if density is None:
        data = Dataset(name, "binary", train, validation, test, labels, 2, levels=2, volume_shape=(8, 8, 8))
    else:
        data = Dataset(name, "real", train, validation, test, labels, density.components, density)
    return data.to(device)


@lru_cache(maxsize=2)
def _digits(binary: bool) -> Dataset:
    """Return the 1,797 digits of 8 x 8 pixels and 17 levels in file order, split 0:1000 / 1000:1350 / 1350:1797."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits need scikit-learn: pip install scikit-learn") from error
    images, targets = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32)
    y = torch.tensor(targets, dtype=torch.long)
    if binary:
        x = (x >= 8).float()
    first, second, last = DIGITS_SPLIT
    return Dataset(
        name="digits-binary" if binary else "digits",
        kind="binary" if binary else "levels",
        train=x[:first],
        validation=x[first:second],
        test=x[second:last],
        labels={"train": y[:first], "validation": y[first:second], "test": y[second:last]},
        classes=10,
        levels=2 if binary else DIGITS_LEVELS,
        image_shape=(1, 8, 8),
    )


def voxel_shapes(count: int, generator: torch.Generator, size: int = 8) -> tuple[Tensor, Tensor]:
    """Draw solid boxes (label 0) and balls (label 1) of random place and extent: (count, size³) of 0 and 1, (count,).

    Half-extents lie between a quarter and 0.4 of the size, in each direction by itself for boxes; all fit in.
    """
    labels = torch.randint(2, (count,), generator=generator)
    half = size * (0.25 + 0.15 * torch.rand(count, 3, generator=generator))
    half = torch.where(labels.bool().unsqueeze(-1), half[:, :1], half)
    centre = half + (size - 2.0 * half) * torch.rand(count, 3, generator=generator)
    axis = torch.arange(size) + 0.5
    grid = torch.cartesian_prod(axis, axis, axis)
    offset = (grid.unsqueeze(0) - centre.unsqueeze(1)).abs() / half.unsqueeze(1)
    inside = torch.where(labels.bool().unsqueeze(-1), offset.norm(dim=-1), offset.amax(-1)) <= 1.0
    return inside.float(), labels


def dequantise(levels: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Add uniform noise on [0, 1) to integer levels.

    With y = x + u, E_u log p(y) ≤ log ∫ p(x + u) du = log P(x): a density's mean −log p(y), in units of one level,
    bounds the discrete model's nats from above (Theis et al., arXiv 1511.01844). Any shape; fresh noise at every call.
    """
    noise = torch.rand(levels.shape, generator=generator, dtype=levels.dtype, device=levels.device)
    return levels + noise
