"""Every generative model by name: what it has, which data it takes, how it is built for a data set.

A family registers by a table: a module-level `MODELS: tuple[Entry, ...]` in one of `FAMILIES`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from generative.data import Dataset, Kind
from generative.names import unknown
from generative.training import History, Loss, Source, TrainingConfig, negative_bound

FAMILIES = (
    "generative.autoregressive",
    "generative.flows",
    "generative.diffusion",
    "generative.autoencoder",
    "generative.mixtures",
    "generative.vae",
    "generative.state_space",
    "generative.energy",
    "generative.adversarial",
)
"""Modules that hold a table of models, in the order of `names()`."""


@dataclass(frozen=True)
class Entry:
    """One model of the registry."""

    name: str
    """Its name on the command line."""
    build: Callable[[Dataset], nn.Module]
    """Builds an untrained model that fits a data set (its features, levels, image shape, standardisation)."""
    kinds: tuple[Kind, ...]
    """Kinds of data that it can be trained on."""
    has: frozenset[str]
    """What the model has, out of `generative.protocol.ABILITIES`."""
    source: str
    """Where it is defined."""
    loss: Loss = negative_bound
    """Mean training loss of a batch: loss(model, x), or loss(model, x, labels) where `labelled`."""
    validation: Loss | None = None
    """Loss to validate by where the training loss says nothing of it (a contrastive one); None for `loss`."""
    labelled: bool = False
    """Whether the loss takes class numbers."""
    training: TrainingConfig = TrainingConfig()  # noqa: RUF009 - frozen
    """Settings that suit it."""
    images: bool = False
    """Whether it takes images only."""
    volumes: bool = False
    """Whether it takes volumes only."""
    train: Callable[..., History] | None = None
    """Trainer of models that play or grow, called like `generative.adversarial.play`; None for `fit`."""
    examples: Callable[[Dataset], Source] | None = None
    """What it is trained on, where that is not the training part (and its labels, where `labelled`)."""

    def training_data(self, data: Dataset) -> Source:
        """Return what it is trained on."""
        if self.examples is not None:
            return self.examples(data)
        return [data.train, data.labels["train"]] if self.labelled else [data.train]

    def takes(self, data: Dataset) -> bool:
        """Return whether it can be trained on a data set."""
        shaped = (data.image_shape or not self.images) and (data.volume_shape or not self.volumes)
        return data.kind in self.kinds and bool(shaped)


def _tables() -> Iterator[tuple[Entry, ...]]:
    """Yield the table of each family that is there, importing it only when it is reached."""
    for family in FAMILIES:
        if importlib.util.find_spec(family) is not None:
            yield importlib.import_module(family).MODELS


def entries() -> dict[str, Entry]:
    """Return every entry by name, in the order of the families; ValueError where two share a name."""
    table: dict[str, Entry] = {}
    for models in _tables():
        for each in models:
            if each.name in table:
                raise ValueError(f"two generative models are called {each.name!r}")
            table[each.name] = each
    return table


def names() -> tuple[str, ...]:
    """Return the names of every model."""
    return tuple(entries())


def entry(name: str) -> Entry:
    """Return an entry by name; ValueError, with the nearest name, for an unknown one."""
    for models in _tables():
        for each in models:
            if each.name == name:
                return each
    raise ValueError(unknown("generative model", name, names()))


def build(name: str, data: Dataset) -> nn.Module:
    """Return an untrained model that fits a data set; ValueError where it cannot take that kind of data."""
    chosen = entry(name)
    if not chosen.takes(data):
        shape = " of images" if chosen.images else " of volumes" if chosen.volumes else ""
        what = f"{' or '.join(chosen.kinds)} data{shape}"
        raise ValueError(f"{name} takes {what}, not {data.name} ({data.kind})")
    return chosen.build(data)
