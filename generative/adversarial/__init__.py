"""Adversarial models: GAN over any objective, conditional, inferring, clustering, uncertain and translating ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from generative.adversarial.classes import (
    ACGAN,
    RIM,
    CatGAN,
    SemiSupervisedGAN,
    class_information,
    information_loss,
    matched_accuracy,
)
from generative.adversarial.codes import BiGAN, InfoGAN
from generative.adversarial.domains import CycleGAN, Residual, SharedLatentGAN
from generative.adversarial.gade import GADE
from generative.adversarial.game import Game, GameConfig, SideBySide, play, players
from generative.adversarial.gan import GAN
from generative.adversarial.modes import PERFECT_SHARE, ModeReport, mode_report
from generative.adversarial.networks import (
    DCGANCritic,
    DCGANGenerator,
    FourierFeatures,
    MixtureLatent,
    Octaves,
    octave_critic,
)
from generative.adversarial.objectives import OBJECTIVES, Objective, objective
from generative.adversarial.uncertainty import UncertainGAN
from generative.critics import BoundedLipschitz, lipschitz_network
from generative.data import Dataset, Kind
from generative.flows import real_nvp
from generative.nn import MLP
from generative.registry import Entry
from generative.training import TrainingConfig
from generative.vae.semi_supervised import semi_supervised_batches

__all__ = [
    "ACGAN",
    "GADE",
    "GAN",
    "MODELS",
    "OBJECTIVES",
    "PERFECT_SHARE",
    "RIM",
    "BiGAN",
    "CatGAN",
    "CycleGAN",
    "DCGANCritic",
    "DCGANGenerator",
    "FourierFeatures",
    "Game",
    "GameConfig",
    "InfoGAN",
    "MixtureLatent",
    "ModeReport",
    "Objective",
    "Octaves",
    "Residual",
    "SemiSupervisedGAN",
    "SharedLatentGAN",
    "SideBySide",
    "UncertainGAN",
    "class_information",
    "information_loss",
    "matched_accuracy",
    "mode_report",
    "objective",
    "octave_critic",
    "play",
    "players",
    "shared_latent_gan",
    "turned",
    "two_domains",
]

LATENT_DIM = 4
HIDDEN = (64, 64)
TURN = math.pi / 4.0


def _units(data: Dataset) -> dict[str, Any]:
    return {"mean": data.train.mean(0), "scale": data.train.std(0).clamp_min(1e-3)}


def _critic(inputs: int, outputs: int = 1) -> nn.Module:
    return octave_critic(inputs, HIDDEN, 3, outputs)


def _generator(data: Dataset, extra: int = 0) -> nn.Module:
    return MLP(LATENT_DIM + extra, HIDDEN, data.features)


def _gan(
    critic: Callable[[int], nn.Module] = _critic, conditional: bool = False, **settings: Any
) -> Callable[[Dataset], GAN]:
    def build(data: Dataset) -> GAN:
        classes = data.classes if conditional else 0
        generator = _generator(data, classes)
        inputs = data.features + classes
        return GAN(generator, critic(inputs), LATENT_DIM, data.features, classes=classes, **_units(data), **settings)

    return build


def _lipschitz(inputs: int) -> nn.Module:
    return lipschitz_network(inputs, HIDDEN)


def _dudley(inputs: int) -> nn.Module:
    return BoundedLipschitz(lipschitz_network(inputs, HIDDEN))


def _ac_gan(data: Dataset) -> ACGAN:
    """Return an AC-GAN with a smooth critic: far from a class its logit must still point the way to it."""
    gan = GAN(
        _generator(data, data.classes),
        MLP(data.features, HIDDEN, 1 + data.classes, activation_name="silu"),
        LATENT_DIM,
        data.features,
        classes=data.classes,
        **_units(data),
    )
    return ACGAN(gan)


def _semi_supervised(data: Dataset) -> SemiSupervisedGAN:
    features = MLP(data.features, (64,), 64, activation_name="silu")
    head = nn.Sequential(nn.SiLU(), nn.Linear(64, data.classes))
    return SemiSupervisedGAN(_generator(data), features, head, LATENT_DIM, **_units(data))


def _bi_gan(data: Dataset) -> BiGAN:
    latent = data.features
    generator, encoder = MLP(latent, HIDDEN, data.features), MLP(data.features, HIDDEN, latent)
    critic = MLP(data.features + latent, HIDDEN, 1, activation_name="silu")
    return BiGAN(generator, encoder, critic, latent, **_units(data))


def _info_gan(data: Dataset) -> InfoGAN:
    gan = GAN(
        _generator(data, data.classes),
        _critic(data.features),
        LATENT_DIM,
        data.features,
        classes=data.classes,
        **_units(data),
    )
    return InfoGAN(gan, MLP(data.features, HIDDEN, data.classes, activation_name="silu"))


def _cat_gan(data: Dataset) -> CatGAN:
    """Return a CatGAN over kernel features: what a perceptron learns first is too smooth to part nested classes."""
    classifier = nn.Sequential(FourierFeatures(data.features, 200, 0.2), nn.Linear(400, data.classes))
    return CatGAN(_generator(data), classifier, LATENT_DIM, gradient_penalty=0.4, **_units(data))


def _rim(data: Dataset) -> RIM:
    return RIM(MLP(data.features, (100, 100), data.classes, activation_name="silu"), **_units(data))


def _uncertain(data: Dataset) -> UncertainGAN:
    generator = MLP(LATENT_DIM, HIDDEN, data.features, dropout=0.05)
    critic = MLP(data.features, HIDDEN, 1, activation_name="silu", dropout=0.1)
    return UncertainGAN(GAN(generator, critic, LATENT_DIM, data.features, **_units(data)))


def _gade(data: Dataset) -> GADE:
    units = _units(data)
    flow = real_nvp(data.features, transforms=8, hidden=(64,), **units)
    return GADE(MLP(data.features, HIDDEN, 1, activation_name="silu"), flow, **units)


def two_domains(data: Dataset) -> list[Tensor]:
    """Return two unpaired domains: half of the training part, and the other half turned by 45° about the mean."""
    half = len(data.train) // 2
    return [data.train[:half], turned(data.train[half : 2 * half], data)]


def turned(x: Tensor, data: Dataset) -> Tensor:
    """Return 2-D points turned by 45° about the data's mean: what the translations of `two_domains` should do."""
    cosine, sine = math.cos(TURN), math.sin(TURN)
    turn = torch.tensor([[cosine, sine], [-sine, cosine]], dtype=x.dtype, device=x.device)
    centre = data.train.mean(0)
    return (x - centre) @ turn + centre


