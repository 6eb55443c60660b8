"""The experience memory M: segments of consecutive decisions of parallel environments, sampled as rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """T consecutive decisions of N parallel environments.

    Attributes:
        observations: flattened õ_t .. õ_{t+T}, (T + 1, N, O).
        actions: the actor's actions, (T, N, A); A is 1 for discrete actions.
        outcomes: what each decision brought (rewards, lost parts, ...), (T, N, C).
        terminated: whether the episode ended in a terminal state, (T, N).
        truncated: whether it was cut off instead, (T, N); what follows belongs to another episode.
        codes: π̂ at each row that can be a start, (1 or T, N, P).
    """

    observations: np.ndarray
    actions: np.ndarray
    outcomes: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    codes: np.ndarray


@dataclass(frozen=True)
class Rows:
    """A minibatch (õ_t, a_t, π̂_t, y, õ_{t+h}) of B rows.

    Attributes:
        observation: õ_t, flattened (B, O).
        action: (B, A).
        code: π̂_t (B, P).
        outcomes: Σ_k γ^k y_{t+k} over the h decisions, up to a terminal state, (B, C).
        next_observation: õ_{t+h}, (B, O).
        discount: γ^h, or 0 behind a terminal state, (B,).
        valid: 0 where the row crosses a truncation, else 1, (B,).
        horizon: h (B,), whole numbers.
    """

    observation: Tensor
    action: Tensor
    code: Tensor
    outcomes: Tensor
    next_observation: Tensor
    discount: Tensor
    valid: Tensor
    horizon: Tensor

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device."""
        return Rows(*(tensor.to(device) for tensor in vars(self).values()))


class Memory:
    """A ring of the latest segments.

    Args:
        capacity: number of segments kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._arrays: dict[str, np.ndarray] = {}
        self._size = 0
        self._next = 0

    def __len__(self) -> int:
        """Number of segments held."""
        return self._size

    def add(self, segment: Segment) -> None:
        """Store a segment; the oldest one goes when the memory is full."""
        fields = vars(segment)
        if not self._arrays:
            self._arrays = {k: np.zeros((self.capacity, *v.shape), dtype=v.dtype) for k, v in fields.items()}
        for name, values in fields.items():
            self._arrays[name][self._next] = values
        self._next = (self._next + 1) % self.capacity
        self._size = min(self._size + 1, self.capacity)

    def observations(self, batch: int, generator: np.random.Generator) -> Tensor:
        """Draw flattened observations (batch, O), uniformly over all that are stored."""
        stored = self._arrays["observations"]
        k, t, n = (generator.integers(high, size=batch) for high in (self._size, stored.shape[1], stored.shape[2]))
        return torch.from_numpy(stored[k, t, n])

    def rows(self, batch: int, generator: np.random.Generator, *, shortest: int, longest: int, discount: float) -> Rows:
        """Draw rows: any pair (t, t + h) inside a segment, with h in shortest..longest, uniformly."""
        length, envs = self._arrays["actions"].shape[1:3]
        k, n = generator.integers(self._size, size=batch), generator.integers(envs, size=batch)
        h = generator.integers(shortest, longest + 1, size=batch)
        t = generator.integers(length - h + 1)
        steps = np.minimum(t[:, None] + np.arange(longest), length - 1)
        inside = np.arange(longest) < h[:, None]
        index = (k[:, None], steps, n[:, None])
        terminal = self._arrays["terminated"][index] & inside
        alive = inside & (np.cumsum(terminal, 1) - terminal == 0)
        cut = (self._arrays["truncated"][index] & alive).any(1)
        weights = (alive * discount ** np.arange(longest)).astype(np.float32)
        codes = self._arrays["codes"]
        arrays = (
            self._arrays["observations"][k, t, n],
            self._arrays["actions"][k, t, n],
            codes[k, np.minimum(t, codes.shape[1] - 1), n],
            (self._arrays["outcomes"][index] * weights[..., None]).sum(1),
            self._arrays["observations"][k, t + h, n],
            np.where(terminal.any(1), 0.0, discount**h).astype(np.float32),
            (~cut).astype(np.float32),
            h,
        )
        return Rows(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))

    def state(self) -> dict[str, np.ndarray]:
        """Return the stored arrays and the ring's position."""
        return {name: array[: self._size] for name, array in self._arrays.items()} | {
            "position": np.array([self._next, self._size])
        }

    def load_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        self._next, self._size = (int(value) for value in arrays["position"])
        for name, array in arrays.items():
            if name != "position":
                stored = np.zeros((self.capacity, *array.shape[1:]), dtype=array.dtype)
                stored[: self._size] = array
                self._arrays[name] = stored
