"""Energy-based models: restricted Boltzmann machines, pairwise models, Gaussian random fields, noise contrast."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from generative.data import Dataset
from generative.energy.gaussian import GaussianMRF
from generative.energy.nce import NoiseContrastive, nce_objective
from generative.energy.pairwise import Pairwise, boltzmann, grid, hopfield, ising, potts
from generative.energy.rbm import RBM
from generative.energy.sampling import (
    NegativeKind,
    NegativePhase,
    Negatives,
    all_states,
    contrastive_loss,
    exchange,
    pseudo_likelihood_loss,
)
from generative.nn import MLP
from generative.registry import Entry
from generative.training import TrainingConfig

__all__ = [
    "MODELS",
    "RBM",
    "GaussianMRF",
    "NegativePhase",
    "Negatives",
    "NoiseContrastive",
    "Pairwise",
    "all_states",
    "boltzmann",
    "contrastive_loss",
    "exchange",
    "grid",
    "hopfield",
    "ising",
    "nce_loss",
    "nce_objective",
    "potts",
    "pseudo_likelihood_loss",
]

_SAMPLED = frozenset({"sample"})
_CONTRASTIVE = TrainingConfig(steps=3000, batch_size=50, learning_rate=5e-3, evaluate_every=300)
_PSEUDO = TrainingConfig(steps=1000, learning_rate=1e-2, weight_decay=1e-3, evaluate_every=100)


def nce_loss(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The noise-contrastive objective (`NoiseContrastive.loss`), in nats."""
    if not isinstance(model, NoiseContrastive):
        raise ValueError(f"{type(model).__name__} has no noise to be contrasted with; NoiseContrastive has")
    return model.loss(x)


def _rbm(kind: NegativeKind) -> Callable[[Dataset], nn.Module]:
    def build(data: Dataset) -> nn.Module:
        model = RBM(data.features, 100, Negatives(kind))
        mean = data.train.mean(0).clamp(0.01, 0.99)
        with torch.no_grad():
            model.visible_bias.copy_(mean.logit())
        return model

    return build


def _image_grid(data: Dataset) -> torch.Tensor:
    assert data.image_shape is not None
    return grid(*data.image_shape[1:])


def _hopfield(data: Dataset) -> nn.Module:
    """Store each class's mean image, rounded."""
    labels = data.labels["train"]
    return hopfield(torch.stack([data.train[labels == k].mean(0) for k in range(data.classes)]).round())


def _gaussian_mrf(data: Dataset) -> nn.Module:
    adjacency = torch.ones(data.features, data.features)
    return GaussianMRF(adjacency, mean=data.train.mean(0), scale=data.train.std(0))


def _nce(data: Dataset) -> nn.Module:
    covariance = 2.0 * torch.cov(data.train.T)
    return NoiseContrastive(MLP(data.features, (128, 128), 1, activation_name="silu"), data.train.mean(0), covariance)


_RBM_SOURCES: dict[NegativeKind, str] = {
    "cd": "Hinton 2002",
    "pcd": "Tieleman 2008",
    "tempering": "Desjardins et al. 2010",
}

MODELS: tuple[Entry, ...] = (
    *(
        Entry(
            f"rbm-{kind}",
            _rbm(kind),
            ("binary",),
            frozenset({"sample", "reconstruct"}),
            source,
            loss=contrastive_loss,
            validation=pseudo_likelihood_loss,
            training=_CONTRASTIVE,
        )
        for kind, source in _RBM_SOURCES.items()
    ),
    Entry(
        "boltzmann",
        lambda data: boltzmann(data.features),
        ("binary",),
        _SAMPLED,
        "Ackley, Hinton & Sejnowski 1985",
        loss=contrastive_loss,
        validation=pseudo_likelihood_loss,
        training=TrainingConfig(steps=1000, batch_size=100, learning_rate=1e-2, evaluate_every=100),
    ),
    Entry(
        "ising",
        lambda data: ising(_image_grid(data)),
        ("binary",),
        _SAMPLED,
        "Ising 1925; Besag 1975",
        loss=pseudo_likelihood_loss,
        training=_PSEUDO,
        images=True,
    ),
    Entry(
        "potts",
        lambda data: potts(_image_grid(data), data.levels),
        ("binary", "levels"),
        _SAMPLED,
        "Potts 1952; Besag 1975",
        loss=pseudo_likelihood_loss,
        training=_PSEUDO,
        images=True,
    ),
    Entry("hopfield", _hopfield, ("binary",), _SAMPLED, "Hopfield 1982", loss=pseudo_likelihood_loss, training=_PSEUDO),
    Entry("gaussian-mrf", _gaussian_mrf, ("real",), GaussianMRF.has, "Rue & Held 2005"),
    Entry(
        "nce",
        _nce,
        ("real",),
        NoiseContrastive.has,
        "Gutmann & Hyvärinen 2010",
        loss=nce_loss,
        training=TrainingConfig(steps=2000, batch_size=256, learning_rate=2e-3, average=0.99),
    ),
)