def _cycle_gan(data: Dataset) -> CycleGAN:
    D = data.features
    to_b, to_a = (Residual(MLP(D, HIDDEN, D, activation_name="tanh")) for _ in range(2))
    return CycleGAN(to_b, to_a, _critic(D), _critic(D), weight=10.0, identity=1.0)


def shared_latent_gan(data: Dataset) -> SharedLatentGAN:
    """Return a VAE + GAN over two domains of a data set's features.

    Both domains' own layers start equal, so that a translation starts as a reconstruction: of the translations that
    the data allow, which symmetries make many, training then finds one nearby.
    """
    D, width = data.features, 64
    encoder, own_decoder = MLP(D, (), width), MLP(width, (), D)
    shared = nn.Sequential(nn.Tanh(), MLP(width, (width,), 2 * D, activation_name="tanh"))
    decoder = nn.Sequential(MLP(D, (width,), width, activation_name="tanh"), nn.Tanh())
    own = (encoder, copy.deepcopy(encoder), shared, decoder, own_decoder, copy.deepcopy(own_decoder))
    return SharedLatentGAN(*own, _critic(D), _critic(D))


def _dcgan(data: Dataset) -> GAN:
    assert data.image_shape is not None
    half = torch.full_like(data.train[0], 0.5 * (data.levels - 1))
    networks = DCGANGenerator(32, data.image_shape), DCGANCritic(data.image_shape)
    return GAN(*networks, 32, data.features, mean=half, scale=half)


_REAL: tuple[Kind, ...] = ("real",)
_GAME = GameConfig()
_EQUAL = GameConfig(steps=800, batch_size=128, learning_rate=2e-3, critic_learning_rate=2e-3, schedule="cosine")
_LIPSCHITZ = GameConfig(critic_steps=3, critic_learning_rate=5e-3)


def _game(name: str, build: Callable[[Dataset], nn.Module], source: str, **settings: Any) -> Entry:
    """Return the entry of a game over real data."""
    chosen: dict[str, Any] = {"kinds": _REAL, "has": GAN.has, "train": play, "training": _GAME} | settings
    return Entry(name, build, source=source, **chosen)


MODELS: tuple[Entry, ...] = (
    _game("gan-saturating", _gan(objective_name="saturating"), "Goodfellow et al., arXiv 1406.2661, Algorithm 1"),
    _game("gan", _gan(gradient_penalty=0.05), "arXiv 1406.2661; penalty of arXiv 1801.04406"),
    _game("gan-relativistic", _gan(objective_name="relativistic", gradient_penalty=0.05), "arXiv 2501.05441"),
    *(
        _game(f"f-gan-{row}", _gan(objective_name=f"f-{row}", gradient_penalty=0.05), "arXiv 1606.00709")
        for row in (name.removeprefix("f-") for name in OBJECTIVES if name.startswith("f-"))
    ),
    _game("wgan", _gan(_lipschitz, objective_name="ipm"), "arXiv 1701.07875, 1811.05381", training=_LIPSCHITZ),
    _game("dudley-gan", _gan(_dudley, objective_name="ipm"), "Abbasnejad's lecture", training=_LIPSCHITZ),
    _game("conditional-gan", _gan(conditional=True, gradient_penalty=0.05), "arXiv 1411.1784", labelled=True),
    _game("ac-gan", _ac_gan, "arXiv 1610.09585", labelled=True),
    _game("semi-supervised-gan", _semi_supervised, "arXiv 1606.03498", examples=semi_supervised_batches),
    _game("bigan", _bi_gan, "arXiv 1605.09782, 1606.00704", has=BiGAN.has),
    _game("infogan", _info_gan, "arXiv 1606.03657"),
    _game("catgan", _cat_gan, "arXiv 1511.06390; penalty of arXiv 1801.04406", training=_EQUAL),
    Entry(
        "rim",
        _rim,
        _REAL,
        RIM.has,
        "Krause, Perona & Gomes 2010",
        loss=information_loss,
        training=TrainingConfig(steps=1000, batch_size=512, learning_rate=3e-3),
    ),
    _game("uncertain-gan", _uncertain, "Abbasnejad's lecture; arXiv 1506.02142"),
    _game("gade", _gade, "Abbasnejad et al., CVPR 2019"),
    _game("cyclegan", _cycle_gan, "arXiv 1703.10593", examples=two_domains, has=CycleGAN.has),
    _game("vae-gan", shared_latent_gan, "arXiv 1703.00848", examples=two_domains, has=SharedLatentGAN.has),
    _game(
        "dcgan",
        _dcgan,
        "arXiv 1511.06434",
        kinds=("levels", "binary"),
        images=True,
        training=GameConfig(
            steps=2500, batch_size=64, learning_rate=1e-3, critic_learning_rate=1e-3, betas=(0.5, 0.999)
        ),
    ),
)
