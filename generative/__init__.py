"""Generative models: the parts that world models are built from, each proved right against an oracle.

Every public name is importable from here; its module is loaded when the name is first used, so that `import generative`
costs nothing and leaves torch's global state as it was.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS: dict[str, tuple[str, ...]] = {
    "generative.autoencoder": ("Autoencoder", "AutoencoderConfig", "reconstruction_loss"),
    "generative.adversarial": (
        "ACGAN",
        "GADE",
        "GAN",
        "RIM",
        "BiGAN",
        "CatGAN",
        "CycleGAN",
        "GameConfig",
        "InfoGAN",
        "SemiSupervisedGAN",
        "SharedLatentGAN",
        "SideBySide",
        "UncertainGAN",
        "mode_report",
        "play",
    ),
    "generative.autoregressive": (
        "Autoregressive",
        "BinaryConditional",
        "DeepNADE",
        "LevelConditional",
        "MixtureConditional",
        "made",
        "n_ar",
        "nade",
        "pixel_cnn",
        "pixel_rnn",
        "rnade",
        "rnn",
    ),
    "generative.critics": ("BoundedLipschitz", "LipschitzConv", "lipschitz_network", "wasserstein_1d"),
    "generative.data": ("Dataset", "dequantise", "load"),
    "generative.demo": ("list_models", "train_demo"),
    "generative.diffusion": ("DDPM", "FlowMatching"),
    "generative.distributions": ("Head", "bernoulli", "categorical", "gaussian", "standard_normal"),
    "generative.divergences": ("energy_distance", "entropy", "kl"),
    "generative.energy": (
        "RBM",
        "GaussianMRF",
        "Negatives",
        "NoiseContrastive",
        "Pairwise",
        "boltzmann",
        "hopfield",
        "ising",
        "potts",
    ),
    "generative.estimators": (
        "AmortisedMessage",
        "LearnedBaseline",
        "RunningBaseline",
        "StructuralModel",
        "backdoor_mean",
        "backdoor_stratified",
        "darn",
        "distil",
        "expectation_propagation",
        "importance_evidence",
        "leave_one_out",
        "pathwise",
        "score_function",
    ),
    "generative.f_divergences": ("FDivergence", "alpha_divergence", "f_divergence", "weighted_jensen_shannon"),
    "generative.flows": (
        "Dequantised",
        "Flow",
        "cnf",
        "iaf",
        "maf",
        "nice",
        "nsf",
        "planar",
        "radial",
        "real_nvp",
    ),
    "generative.mixtures": ("BinaryFactors", "FactorAnalysis", "Mixture", "bernoulli_mixture", "gaussian_mixture"),
    "generative.nn": ("MLP", "ConvDecoder", "ConvEncoder"),
    "generative.objectives": (
        "Terms",
        "active_units",
        "description_length",
        "free_energy",
        "importance_weighted_bound",
        "log_evidence",
        "log_weights",
        "memoryless_posterior",
        "renyi_bound",
        "variational_em",
    ),
    "generative.protocol": ("Given",),
    "generative.registry": ("Entry", "build", "entries", "entry"),
    "generative.state_space": ("HelmholtzMachine", "HiddenMarkovModel", "LinearDynamicalSystem", "wake_sleep_loss"),
    "generative.training": ("History", "TrainingConfig", "evaluate", "fit", "seeded"),
    "generative.two_sample": ("classifier_test", "energy_test", "logistic_ratio", "mmd_test"),
    "generative.vae": (
        "UNLABELLED",
        "AutoregressiveLikelihood",
        "BetaLoss",
        "BitsBackCoder",
        "DARN",
        "DARNConfig",
        "DRAW",
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
        "M1",
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
        "mixed_batches",
        "semi_supervised_loss",
        "volumetric_vae",
    ),
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load the module that holds a public name (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'generative' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*globals(), *__all__]
