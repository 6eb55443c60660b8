"""Variational autoencoders: Gaussian (conditional, β, importance-weighted), flow posterior, hierarchies, binary."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from generative.autoregressive import conditional_for, pixel_cnn
from generative.data import Dataset, Kind
from generative.registry import Entry
from generative.training import TrainingConfig
from generative.vae.autoregressive import AutoregressiveLikelihood
from generative.vae.binary import DARN, AutoregressiveBernoulli, DARNConfig
from generative.vae.bits_back import BitsBackCoder, Stack
from generative.vae.core import GaussianVAE, VAEConfig, decoder_width, linear_vae_log_likelihood
from generative.vae.draw import DRAW, DRAWConfig
from generative.vae.flow_posterior import FlowPosteriorConfig, FlowPosteriorVAE
from generative.vae.hierarchy import HierarchicalVAE, HierarchyConfig, Inference
from generative.vae.likelihood import Likelihood, likelihood_for
from generative.vae.losses import BetaLoss, FreeBitsLoss, ImportanceWeightedLoss, RenyiLoss, WarmUpLoss
from generative.vae.mixture import GrowthConfig, InfiniteVAE, MixtureVAE, train_by_growth
from generative.vae.semi_supervised import (
    M1,
    UNLABELLED,
    SemiSupervisedConfig,
    SemiSupervisedVAE,
    few_labels,
    mixed_batches,
    semi_supervised_batches,
    semi_supervised_loss,
)
from generative.vae.volumetric import volumetric_vae

__all__ = [
    "DARN",
    "DRAW",
    "M1",
    "MODELS",
    "UNLABELLED",
    "AutoregressiveBernoulli",
    "AutoregressiveLikelihood",
    "BetaLoss",
    "BitsBackCoder",
    "DARNConfig",
    "DRAWConfig",
    "FlowPosteriorConfig",
    "FlowPosteriorVAE",
    "FreeBitsLoss",
    "GaussianVAE",
    "GrowthConfig",
    "HierarchicalVAE",
    "HierarchyConfig",
    "ImportanceWeightedLoss",
    "InfiniteVAE",
    "Likelihood",
    "MixtureVAE",
    "RenyiLoss",
    "SemiSupervisedConfig",
    "SemiSupervisedVAE",
    "Stack",
    "VAEConfig",
    "WarmUpLoss",
    "decoder_width",
    "few_labels",
    "likelihood_for",
    "linear_vae_log_likelihood",
    "mixed_batches",
    "semi_supervised_batches",
    "semi_supervised_loss",
    "volumetric_vae",
]


def _mixture(data: Dataset) -> MixtureVAE:
    """Return one autoencoder for each class, whose labels it does not see."""
    config = VAEConfig(latent_dim=1 if data.features == 2 else 8, hidden=(64,))
    return MixtureVAE([GaussianVAE(likelihood_for(data, decoder_width(config)), config) for _ in range(data.classes)])


def _infinite(data: Dataset) -> InfiniteVAE:
    """Return a mixture without components; each is to be small, with one scale of the noise for all variables."""
    config = VAEConfig(latent_dim=max(data.features // 3, 1), hidden=(16,))
    mean, scale = data.train.mean(0), data.train.std()

    def new_component() -> GaussianVAE:
        shared = scale.expand(data.features)
        likelihood = Likelihood(decoder_width(config), data.features, "isotropic", shift=mean, scale=shared)
        return GaussianVAE(likelihood, config)

    return InfiniteVAE(new_component, mean, scale, GrowthConfig())


def _volumetric(data: Dataset) -> GaussianVAE:
    if data.volume_shape is None:
        raise ValueError(f"{data.name} holds no volumes")
    return volumetric_vae(data.volume_shape, VAEConfig(latent_dim=12))


def _config(data: Dataset) -> VAEConfig:
    """Return the default settings: a wider code and more regularisation for images, of which there are few."""
    return VAEConfig(latent_dim=16, dropout=0.2, input_noise=0.3) if data.image_shape else VAEConfig()


def _vae(data: Dataset) -> GaussianVAE:
    config = _config(data)
    return GaussianVAE(likelihood_for(data, decoder_width(config)), config)


def _flow_vae(data: Dataset) -> FlowPosteriorVAE:
    config = _config(data)
    return FlowPosteriorVAE(likelihood_for(data, decoder_width(config)), config, FlowPosteriorConfig())


def _autoregressive_vae(data: Dataset) -> FlowPosteriorVAE:
    """Return an autoregressive posterior and a PixelCNN decoder of two layers, which sees three rows back."""
    config, conditional = _config(data), conditional_for(data.kind, data.levels)
    model = pixel_cnn(
        _image(data), conditional, channels=32, layers=2, context_features=decoder_width(config), dropout=0.2
    )
    return FlowPosteriorVAE(AutoregressiveLikelihood(model), config, FlowPosteriorConfig(transforms=1))


def _image(data: Dataset) -> tuple[int, int, int]:
    if data.image_shape is None:
        raise ValueError(f"{data.name} holds no images")
    return data.image_shape


def _draw(data: Dataset, config: DRAWConfig) -> DRAW:
    name = "bernoulli" if data.kind == "binary" else "levels"
    return DRAW(Likelihood(None, data.features, name, levels=data.levels), _image(data), config)


def _hierarchy(data: Dataset, inference: Inference) -> HierarchicalVAE:
    noise = {"dropout": 0.2, "input_noise": 0.3} if data.image_shape else {}
    config = HierarchyConfig(inference=inference, **noise)  # type: ignore[arg-type]
    return HierarchicalVAE(likelihood_for(data, config.widths[0]), config)


def _semi_supervised(data: Dataset, auxiliary_dim: int) -> SemiSupervisedVAE:
    """Return M2 or the auxiliary model with a code too small to hold the class, one scale of the noise for all of x."""
    if data.image_shape is None:
        config = SemiSupervisedConfig(data.classes, 1, auxiliary_dim, hidden=(64, 64))
    else:
        config = SemiSupervisedConfig(data.classes, 6, auxiliary_dim, hidden=(256,), dropout=0.2, input_noise=0.3)
    width = config.hidden[0]
    if data.kind == "binary":
        return SemiSupervisedVAE(likelihood_for(data, width), config)
    shift, scale = data.train.mean(0), data.train.std(0)
    if data.image_shape is not None:  # one scale for every pixel: some of them never change
        shift, scale = data.train.mean().expand(data.features), data.train.std().expand(data.features)
    return SemiSupervisedVAE(Likelihood(width, data.features, "isotropic", shift=shift, scale=scale), config)


_ALL: tuple[Kind, ...] = ("real", "levels", "binary")
_TRAINING = TrainingConfig(steps=1500, batch_size=100, learning_rate=2e-3, average=0.99, evaluate_every=100, patience=4)
_SEMI_SUPERVISED = TrainingConfig(steps=1500, batch_size=100, learning_rate=3e-3, average=0.99, evaluate_every=1500)

MODELS: tuple[Entry, ...] = (
    Entry("vae", _vae, _ALL, GaussianVAE.has, "Kingma & Welling, arXiv 1312.6114", training=_TRAINING),
    Entry(
        "beta-vae", _vae, _ALL, GaussianVAE.has, "Higgins et al. 2017 (β = 4)", loss=BetaLoss(4.0), training=_TRAINING
    ),
    Entry(
        "iwae",
        _vae,
        _ALL,
        GaussianVAE.has,
        "Burda et al., arXiv 1509.00519 (K = 5)",
        loss=ImportanceWeightedLoss(5),
        training=_TRAINING,
    ),
    Entry(
        "renyi-vae",
        _vae,
        _ALL,
        GaussianVAE.has,
        "Li & Turner, arXiv 1602.02311 (α = 0.5)",
        loss=RenyiLoss(0.5, 5),
        training=_TRAINING,
    ),
    Entry("flow-vae", _flow_vae, _ALL, FlowPosteriorVAE.has, "Kingma et al., arXiv 1606.04934", training=_TRAINING),
    Entry(
        "hierarchical-vae",
        lambda data: _hierarchy(data, "bottom-up"),
        _ALL,
        HierarchicalVAE.has,
        "Rezende et al., arXiv 1401.4082 (two layers)",
        loss=WarmUpLoss(500),
        training=_TRAINING,
    ),
    Entry(
        "ladder-vae",
        lambda data: _hierarchy(data, "ladder"),
        _ALL,
        HierarchicalVAE.has,
        "Sønderby et al., arXiv 1602.02282 (two layers)",
        loss=WarmUpLoss(500),
        training=_TRAINING,
    ),
    Entry(
        "autoregressive-vae",
        _autoregressive_vae,
        ("levels", "binary"),
        frozenset({"elbo", "sample"}),
        "Abbasnejad's lecture; Chen et al., arXiv 1611.02731",
        loss=FreeBitsLoss(4.0),
        training=replace(_TRAINING, steps=800),
        images=True,
    ),
    Entry(
        "mixture-vae",
        _mixture,
        _ALL,
        MixtureVAE.has,
        "Abbasnejad et al., arXiv 1611.07800 (finite)",
        training=replace(_TRAINING, steps=800),
    ),
    Entry(
        "infinite-vae",
        _infinite,
        ("real",),
        InfiniteVAE.has,
        "Abbasnejad et al., arXiv 1611.07800 (Dirichlet process)",
        training=GrowthConfig().training,
        train=train_by_growth,
    ),
    Entry(
        "volumetric-vae",
        _volumetric,
        ("binary",),
        GaussianVAE.has,
        "Rezende et al., arXiv 1607.00662",
        training=replace(_TRAINING, batch_size=64, learning_rate=3e-3),
        volumes=True,
    ),
    *(
        Entry(
            name,
            partial(_draw, config=config),
            ("levels", "binary"),
            DRAW.has,
            source,
            training=replace(_TRAINING, steps=800, learning_rate=5e-3),
            images=True,
        )
        for name, config, source in (
            ("draw", DRAWConfig(), "Gregor et al., arXiv 1502.04623"),
            ("draw-attention", DRAWConfig(attention=4), "Gregor et al., arXiv 1502.04623"),
            ("conv-draw", DRAWConfig(latent_dim=1, hidden=12, convolutional=True), "Gregor et al., arXiv 1604.08772"),
        )
    ),
    Entry(
        "m2",
        lambda data: _semi_supervised(data, 0),
        _ALL,
        SemiSupervisedVAE.has,
        "Kingma et al., arXiv 1406.5298 (five labels a class)",
        loss=semi_supervised_loss,
        labelled=True,
        training=_SEMI_SUPERVISED,
        examples=semi_supervised_batches,
    ),
    Entry(
        "adgm",
        lambda data: _semi_supervised(data, 1 if data.image_shape is None else 6),
        _ALL,
        SemiSupervisedVAE.has,
        "Maaløe et al., arXiv 1602.05473 (five labels a class)",
        loss=semi_supervised_loss,
        labelled=True,
        training=_SEMI_SUPERVISED,
        examples=semi_supervised_batches,
    ),
    Entry(
        "darn", lambda data: DARN(data.features, DARNConfig()), ("binary",), DARN.has, "Gregor et al., arXiv 1310.8499"
    ),
)
