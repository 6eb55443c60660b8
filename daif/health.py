"""Signs that training has gone wrong, each named in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

EXPLODED = 1e6
"""A loss or term of G beyond this, in nats, has exploded."""
COLLAPSED_POSTERIOR = 1e-3
"""Below this KL to the prior, in nats, the state says nothing about the observation."""
COLLAPSED_POLICY = 1e-4
"""Below this entropy, in nats, a policy over discrete actions is deterministic and can't be improved any more."""


def diagnose(metrics: Mapping[str, float], *, discrete_actions: bool) -> list[str]:
    """Return a sentence for each sign in an epoch's metrics; an empty list if all is well."""
    signs = [f"{name} is not finite" for name, value in metrics.items() if not math.isfinite(value)]
    for name, value in metrics.items():
        if name.startswith(("efe/", "model/", "critic/")) and math.isfinite(value) and abs(value) > EXPLODED:
            signs.append(f"{name} has exploded to {value:.3g}")
    if metrics.get("model/complexity", math.inf) < COLLAPSED_POSTERIOR:
        signs.append(f"the posterior has collapsed: model/complexity is {metrics['model/complexity']:.2g} nats")
    if discrete_actions and metrics.get("policy/entropy", math.inf) < COLLAPSED_POLICY:
        signs.append(f"the policy has collapsed: policy/entropy is {metrics['policy/entropy']:.2g} nats")
    return signs


def not_finite(tensors: Mapping[str, Any]) -> list[str]:
    """Return the paths of nested tensors with values that are not finite, such as "modules/actor/readout.weight"."""
    return [path for path, tensor in _leaves(tensors) if tensor.is_floating_point() and not tensor.isfinite().all()]


def _leaves(nested: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}/")
        elif isinstance(value, Tensor):
            yield f"{prefix}{name}", value
