"""Normalising flows: planar and radial of the project's own, the rest on zuko's transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from generative.data import Dataset, Kind
from generative.flows.flow import ALPHA, Dequantised, Flow, to_logits
from generative.flows.library import Affine, cnf, iaf, maf, masks, nice, nsf, planar, radial, real_nvp
from generative.flows.residual import Planar, PlanarTransform, Radial, RadialTransform
from generative.registry import Entry
from generative.training import TrainingConfig

__all__ = [
    "MODELS",
    "Affine",
    "Dequantised",
    "Flow",
    "Planar",
    "PlanarTransform",
    "Radial",
    "RadialTransform",
    "cnf",
    "iaf",
    "maf",
    "masks",
    "nice",
    "nsf",
    "planar",
    "radial",
    "real_nvp",
    "to_logits",
]

_KINDS: tuple[Kind, ...] = ("real", "levels")
_TRAINING = TrainingConfig(
    steps=2000, batch_size=256, learning_rate=3e-3, weight_decay=0.1, average=0.99, evaluate_every=200, patience=5
)


def _fitted(make: Callable[..., Flow], **settings: Any) -> Callable[[Dataset], nn.Module]:
    """Return a builder that standardises by the training data, and dequantises levels."""

    def build(data: Dataset) -> nn.Module:
        if data.kind == "real":
            return make(data.features, mean=data.train.mean(0), scale=data.train.std(0), **settings)
        logits, _ = to_logits(data.train + 0.5, data.levels, ALPHA)
        flow = make(data.features, mean=logits.mean(0), scale=logits.std(0).clamp_min(0.2), **settings)
        return Dequantised(flow, data.levels)

    return build


def _entry(name: str, make: Callable[..., Flow], source: str, *, pictures: bool = False, **settings: Any) -> Entry:
    """Return the entry of a flow; `pictures` says whether its masks follow the image's shape."""

    def build(data: Dataset) -> nn.Module:
        extra = {"image_shape": data.image_shape} if pictures else {}
        width = {"hidden": (128,)} if data.kind == "levels" and "hidden" in settings else {}
        return _fitted(make, **(settings | extra | width))(data)

    has = frozenset({"log_prob", "sample", "rsample"})
    return Entry(name, build, _KINDS, has, source, training=_TRAINING)


MODELS = (
    _entry("planar", planar, "arXiv 1505.05770", transforms=24),
    _entry("radial", radial, "arXiv 1505.05770", transforms=24),
    _entry("nice", nice, "arXiv 1410.8516", pictures=True, hidden=(64, 64)),
    _entry("real-nvp", real_nvp, "arXiv 1605.08803", pictures=True, hidden=(64, 64)),
    _entry("maf", maf, "arXiv 1705.07057", hidden=(64, 64)),
    _entry("nsf", nsf, "arXiv 1906.04032", hidden=(64, 64)),
    _entry("cnf", cnf, "arXiv 1810.01367 (FFJORD)", hidden=(64, 64)),
)
