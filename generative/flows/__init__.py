"""Normalising flows: planar and radial of the project's own, the rest on zuko's transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from generative.data import Dataset, Kind
from generative.flows.flow import ALPHA, Dequantised, Flow, to_logits
from generative.flows.library import Affine, cnf, iaf, maf, masks, nice, nsf, planar, radial, real_nvp
from generative.flows.residual import Planar, PlanarTransform, Radial, RadialTransform
from generative.registry import Entry
from generative.training import TrainingConfig

__all__ = [
    "ALPHA",
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
    "spline_scale",
    "to_logits",
]

_KINDS: tuple[Kind, ...] = ("real", "levels")
_HAS = frozenset({"log_prob", "sample", "rsample"})
_TRAINING = TrainingConfig(
    steps=2000, batch_size=256, learning_rate=5e-3, weight_decay=0.1, average=0.995, evaluate_every=250, patience=6
)


def spline_scale(x: Tensor) -> Tensor:
    """Return the scale (features,) that puts centred data (n, features) into [−4, 4], inside the splines' box."""
    return (x - x.mean(0)).abs().amax(0).clamp_min(1e-6) / 4.0


def _entry(
    name: str,
    make: Callable[..., Flow],
    source: str,
    *,
    scale: Callable[[Tensor], Tensor] = lambda x: x.std(0).clamp_min(0.2),
    masked: bool = False,
    levels: dict[str, Any] | None = None,
    training: TrainingConfig = _TRAINING,
    **settings: Any,
) -> Entry:
    """Return the entry of a flow, standardised by the training data.

    Args:
        name: the model's.
        make: its constructor.
        source: where it is defined.
        scale: scale of the standardisation from the training data.
        masked: whether the masks follow the shape of an image.
        levels: settings for grey levels (dequantised) that replace some of `settings`.
        training: settings that suit it.
        settings: of the constructor.
    """

    def build(data: Dataset) -> nn.Module:
        chosen = settings | ({"image_shape": data.image_shape} if masked else {})
        if data.kind == "real":
            return make(data.features, mean=data.train.mean(0), scale=scale(data.train), **chosen)
        logits, _ = to_logits(data.train + 0.5, data.levels, ALPHA)
        flow = make(data.features, mean=logits.mean(0), scale=scale(logits), **(chosen | (levels or {})))
        return Dequantised(flow, data.levels)

    return Entry(name, build, _KINDS, _HAS, source, training=training)


_SMALL = {"transforms": 8, "hidden": (64,)}
MODELS = (
    _entry("planar", planar, "arXiv 1505.05770", transforms=24),
    _entry("radial", radial, "arXiv 1505.05770", transforms=24),
    _entry("nice", nice, "arXiv 1410.8516", masked=True, transforms=16, levels=_SMALL),
    _entry(
        "real-nvp",
        real_nvp,
        "arXiv 1605.08803",
        masked=True,
        transforms=16,
        levels=_SMALL,
        training=replace(_TRAINING, learning_rate=3e-3, warmup_steps=100, clip_norm=1.0),
    ),
    _entry("maf", maf, "arXiv 1705.07057", transforms=5),
    _entry(
        "nsf",
        nsf,
        "arXiv 1906.04032",
        scale=spline_scale,
        transforms=2,
        bins=16,
        hidden=(128, 128),
        levels={"hidden": (64,)},
        training=replace(_TRAINING, steps=3000),
    ),
    _entry("cnf", cnf, "arXiv 1810.01367 (FFJORD)", training=replace(_TRAINING, steps=500)),
)
