"""Markov chains of energy-based models and the negative phase of their gradient: CD-k, PCD, parallel tempering.

∇ −log p(x) = ∇F(x) − E_p[∇F]: the expectation is taken over samples that a chain leaves behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

NegativeKind = Literal["cd", "pcd", "tempering"]


class EnergyModel(Protocol):
    """What a chain needs of p(s) ∝ exp(−E(s)), s = (x, hidden units)."""

    def energy(self, x: Tensor) -> Tensor:
        """Free energy F(x) = −log Σ_h exp(−E(x, h)), (..., D) -> (...)."""

    def joint_energy(self, state: Tensor) -> Tensor:
        """E(s), (..., units) -> (...)."""

    def sweep(self, state: Tensor, inverse_temperature: Tensor | float = 1.0) -> Tensor:
        """Draw every unit once from its conditional under exp(−β E); β broadcasts against (..., 1)."""

    def start(self, x: Tensor) -> Tensor:
        """A state whose visible part is x, (..., D) -> (..., units)."""

    def visible(self, state: Tensor) -> Tensor:
        """The visible part of a state, (..., units) -> (..., D)."""


@dataclass(frozen=True)
class Negatives:
    """How the negative phase is sampled."""

    kind: NegativeKind = "pcd"
    """Chains from the data (contrastive divergence), chains that go on between the steps (persistent), or these at
    several temperatures with exchanges (parallel tempering)."""
    sweeps: int = 1
    """k: sweeps between two gradient steps."""
    chains: int = 100
    """Number of persistent chains."""
    temperatures: int = 8
    """Levels of tempering: inverse temperatures from 1 down to `hottest`, evenly spaced."""
    hottest: float = 0.0
    """Inverse temperature of the hottest level; at 0 its states are independent of the energy."""

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        for name in ("sweeps", "chains", "temperatures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.kind not in ("cd", "pcd", "tempering"):
            raise ValueError(f"kind is {self.kind!r}; it must be cd, pcd or tempering")

    def inverse_temperatures(self, like: Tensor) -> Tensor:
        """Return the levels (levels,), from 1 downwards; one level where there is no tempering."""
        levels = self.temperatures if self.kind == "tempering" else 1
        return torch.linspace(1.0, self.hottest, levels, dtype=like.dtype, device=like.device)


@torch.no_grad()
def exchange(states: Tensor, energies: Tensor, inverse_temperatures: Tensor) -> Tensor:
    """Propose swaps of neighbouring temperatures, even pairs then odd ones; return the states after them.

    A swap of levels i and j is accepted with probability min(1, exp((β_i − β_j) (E_i − E_j))), which leaves the
    product of all levels' distributions as it is (Swendsen & Wang 1986; Desjardins et al. 2010).

    Args:
        states: (levels, chains, units).
        energies: E of the states (levels, chains).
        inverse_temperatures: β (levels,).
    """
    states, energies = states.clone(), energies.clone()
    for first in (0, 1):
        upper = torch.arange(first, len(states) - 1, 2)
        lower = upper + 1
        gap = (inverse_temperatures[upper] - inverse_temperatures[lower]).unsqueeze(-1)
        accepted = torch.rand_like(energies[upper]).log() < gap * (energies[upper] - energies[lower])
        for values in (states, energies):
            swapped = accepted.reshape(accepted.shape + (1,) * (values.dim() - 2))
            a, b = values[upper], values[lower]
            values[upper], values[lower] = torch.where(swapped, b, a), torch.where(swapped, a, b)
    return states


class NegativePhase(nn.Module):
    """The chains of a training; their states are buffers, so that they travel and are saved with the model.

    Args:
        config: how to sample.
        units: number of units of a state.
        levels: number of values of one unit.
    """

    chains: Tensor

    def __init__(self, config: Negatives, units: int, levels: int = 2) -> None:
        super().__init__()
        self.config = config
        count = config.temperatures if config.kind == "tempering" else 1
        self.register_buffer("chains", torch.randint(levels, (count, config.chains, units)).float())

    @torch.no_grad()
    def draw(self, model: EnergyModel, x: Tensor) -> Tensor:
        """Return visible samples (chains, D), or (batch, D) under CD; persistent chains move in training mode only."""
        if self.config.kind == "cd":
            state = model.start(x)
            for _ in range(self.config.sweeps):
                state = model.sweep(state)
            return model.visible(state)
        states, beta = self.chains, self.config.inverse_temperatures(x)
        for _ in range(self.config.sweeps):
            states = model.sweep(states, beta.reshape(-1, 1, 1))
            if len(beta) > 1:
                states = exchange(states, model.joint_energy(states), beta)
        if self.training:
            self.chains.copy_(states)
        return model.visible(states[0])


def contrastive_loss(model: nn.Module, x: Tensor) -> Tensor:
    """F(x) − F(negative samples), averaged: the gradient of −log p(x) up to the chains' error; its value is no −log p.

    Source: Hinton 2002 (CD); Tieleman 2008 (PCD); Desjardins et al. 2010 (tempering).

    Args:
        model: an `EnergyModel` with a `NegativePhase` called `phase`.
        x: data (batch, D).
    """
    negative = model.phase.draw(model, x)  # type: ignore[operator, union-attr]
    return model.energy(x).mean() - model.energy(negative).mean()  # type: ignore[operator]


def pseudo_likelihood_loss(model: nn.Module, x: Tensor) -> Tensor:
    """−Σ_i log p(x_i given the others), averaged over the batch, in nats (Besag 1975): no Z is needed; scalar."""
    return -model.pseudo_log_likelihood(x).mean()  # type: ignore[operator]


def all_states(units: int, levels: int = 2, device: torch.device | None = None) -> Tensor:
    """Return every state (levels^units, units) as floats; ValueError above 2^20 of them."""
    if levels**units > 2**20:
        raise ValueError(f"{levels}^{units} states are more than 2^20, the most that are summed one by one")
    index = torch.arange(levels**units, device=device).unsqueeze(-1)
    powers = levels ** torch.arange(units, device=device)
    return (index // powers % levels).float()
