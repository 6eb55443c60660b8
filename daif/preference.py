"""Preference mappings Ψ: the probability that a predicted observation is preferred, as its surprise −log Ψ in nats.

observation:NAME[i]   the expected value of component i of an observation part on [0, 1] (the paper: the score)
reward                Ψ ∝ exp(r / scale) of the predicted reward r of the jump
outcomes:y=w,z=a..b   Ψ ∝ exp(−ω · y / scale) of predicted outcomes (see `daif.outcomes`)
goal=v1,v2,...        Ψ = exp(−½ mean (o − v)²) in normalised units; `_` leaves a component free
module:function       a function of a `Prediction` that returns Ψ
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

import torch
from torch import Tensor

from world_models.likelihood import ObservationCodec, Part
from world_models.overshooting_vae import Prediction

Preference = Callable[[Prediction], Tensor]
"""Maps a prediction of batch shape (...) to the surprise −log Ψ (...), in nats."""

SMALLEST = 1e-6
"""Ψ is kept above this, so that its surprise stays finite."""


def surprise(probability: Tensor) -> Tensor:
    """Return −log Ψ of probabilities in (0, 1], in nats."""
    return -probability.clamp(SMALLEST, 1.0).log()


def _observed_component(spec: str, codec: ObservationCodec) -> tuple[Part, int]:
    match = re.fullmatch(r"observation:(.*)\[(-?\d+)\]", spec)
    names = ", ".join(repr(part.name) for part in codec.parts if part.kind in ("unit", "image"))
    if match is None:
        raise ValueError(f"preference {spec!r} is not of the form observation:NAME[index]; parts on [0, 1]: {names}")
    name, index = match[1], int(match[2])
    part = next((part for part in codec.parts if part.name == name and part.kind in ("unit", "image")), None)
    if part is None:
        raise ValueError(f"preference {spec!r} names no observation part on [0, 1]; there are: {names or 'none'}")
    if not -part.size <= index < part.size:
        raise ValueError(f"preference {spec!r}: the part {name!r} has {part.size} components")
    return part, index % part.size


def observed_column(spec: str, codec: ObservationCodec) -> int | None:
    """The column of the flattened observation that the preference reads, or None where it is no single one."""
    if not spec.startswith("observation:"):
        return None
    part, index = _observed_component(spec, codec)
    return part.start + index


def _goal(spec: str, codec: ObservationCodec) -> Preference:
    values = spec.removeprefix("goal=").split(",")
    if len(values) != codec.size:
        raise ValueError(f"preference {spec!r} gives {len(values)} values; the flattened observation has {codec.size}")
    try:
        wanted = torch.tensor([float("nan") if value.strip() == "_" else float(value) for value in values])
    except ValueError:
        raise ValueError(f"preference {spec!r}: every value must be a number or _") from None
    matters = ~wanted.isnan()

    def goal(prediction: Prediction) -> Tensor:
        target = codec.normalise(wanted.nan_to_num().to(prediction.observation.mean))
        error = (prediction.observation.mean - target)[..., matters]
        return 0.5 * error.square().mean(-1)

    return goal


def _user(spec: str) -> Preference:
    module_name, _, name = spec.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(
            f"preference {spec!r}: there is no function {name!r} in an importable module {module_name!r}"
        ) from None
    return lambda prediction: surprise(function(prediction))


def preference_of(spec: str, codec: ObservationCodec) -> Preference:
    """Return the preference over observations that a specification names; ValueError in one sentence for another."""
    if spec.startswith("observation:"):
        part, index = _observed_component(spec, codec)
        return lambda prediction: surprise(prediction.observation.part_mean(part.name)[..., index])
    if spec.startswith("goal="):
        return _goal(spec, codec)
    if ":" in spec:
        return _user(spec)
    raise ValueError(
        f"unknown preference {spec!r}; "
        "allowed: reward, outcomes:NAME=WEIGHT,..., observation:NAME[index], goal=v1,v2,..., module:function"
    )
