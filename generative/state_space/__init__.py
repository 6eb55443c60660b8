"""Models with hidden states or layers: hidden Markov model, linear dynamical system, Helmholtz machine."""

from __future__ import annotations

from generative.registry import Entry
from generative.state_space.hmm import HiddenMarkovModel, Smoothed
from generative.state_space.lds import Filtered, LinearDynamicalSystem, SmoothedStates
from generative.state_space.wake_sleep import HelmholtzMachine, wake_sleep_loss
from generative.training import TrainingConfig

__all__ = [
    "MODELS",
    "Filtered",
    "HelmholtzMachine",
    "HiddenMarkovModel",
    "LinearDynamicalSystem",
    "Smoothed",
    "SmoothedStates",
    "wake_sleep_loss",
]

MODELS: tuple[Entry, ...] = (
    Entry(
        "wake-sleep",
        lambda data: HelmholtzMachine(data.features, (32, 16)),
        ("binary",),
        HelmholtzMachine.has,
        "Hinton et al. 1995",
        loss=wake_sleep_loss,
        training=TrainingConfig(steps=3000, learning_rate=3e-3),
    ),
)
