"""Restricted Boltzmann machine: E(v, h) = −vᵀ W h − aᵀ v − bᵀ h over binary v and h.

Source: Smolensky 1986; Hinton 2002; Mohamed's lecture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.energy.sampling import NegativePhase, Negatives, all_states
from generative.protocol import Given

EXACT_UNITS = 20


class RBM(nn.Module):
    """Binary RBM with F(v) = −aᵀ v − Σ_j softplus(b_j + v W_j); train it by `contrastive_loss`.

    `log_prob` sums over all states of the smaller side, so it is there only where that side has at most 20 units.

    Args:
        visible: number of visible units D.
        hidden: number of hidden units.
        negatives: how the negative phase is sampled.
        sample_sweeps: Gibbs sweeps from random states behind each call of `sample`.
    """

    def __init__(
        self, visible: int, hidden: int, negatives: Negatives | None = None, *, sample_sweeps: int = 500
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(visible, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.phase = NegativePhase(negatives or Negatives(), visible + hidden)
        self.sample_sweeps = sample_sweeps

    @property
    def has(self) -> frozenset[str]:
        """Names of what it honestly has: `log_prob` only where Z can be summed."""
        exact = {"log_prob"} if min(self.weight.shape) <= EXACT_UNITS else set()
        return frozenset({"sample", "reconstruct", *exact})

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(v); the model takes no context."""
        if context is not None:
            raise ValueError("an RBM takes no context")
        return Given(self)

    def features(self, x: Tensor) -> Tensor:
        """Return P(h_j = 1 given v), (..., D) -> (..., hidden): what a classifier is built on."""
        return torch.sigmoid(self.hidden_bias + x @ self.weight)

    def energy(self, x: Tensor) -> Tensor:
        """Return the free energy F(v) in nats, (..., D) -> (...)."""
        return -x @ self.visible_bias - F.softplus(self.hidden_bias + x @ self.weight).sum(-1)

    def joint_energy(self, state: Tensor) -> Tensor:
        """Return E(v, h), (..., D + hidden) -> (...)."""
        v, h = state.split(list(self.weight.shape), -1)
        return -((v @ self.weight) * h).sum(-1) - v @ self.visible_bias - h @ self.hidden_bias

    def sweep(self, state: Tensor, inverse_temperature: Tensor | float = 1.0) -> Tensor:
        """Draw h given v, then v given h, under exp(−β E)."""
        v, _ = state.split(list(self.weight.shape), -1)
        h = torch.bernoulli(torch.sigmoid(inverse_temperature * (self.hidden_bias + v @ self.weight)))
        v = torch.bernoulli(torch.sigmoid(inverse_temperature * (self.visible_bias + h @ self.weight.T)))
        return torch.cat([v, h], -1)

    def start(self, x: Tensor) -> Tensor:
        """Return a state (..., D + hidden) whose visible part is x; the first sweep draws its hidden part."""
        return torch.cat([x, x.new_zeros(*x.shape[:-1], self.weight.shape[1])], -1)

    def visible(self, state: Tensor) -> Tensor:
        """Return the visible part (..., D) of a state."""
        return state[..., : self.weight.shape[0]]

    def log_partition(self) -> Tensor:
        """Return log Z in nats, exactly, by summing over the states of the smaller side; ValueError above 20 units."""
        D, H = self.weight.shape
        if D <= H:
            return torch.logsumexp(-self.energy(all_states(D).to(self.weight)), 0)
        h = all_states(H).to(self.weight)
        log_terms = h @ self.hidden_bias + F.softplus(self.visible_bias + h @ self.weight.T).sum(-1)
        return torch.logsumexp(log_terms, 0)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the exact log p(v) in nats, (..., D) -> (...)."""
        return -self.energy(x) - self.log_partition()

    def pseudo_log_likelihood(self, x: Tensor) -> Tensor:
        """Return Σ_i log p(v_i given the others) in nats, (..., D) -> (...): log σ(F(v with i flipped) − F(v))."""
        flips = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        other = (x.unsqueeze(-2) - flips).abs()
        return F.logsigmoid(self.energy(other) - self.energy(x).unsqueeze(-1)).sum(-1)

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return E[v' given h = E[h given v]] in [0, 1], (..., D) -> (..., D)."""
        return torch.sigmoid(self.visible_bias + self.features(x) @ self.weight.T)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, D) after `sample_sweeps` Gibbs sweeps from fair coins (approximate)."""
        state = torch.bernoulli(torch.full((*sample_shape, sum(self.weight.shape)), 0.5).to(self.weight))
        for _ in range(self.sample_sweeps):
            state = self.sweep(state)
        return self.visible(state)
