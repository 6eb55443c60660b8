"""Deterministic autoencoders, plain and denoising."""

from __future__ import annotations

from generative.autoencoder.model import Autoencoder, AutoencoderConfig, reconstruction_loss
from generative.data import Dataset, Kind
from generative.registry import Entry
from generative.training import TrainingConfig

__all__ = ["MODELS", "Autoencoder", "AutoencoderConfig", "reconstruction_loss"]


def _build(data: Dataset, noise: float) -> Autoencoder:
    latent_dim = 1 if data.features == 2 else 8
    return Autoencoder(data.features, AutoencoderConfig(latent_dim, noise=noise), data.train.mean(0), data.train.std())


_ALL: tuple[Kind, ...] = ("real", "levels", "binary")
_TRAINING = TrainingConfig(steps=2000, batch_size=100, average=0.99)

MODELS: tuple[Entry, ...] = (
    Entry(
        "autoencoder",
        lambda data: _build(data, 0.0),
        _ALL,
        Autoencoder.has,
        "Rumelhart, Hinton & Williams 1986",
        loss=reconstruction_loss,
        training=_TRAINING,
    ),
    Entry(
        "denoising-autoencoder",
        lambda data: _build(data, 0.3),
        _ALL,
        Autoencoder.has,
        "Vincent et al. 2008",
        loss=reconstruction_loss,
        training=_TRAINING,
    ),
)
