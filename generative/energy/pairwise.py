"""Fully visible pairwise models: Boltzmann machines, Ising and Potts grids, Hopfield networks.

p(x) ∝ exp(½ Σ_ij W_ij A[x_i, x_j] + Σ_i b_i[x_i]),  x_i in 0 .. levels − 1,  W symmetric with zero diagonal

The interaction A tells them apart: x x' (Boltzmann), s s' with s = ±1 (Ising, Hopfield), [x = x'] (Potts).
Source: Ackley, Hinton & Sejnowski 1985; Ising 1925; Potts 1952; Hopfield 1982; Mohamed's lecture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from generative.energy.sampling import NegativePhase, Negatives, all_states
from generative.protocol import Given


class Pairwise(nn.Module):
    """A pairwise model over a graph; use `boltzmann`, `ising`, `potts` or `hopfield`.

    `log_prob` sums over all states and is there only where there are at most 2^20.

    Args:
        adjacency: symmetric 0/1 matrix (n, n) of the pairs that interact; its diagonal is ignored.
        interaction: A (levels, levels), symmetric.
        coupling: start of W: one number shared by all pairs (), or a matrix (n, n).
        bias: start of b: one for all units (levels,), or (n, levels).
        negatives: how the negative phase is sampled.
        sample_sweeps: Gibbs sweeps from random states behind each call of `sample`.
    """

    adjacency: Tensor
    interaction: Tensor

    def __init__(
        self,
        adjacency: Tensor,
        interaction: Tensor,
        coupling: Tensor,
        bias: Tensor,
        negatives: Negatives | None = None,
        *,
        sample_sweeps: int = 200,
    ) -> None:
        super().__init__()
        n = len(adjacency)
        self.levels = len(interaction)
        self.register_buffer("adjacency", (adjacency * (1.0 - torch.eye(n))).float())
        self.register_buffer("interaction", interaction.float())
        self.coupling = nn.Parameter(coupling.clone().float())
        self.bias = nn.Parameter(bias.clone().float())
        self.phase = NegativePhase(negatives or Negatives(), n, self.levels)
        self.sample_sweeps = sample_sweeps

    @property
    def has(self) -> frozenset[str]:
        """Names of what it honestly has: `log_prob` only where Z can be summed."""
        exact = {"log_prob"} if self.levels ** len(self.adjacency) <= 2**20 else set()
        return frozenset({"sample", *exact})

    @property
    def weight(self) -> Tensor:
        """W (n, n), symmetric, zero outside the graph."""
        free = 0.5 * (self.coupling + self.coupling.T) if self.coupling.dim() else self.coupling
        return self.adjacency * free

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x); the model takes no context."""
        if context is not None:
            raise ValueError("a pairwise model takes no context")
        return Given(self)

    def logits(self, x: Tensor) -> Tensor:
        """Return log p(x_i = value given the others), not normalised, (..., n) -> (..., n, levels)."""
        return self.weight @ self.interaction[x.long()] + self.bias

    def energy(self, x: Tensor) -> Tensor:
        """Return E(x) in nats, (..., n) -> (...)."""
        index = x.long().unsqueeze(-1)
        pairs = (self.weight @ self.interaction[x.long()]).gather(-1, index)
        single = self.bias.expand(*x.shape, self.levels).gather(-1, index)
        return -(0.5 * pairs + single).sum((-1, -2))

    def joint_energy(self, state: Tensor) -> Tensor:
        """Return E(x): there are no hidden units."""
        return self.energy(state)

    def sweep(self, state: Tensor, inverse_temperature: Tensor | float = 1.0) -> Tensor:
        """Draw each unit in turn from its conditional under exp(−β E)."""
        state, weight = state.clone(), self.weight
        bias = self.bias.expand(state.shape[-1], self.levels)
        for i in range(state.shape[-1]):
            logits = torch.tensordot(self.interaction[state.long()], weight[i], ([-2], [0])) + bias[i]
            gumbel = -torch.empty_like(logits).exponential_().log()
            state[..., i] = (inverse_temperature * logits + gumbel).argmax(-1).to(state.dtype)
        return state

    def start(self, x: Tensor) -> Tensor:
        """Return x itself: there are no hidden units."""
        return x

    def visible(self, state: Tensor) -> Tensor:
        """Return the state itself: every unit is visible."""
        return state

    def log_partition(self) -> Tensor:
        """Return log Z in nats by summing over all states; ValueError above 2^20 of them."""
        states = all_states(len(self.adjacency), self.levels, self.bias.device)
        return torch.logsumexp(torch.cat([-self.energy(part) for part in states.split(65_536)]), 0)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the exact log p(x) in nats, (..., n) -> (...)."""
        return -self.energy(x) - self.log_partition()

    def pseudo_log_likelihood(self, x: Tensor) -> Tensor:
        """Return Σ_i log p(x_i given the others) in nats, (..., n) -> (...)."""
        return torch.log_softmax(self.logits(x), -1).gather(-1, x.long().unsqueeze(-1)).sum((-1, -2))

    def recall(self, x: Tensor, sweeps: int = 20) -> Tensor:
        """Set each unit in turn to its most probable value until nothing moves: a local minimum of E, (..., n)."""
        with torch.no_grad():
            for _ in range(sweeps):
                before = x.clone()
                x = self._descend(x)
                if torch.equal(x, before):
                    break
        return x

    def _descend(self, x: Tensor) -> Tensor:
        """One pass of `recall`; a unit with no preference keeps its value."""
        x, weight = x.clone(), self.weight
        bias = self.bias.expand(x.shape[-1], self.levels)
        for i in range(x.shape[-1]):
            logits = torch.tensordot(self.interaction[x.long()], weight[i], ([-2], [0])) + bias[i]
            now = logits.gather(-1, x[..., i, None].long()).squeeze(-1)
            best = logits.max(-1)
            x[..., i] = torch.where(best.values > now, best.indices.to(x.dtype), x[..., i])
        return x

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, n) after `sample_sweeps` Gibbs sweeps from random states (approximate)."""
        state = torch.randint(self.levels, (*sample_shape, len(self.adjacency)), device=self.bias.device)
        state = state.to(self.bias.dtype)
        for _ in range(self.sample_sweeps):
            state = self.sweep(state)
        return state


