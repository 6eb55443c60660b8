"""Fully observed models: log p(x) = Σ_i log p(x_i given x_<i)."""

from __future__ import annotations

from torch import Tensor, nn

from generative.autoregressive.conditionals import (
    BinaryConditional,
    Conditional,
    LevelConditional,
    MixtureConditional,
    conditional_for,
)
from generative.autoregressive.made import MaskedNetwork, made
from generative.autoregressive.model import Autoregressive
from generative.autoregressive.nade import DeepNADE, NadeNetwork, nade, rnade
from generative.autoregressive.pixels import PixelCNNNetwork, PixelRNNNetwork, pixel_cnn, pixel_rnn
from generative.autoregressive.sequence import LagNetwork, RecurrentNetwork, n_ar, rnn
from generative.data import Dataset, Kind
from generative.registry import Entry
from generative.training import TrainingConfig, negative_bound

__all__ = [
    "MODELS",
    "Autoregressive",
    "BinaryConditional",
    "Conditional",
    "DeepNADE",
    "LagNetwork",
    "LevelConditional",
    "MaskedNetwork",
    "MixtureConditional",
    "NadeNetwork",
    "PixelCNNNetwork",
    "PixelRNNNetwork",
    "RecurrentNetwork",
    "conditional_for",
    "made",
    "n_ar",
    "nade",
    "pixel_cnn",
    "pixel_rnn",
    "rnade",
    "rnn",
]

_ALL: tuple[Kind, ...] = ("real", "binary", "levels")
_DISCRETE: tuple[Kind, ...] = ("binary", "levels")
_DENSITY = frozenset({"log_prob", "sample"})
_TRAINING = TrainingConfig(
    steps=1500, batch_size=100, learning_rate=3e-3, weight_decay=0.3, average=0.99, evaluate_every=100, patience=4
)
_SHORT = TrainingConfig(steps=800, batch_size=100, learning_rate=3e-3, average=0.99, evaluate_every=100, patience=4)


def _conditional(data: Dataset) -> Conditional:
    return conditional_for(data.kind, data.levels)


def _image(data: Dataset) -> tuple[int, int, int]:
    if data.image_shape is None:
        raise ValueError(f"{data.name} holds no images")
    return data.image_shape


def deep_nade_loss(model: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Deep NADE's order-agnostic objective in training mode, its exact −log p in evaluation mode."""
    if not isinstance(model, DeepNADE):
        raise ValueError(f"the order-agnostic loss is for DeepNADE, not {type(model).__name__}")
    return model.loss(x, context) if model.training else negative_bound(model, x, context)


MODELS = (
    Entry(
        "fvsbn",
        lambda data: made(data.features, _conditional(data), hidden=()),
        _DISCRETE,
        _DENSITY,
        "logistic autoregression, the fully visible sigmoid belief net (Frey 1998)",
        training=TrainingConfig(
            steps=1500, batch_size=100, learning_rate=1e-2, weight_decay=0.1, average=0.99, evaluate_every=100
        ),
    ),
    Entry(
        "made",
        lambda data: made(data.features, _conditional(data), hidden=(400,), dropout=0.4 if data.image_shape else 0.0),
        _ALL,
        _DENSITY,
        "arXiv 1502.03509",
        training=_TRAINING,
    ),
    Entry(
        "nade",
        lambda data: nade(data.features, _conditional(data), hidden=128, dropout=0.3),
        _DISCRETE,
        _DENSITY,
        "Larochelle & Murray 2011",
        training=_TRAINING,
    ),
    Entry(
        "deep-nade",
        lambda data: DeepNADE(data.features, _conditional(data), hidden=(256, 256), dropout=0.1),
        _ALL,
        _DENSITY,
        "arXiv 1310.1757",
        loss=deep_nade_loss,
        training=_SHORT,
    ),
    Entry("rnade", lambda data: rnade(data.features), ("real",), _DENSITY, "arXiv 1306.0186", training=_SHORT),
    Entry(
        "n-ar",
        lambda data: n_ar(
            data.features,
            min(20, data.features),
            _conditional(data),
            hidden=(128,),
            positions=data.image_shape is not None,
            dropout=0.2 if data.image_shape else 0.0,
        ),
        _ALL,
        _DENSITY,
        "N-AR(p), nonlinear autoregression of order p (Mohamed's lecture)",
        training=_SHORT,
    ),
    Entry(
        "rnn",
        lambda data: rnn(data.features, _conditional(data), hidden=96),
        _ALL,
        _DENSITY,
        "next-step prediction by a GRU (both lectures)",
        training=_SHORT,
    ),
    Entry(
        "pixel-cnn",
        lambda data: pixel_cnn(_image(data), _conditional(data), channels=32, layers=4, dropout=0.2),
        _DISCRETE,
        _DENSITY,
        "arXiv 1606.05328 (gated)",
        training=_SHORT,
        images=True,
    ),
    Entry(
        "pixel-rnn",
        lambda data: pixel_rnn(_image(data), _conditional(data), channels=32, layers=2, dropout=0.2),
        _DISCRETE,
        _DENSITY,
        "arXiv 1601.06759 (Row LSTM)",
        training=_SHORT,
        images=True,
    ),
)
