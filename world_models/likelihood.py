"""Observation layouts and likelihoods derived from a Gymnasium space: nothing about an observation is hard-coded.

A space becomes a tuple of parts, one per leaf, in the order of `gymnasium.spaces.flatten`:

    Discrete, MultiDiscrete     one-hot, categorical
    MultiBinary                 Bernoulli
    Box bounded in [0, 1]       continuous Bernoulli
    image Box (uint8, 3-D)      continuous Bernoulli over values / 255, with convolutions
    other Box                   Gaussian, with running normalisation
    Dict, Tuple                 the product of their parts
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from generative.distributions import bernoulli, categorical, gaussian, unit_interval
from generative.divergences import Reduction

Kind = Literal["categorical", "bernoulli", "unit", "image", "gaussian"]


@dataclass(frozen=True)
class Part:
    """One leaf of an observation space.

    Attributes:
        name: path of the leaf, such as "machines" or "camera/left"; "" for a space without parts.
        kind: which distribution describes it.
        start: first index in the flattened observation.
        size: number of flattened values.
        categories: sizes of the one-hot blocks of a categorical part.
        image_shape: (channels, height, width) of an image part.
        channels_last: whether the space stores the image as (height, width, channels).
        offset: the smallest value of each discrete component.
    """

    name: str
    kind: Kind
    start: int
    size: int
    categories: tuple[int, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    channels_last: bool = False
    offset: tuple[int, ...] = ()

    @property
    def columns(self) -> slice:
        """The part's columns in the flattened observation."""
        return slice(self.start, self.start + self.size)

    @property
    def num_parameters(self) -> int:
        """Number of distribution parameters that a decoder gives for the part."""
        return 2 * self.size if self.kind == "gaussian" else self.size

    @property
    def num_variables(self) -> int:
        """Number of random variables of the part."""
        return len(self.categories) if self.kind == "categorical" else self.size


def _leaf(space: spaces.Space, name: str, start: int) -> Part:
    if isinstance(space, spaces.Discrete):
        return Part(name, "categorical", start, int(space.n), (int(space.n),), offset=(int(space.start),))
    if isinstance(space, spaces.MultiDiscrete):
        categories = tuple(int(n) for n in space.nvec.ravel())
        return Part(
            name, "categorical", start, sum(categories), categories, offset=tuple(int(s) for s in space.start.ravel())
        )
    if isinstance(space, spaces.MultiBinary):
        return Part(name, "bernoulli", start, int(np.prod(space.shape)))
    if isinstance(space, spaces.Box):
        size = int(np.prod(space.shape))
        if space.dtype == np.uint8 and len(space.shape) == 3:
            last = space.shape[2] <= space.shape[0]
            first, second, third = (int(n) for n in space.shape)
            chw = (third, first, second) if last else (first, second, third)
            return Part(name, "image", start, size, image_shape=chw, channels_last=last)
        unit = bool(np.all(space.low == 0.0) and np.all(space.high == 1.0))
        return Part(name, "unit" if unit else "gaussian", start, size)
    raise ValueError(
        f"no likelihood for the space {space!r}; allowed: Discrete, MultiDiscrete, MultiBinary, Box, Dict, Tuple"
    )


def _leaves(space: spaces.Space, name: str = "") -> list[tuple[str, spaces.Space]]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        prefix = f"{name}/" if name else ""
        return [leaf for key, part in named for leaf in _leaves(part, f"{prefix}{key}")]
    return [(name, space)]


def parts_of(space: spaces.Space) -> tuple[Part, ...]:
    """Return the parts of a space in flattened order; ValueError for a space that has no likelihood."""
    parts: list[Part] = []
    for name, leaf in _leaves(space):
        parts.append(_leaf(leaf, name, parts[-1].start + parts[-1].size if parts else 0))
    return tuple(parts)


def _values(observations: Any, name: str) -> np.ndarray:
    for key in name.split("/") if name else ():
        observations = observations[int(key)] if isinstance(observations, tuple) else observations[key]
    return np.asarray(observations)


def _flatten_part(part: Part, values: np.ndarray, out: np.ndarray) -> None:
    batch = out.shape[0]
    if part.kind == "categorical":
        indices = values.reshape(batch, -1).astype(np.int64) - np.asarray(part.offset)
        starts = np.concatenate(([0], np.cumsum(part.categories)[:-1])) + part.start
        out[np.arange(batch)[:, None], indices + starts] = 1.0
    else:
        out[:, part.columns] = values.reshape(batch, -1)


@dataclass(frozen=True)
class Factor:
    """One factor of an `ObservationDistribution`: a distribution over some columns.

    Attributes:
        part: the part that it belongs to.
        columns: its columns in the flattened observation.
        shape: what those columns are reshaped to, which is the distribution's event shape.
        distribution: of batch shape (...).
        variables: number of random variables, for means over variables.
    """

    part: Part
    columns: slice
    shape: tuple[int, ...]
    distribution: Distribution
    variables: int


