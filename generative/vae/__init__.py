"""Variational autoencoders: Gaussian (conditional, β, importance-weighted), with a flow posterior, binary (DARN)."""

from __future__ import annotations

from generative.data import Dataset
from generative.registry import Entry
from generative.vae.binary import DARN, AutoregressiveBernoulli, DARNConfig
from generative.vae.core import BetaLoss, GaussianVAE, VAEConfig, decoder_width, linear_vae_log_likelihood
from generative.vae.flow_posterior import FlowPosteriorConfig, FlowPosteriorVAE
from generative.vae.likelihood import Likelihood, likelihood_for

__all__ = [
    "DARN",
    "MODELS",
    "AutoregressiveBernoulli",
    "BetaLoss",
    "DARNConfig",
    "FlowPosteriorConfig",
    "FlowPosteriorVAE",
    "GaussianVAE",
    "Likelihood",
    "VAEConfig",
    "decoder_width",
    "likelihood_for",
    "linear_vae_log_likelihood",
]


def _vae(data: Dataset) -> GaussianVAE:
    config = VAEConfig()
    return GaussianVAE(likelihood_for(data, decoder_width(config)), config)


def _flow_vae(data: Dataset) -> FlowPosteriorVAE:
    config = VAEConfig()
    return FlowPosteriorVAE(likelihood_for(data, decoder_width(config)), config, FlowPosteriorConfig())


MODELS: tuple[Entry, ...] = (
    Entry("vae", _vae, ("real", "levels", "binary"), GaussianVAE.has, "Kingma & Welling, arXiv 1312.6114"),
    Entry("flow-vae", _flow_vae, ("real", "levels", "binary"), FlowPosteriorVAE.has, "Kingma et al., arXiv 1606.04934"),
    Entry(
        "darn", lambda data: DARN(data.features, DARNConfig()), ("binary",), DARN.has, "Gregor et al., arXiv 1310.8499"
    ),
)
