"""Explicit baselines with exact likelihoods: mixtures, factor analysis, probabilistic PCA, binary factors."""

from __future__ import annotations

from torch import Tensor, nn

from generative.data import Dataset
from generative.mixtures.em import EMConfig
from generative.mixtures.factors import BinaryFactors, FactorAnalysis
from generative.mixtures.mixture import (
    BernoulliComponents,
    GaussianComponents,
    Mixture,
    bernoulli_mixture,
    gaussian_mixture,
)
from generative.registry import Entry
from generative.training import TrainingConfig, seeded

__all__ = [
    "MODELS",
    "BernoulliComponents",
    "BinaryFactors",
    "EMConfig",
    "FactorAnalysis",
    "GaussianComponents",
    "Mixture",
    "bernoulli_mixture",
    "gaussian_mixture",
]


def _started(model: nn.Module, x: Tensor, rounds: int) -> nn.Module:
    """Run a few rounds of EM, from which gradient steps go on."""
    with seeded(0):
        model.fit(x, EMConfig(max_rounds=rounds))  # type: ignore[operator]
    return model


def _gaussian(data: Dataset) -> Mixture:
    count = max(2 * data.classes, 10)
    return _started(gaussian_mixture(count, data.features, floor=1e-3), data.train, 100)  # type: ignore[return-value]


def _bernoulli(data: Dataset) -> Mixture:
    return _started(bernoulli_mixture(20, data.features, pseudo_count=1.0), data.train, 50)  # type: ignore[return-value]


def _factors(data: Dataset) -> FactorAnalysis:
    return _started(FactorAnalysis(data.features, max(data.features // 8, 1)), data.train, 100)  # type: ignore[return-value]


_EXACT = frozenset({"log_prob", "sample", "mean"})
_SHORT = TrainingConfig(steps=200, learning_rate=1e-4)

MODELS: tuple[Entry, ...] = (
    Entry("gaussian-mixture", _gaussian, ("real",), _EXACT, "Dempster, Laird & Rubin 1977", training=_SHORT),
    Entry("bernoulli-mixture", _bernoulli, ("binary",), _EXACT, "McLachlan & Peel 2000", training=_SHORT),
    Entry("factor-analysis", _factors, ("real",), FactorAnalysis.has, "Rubin & Thayer 1982", training=_SHORT),
)