class ObservationDistribution:
    """The product of the parts' distributions over a flattened, normalised observation (..., O).

    It has `log_prob`, `rsample` (straight through for discrete parts), `mean` and `entropy`.
    """

    def __init__(self, factors: list[Factor]) -> None:
        self.factors = factors

    def log_prob(self, observation: Tensor) -> Tensor:
        """Log-density in nats, of the batch shape: the sum over all factors."""
        terms = [f.distribution.log_prob(observation[..., f.columns].unflatten(-1, f.shape)) for f in self.factors]
        return torch.stack(terms).sum(0)

    def rsample(self) -> Tensor:
        """Draw a flattened observation (..., O) through which gradients pass."""
        return torch.cat([_draw(f.distribution).flatten(-len(f.shape)) for f in self.factors], -1)

    @property
    def mean(self) -> Tensor:
        """Expected flattened observation (..., O): probabilities for one-hot parts."""
        return torch.cat([f.distribution.mean.flatten(-len(f.shape)) for f in self.factors], -1)

    def part_mean(self, name: str) -> Tensor:
        """Expected values (..., size) of one part; ValueError if there is none of that name."""
        blocks = [f.distribution.mean.flatten(-len(f.shape)) for f in self.factors if f.part.name == name]
        if not blocks:
            names = dict.fromkeys(f.part.name for f in self.factors)
            raise ValueError(f"no observation part {name!r}; parts: {', '.join(map(repr, names))}")
        return torch.cat(blocks, -1)

    def entropy(self, reduction: Reduction = "mean") -> Tensor:
        """Entropy in nats, of the batch shape: of the whole ("sum"), or per random variable ("mean")."""
        total = torch.stack([f.distribution.entropy() for f in self.factors]).sum(0)
        return total / sum(f.variables for f in self.factors) if reduction == "mean" else total

    def mixture_entropy(self, reduction: Reduction = "mean") -> Tensor:
        """Entropy in nats of the equally weighted mixture over the first batch dimension, of the remaining batch shape.

        Exact for each categorical and Bernoulli variable; other variables take the entropy of a Gaussian with the
        mixture's variance, an upper bound. Variables count as independent within the mixture.
        """
        total = torch.stack([_mixture_entropy(f) for f in self.factors]).sum(0)
        return total / sum(f.variables for f in self.factors) if reduction == "mean" else total


def _mixture_entropy(factor: Factor) -> Tensor:
    mean = factor.distribution.mean
    if factor.part.kind == "categorical":
        probabilities = mean.mean(0)
        return -torch.xlogy(probabilities, probabilities).flatten(-2).sum(-1)
    if factor.part.kind == "bernoulli":
        p = mean.mean(0)
        return -(torch.xlogy(p, p) + torch.xlogy(1.0 - p, 1.0 - p)).sum(-1)
    variance = factor.distribution.variance.mean(0) + mean.var(0, unbiased=False)
    within = factor.distribution.variance.log().mean(0)
    # relative to the members' own mean entropy, so that agreeing members gain nothing whatever their family
    return factor.distribution.entropy().mean(0) + 0.5 * (variance.log() - within).sum(-1)


def _draw(distribution: Distribution) -> Tensor:
    if distribution.has_rsample:
        return distribution.rsample()
    mean = distribution.mean  # Bernoulli: straight through, as one-hot categoricals do
    return distribution.sample() + mean - mean.detach()


