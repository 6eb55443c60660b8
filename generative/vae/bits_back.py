"""Bits-back coding: a variational autoencoder as a lossless code whose mean length is the free energy.

A coder takes bits off the stack to choose z ~ q(z | x), puts x on it by p(x | z) and z by p(z); the decoder undoes the
three steps and gets back the bits that chose z. Source: Hinton & van Camp 1993; Townsend et al., arXiv 1901.04866,
whose stack is asymmetric numeral systems (Duda, arXiv 1311.2540).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent

from generative.distributions import DiscretisedLogistics, LevelCategorical
from generative.vae.core import GaussianVAE


class Stack:
    """Asymmetric numeral system over one integer of any size: the last symbol pushed is the first popped.

    Pushing a symbol of frequency f out of 2^precision multiplies the state by 2^precision / f, so it costs
    precision − log2 f bits.

    Args:
        state: the start, a positive integer; bits-back coding needs some random bits in it.
    """

    def __init__(self, state: int = 1) -> None:
        if state < 1:
            raise ValueError(f"state is {state}; it must be at least 1")
        self.state = state

    @property
    def bits(self) -> int:
        """Length of the state."""
        return self.state.bit_length()

    def push(self, symbol: int, cumulative: np.ndarray, precision: int) -> None:
        """Add a symbol; cumulative (symbols + 1,) holds the frequencies' running sum from 0 to 2^precision."""
        low, frequency = int(cumulative[symbol]), int(cumulative[symbol + 1] - cumulative[symbol])
        quotient, rest = divmod(self.state, frequency)
        self.state = (quotient << precision) + low + rest

    def pop(self, cumulative: np.ndarray, precision: int) -> int:
        """Take the last symbol off; the inverse of `push`."""
        slot = self.state & ((1 << precision) - 1)
        symbol = int(np.searchsorted(cumulative, slot, side="right")) - 1
        low, frequency = int(cumulative[symbol]), int(cumulative[symbol + 1] - cumulative[symbol])
        self.state = frequency * (self.state >> precision) + slot - low
        return symbol


def cumulative_frequencies(probabilities: np.ndarray, precision: int) -> np.ndarray:
    """Return the running sum of integer frequencies ≥ 1 that add up to 2^precision; (..., n) -> (..., n + 1)."""
    count = probabilities.shape[-1]
    if count >= 1 << precision:
        raise ValueError(f"precision is {precision} bits; {count} symbols need more")
    share = np.cumsum(probabilities, -1) / probabilities.sum(-1, keepdims=True)
    inner = np.floor(share * ((1 << precision) - count)).astype(np.int64) + np.arange(1, count + 1)
    return np.concatenate([np.zeros_like(inner[..., :1]), inner], -1)


class BitsBackCoder:
    """Lossless coder of discrete data by a Gaussian autoencoder with the prior N(0, I).

    Each latent variable is one of 2^latent_bits intervals of equal prior mass, of which z is the median.

    Args:
        model: an autoencoder in evaluation mode, with a discrete likelihood and no context.
        latent_bits: the finer the intervals, the nearer the rate is to the free energy; 2 to 16.
        precision: frequencies add up to 2^precision.
    """

    def __init__(self, model: GaussianVAE, latent_bits: int = 12, precision: int = 24) -> None:
        if model.training:
            raise ValueError("the model is in training mode; coder and decoder must see the same numbers")
        if not 2 <= latent_bits <= 16:
            raise ValueError(f"latent_bits is {latent_bits}; allowed: 2 to 16")
        self.model, self.latent_bits, self.precision = model, latent_bits, precision
        count = 1 << latent_bits
        self.edges = ndtri(np.arange(count + 1) / count)
        self.medians = ndtri((np.arange(count) + 0.5) / count)

    def encode(self, x: Tensor, stack: Stack) -> None:
        """Push samples x (n, D) one after the other."""
        for row in x:
            q = self._posterior(row)
            bins = [stack.pop(table, self.precision) for table in q]
            tables = self._tables(self._likelihood(bins))
            for value, table in zip(row.long().tolist(), tables, strict=True):
                stack.push(value, table, self.precision)
            for index in bins:
                stack.state = (stack.state << self.latent_bits) + index

    def decode(self, count: int, stack: Stack) -> Tensor:
        """Pop the last `count` samples, (count, D), in the order in which they were pushed."""
        weight = self.model.posterior_head.affine.weight
        rows = []
        for _ in range(count):
            bins = []
            for _ in range(self.model.config.latent_dim):
                bins.append(stack.state & ((1 << self.latent_bits) - 1))
                stack.state >>= self.latent_bits
            bins.reverse()
            tables = self._tables(self._likelihood(bins))
            values = [stack.pop(table, self.precision) for table in reversed(tables)]
            row = torch.tensor(values[::-1], dtype=weight.dtype, device=weight.device)
            for index, table in reversed(list(zip(bins, self._posterior(row), strict=True))):
                stack.push(index, table, self.precision)
            rows.append(row)
        return torch.stack(rows[::-1])

    @torch.no_grad()
    def _posterior(self, row: Tensor) -> np.ndarray:
        q = self.model.posterior(row.unsqueeze(0)).base_dist
        mean, scale = (value[0].double().cpu().numpy()[:, None] for value in (q.loc, q.scale))
        mass = np.diff(ndtr((self.edges - mean) / scale), axis=-1)
        return cumulative_frequencies(mass, self.precision)

    @torch.no_grad()
    def _likelihood(self, bins: list[int]) -> Distribution:
        weight = self.model.posterior_head.affine.weight
        z = torch.as_tensor(self.medians[bins], dtype=weight.dtype, device=weight.device)
        return self.model.decode(z.unsqueeze(0))

    def _tables(self, p: Distribution) -> list[np.ndarray]:
        return list(cumulative_frequencies(_probabilities(p)[0].double().cpu().numpy(), self.precision))


def _probabilities(p: Distribution) -> Tensor:
    """Return the probabilities of each variable's values, (..., D, values)."""
    if isinstance(p, DiscretisedLogistics | LevelCategorical):
        return p.level_log_probs().exp()
    if isinstance(p, Independent) and isinstance(p.base_dist, Bernoulli):
        one = p.base_dist.probs
        return torch.stack([1.0 - one, one], -1)
    raise ValueError(f"bits-back coding needs a discrete likelihood, not {type(p).__name__}")