SPINS = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


def grid(height: int, width: int, *, periodic: bool = False) -> Tensor:
    """Return the adjacency (height width, height width) of nearest neighbours; a ring where the height is 1.

    A periodic side of length 2 counts its pair twice, as the torus does.
    """
    index = torch.arange(height * width).reshape(height, width)
    adjacency = torch.zeros(height * width, height * width)
    for dim in (0, 1):
        if index.shape[dim] == 1:
            continue
        a, b = index, index.roll(-1, dim)
        if not periodic:
            a, b = (part.narrow(dim, 0, index.shape[dim] - 1) for part in (a, b))
        adjacency[a.flatten(), b.flatten()] += 1.0
        adjacency[b.flatten(), a.flatten()] += 1.0
    return adjacency


def boltzmann(units: int, negatives: Negatives | None = None) -> Pairwise:
    """Return a fully visible Boltzmann machine: E = −½ xᵀ W x − bᵀ x over binary x, every pair free."""
    interaction = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    shape = (units, units)
    return Pairwise(torch.ones(shape), interaction, torch.zeros(shape), torch.zeros(units, 2), negatives)


def ising(adjacency: Tensor, coupling: float = 0.0, field: float = 0.0, negatives: Negatives | None = None) -> Pairwise:
    """Return an Ising model: E = −J Σ_pairs s_i s_j − h Σ s_i with spins s = 2 x − 1, one J and one h for all."""
    bias = torch.tensor([-field, field])
    return Pairwise(adjacency, SPINS, torch.tensor(coupling), bias, negatives)


def potts(adjacency: Tensor, levels: int, coupling: float = 0.0, negatives: Negatives | None = None) -> Pairwise:
    """Return a Potts model: E = −J Σ_pairs [x_i = x_j], one J for all."""
    return Pairwise(adjacency, torch.eye(levels), torch.tensor(coupling), torch.zeros(levels), negatives)


def hopfield(patterns: Tensor) -> Pairwise:
    """Return a Hopfield network that stores binary patterns (count, n) by Hebb's rule, W = (1/n) Σ s sᵀ.

    `recall` finds a stored pattern from a damaged one while there are fewer than about 0.138 n random patterns.
    """
    spins = 2.0 * patterns - 1.0
    n = patterns.shape[-1]
    return Pairwise(torch.ones(n, n), SPINS, spins.T @ spins / n, torch.zeros(2))