class ObservationCodec(nn.Module):
    """Between a space's observations and flat, normalised tensors; running moments are its buffers.

    Args:
        space: the (unbatched) observation space.
    """

    mean: Tensor
    second_moment: Tensor
    count: Tensor
    free: Tensor
    unit: Tensor

    def __init__(self, space: spaces.Space) -> None:
        super().__init__()
        self.space = space
        self.parts = parts_of(space)
        self.size = self.parts[-1].start + self.parts[-1].size
        self.kinds = {part.kind for part in self.parts}
        self.rescales = bool(self.kinds & {"gaussian", "image"})
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("second_moment", torch.ones(self.size))
        self.register_buffer("count", torch.zeros(()))
        free = torch.cat([torch.full((p.size,), p.kind == "gaussian") for p in self.parts])
        self.register_buffer("free", free, persistent=False)
        scale = torch.cat([torch.full((p.size,), 1.0 / 255.0 if p.kind == "image" else 1.0) for p in self.parts])
        self.register_buffer("unit", scale, persistent=False)

    @property
    def num_parameters(self) -> int:
        """Number of values that `distribution` reads."""
        return sum(part.num_parameters for part in self.parts)

    def flatten(self, observations: Any) -> np.ndarray:
        """Flatten batched observations, as a vector environment gives them, to float32 (batch, O).

        One row equals `gymnasium.spaces.flatten(space, observation)`.
        """
        batch = len(_values(observations, self.parts[0].name))
        flat = np.zeros((batch, self.size), dtype=np.float32)
        for part in self.parts:
            _flatten_part(part, _values(observations, part.name), flat)
        return flat

    @torch.no_grad()
    def update(self, flat: Tensor) -> None:
        """Move the running moments by a batch of flattened observations (batch, O), wherever they lie."""
        if "gaussian" not in self.kinds:
            return
        flat = flat.to(self.mean)
        self.count += len(flat)
        rate = len(flat) / self.count
        self.mean.lerp_(torch.where(self.free, flat.mean(0), 0.0), rate)
        self.second_moment.lerp_(torch.where(self.free, flat.square().mean(0), 1.0), rate)

    def normalise(self, flat: Tensor) -> Tensor:
        """Standardise the Gaussian parts of (..., O) by the running moments, scale images to [0, 1]."""
        return ((flat * self.unit) - self.mean) / self._scale if self.rescales else flat

    def denormalise(self, normalised: Tensor) -> Tensor:
        """Undo `normalise`, (..., O)."""
        return (normalised * self._scale + self.mean) / self.unit if self.rescales else normalised

    @property
    def _scale(self) -> Tensor:
        return (self.second_moment - self.mean.square()).clamp_min(1e-6).sqrt()

    def distribution(self, parameters: Tensor) -> ObservationDistribution:
        """Turn decoder parameters (..., num_parameters) into the distribution of a normalised observation."""
        factors: list[Factor] = []
        position = 0
        for part in self.parts:
            values = parameters[..., position : position + part.num_parameters]
            position += part.num_parameters
            factors += _factors(part, values)
        return ObservationDistribution(factors)


class View(nn.Module):
    """What a network sees of a normalised observation: some of its parts, exchangeable components counted.

    Args:
        codec: of the observation.
        names: parts that are seen; by default all.
        pooled: see a MultiDiscrete of equal components as the number of components with each value, one-hot, which is
            all that matters where the components are exchangeable.

    Raises:
        ValueError: for an unknown part.
    """

    select: Tensor
    count: Tensor

    def __init__(self, codec: ObservationCodec, names: tuple[str, ...] = (), *, pooled: bool = False) -> None:
        super().__init__()
        known = [part.name for part in codec.parts]
        for name in names:
            if name not in known:
                raise ValueError(f"no observation part {name!r}; parts: {', '.join(map(repr, known))}")
        select, count = [], []
        self.images: list[Part] = []
        """The images that are seen, with the columns that they have in the view."""
        start = 0
        for part in codec.parts:
            if names and part.name not in names:
                continue
            columns, counts = torch.eye(codec.size)[:, part.columns], torch.full((part.size,), math.nan)
            components = len(part.categories)
            if pooled and components > 1 and len(set(part.categories)) == 1:
                columns = columns.unflatten(1, (components, part.categories[0])).sum(1)
                columns = columns.repeat_interleave(components + 1, 1)
                counts = torch.arange(components + 1.0).repeat(part.categories[0])
            if part.image_shape is not None:
                self.images.append(replace(part, start=start))
            start += len(counts)
            select.append(columns)
            count.append(counts)
        self.register_buffer("select", torch.cat(select, 1), persistent=False)
        self.register_buffer("count", torch.cat(count), persistent=False)
        self.size = len(self.count)
        self.whole = torch.equal(self.select, torch.eye(codec.size))

    def forward(self, normalised: Tensor) -> Tensor:
        """Normalised observations (..., O) -> what is seen of them, (..., size)."""
        if self.whole:
            return normalised
        seen = normalised @ self.select
        return torch.where(self.count.isnan(), seen, ((seen - self.count).abs() < 0.5).to(seen))


FAMILIES: dict[str, Callable[[Tensor], Distribution]] = {
    "bernoulli": bernoulli,
    "unit": unit_interval,
    "image": unit_interval,
    "gaussian": gaussian,
}


def _factors(part: Part, values: Tensor) -> list[Factor]:
    if part.kind != "categorical":
        return [Factor(part, part.columns, (part.size,), FAMILIES[part.kind](values), part.num_variables)]
    factors: list[Factor] = []
    position = 0
    for categories, group in groupby(part.categories):
        count = len(list(group))
        width = count * categories
        logits = values[..., position : position + width].unflatten(-1, (count, categories))
        columns = slice(part.start + position, part.start + position + width)
        factors.append(
            Factor(part, columns, (count, categories), Independent(categorical(logits), 1, validate_args=False), count)
        )
        position += width
    return factors
