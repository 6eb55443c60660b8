"""Random numbers that belong to one agent: torch draws from its stream, and the global state stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


class OwnedRandomness:
    """A torch stream and a numpy stream from one seed.

    `torch.distributions` and dropout take no generator argument; `active()` lends them this object's stream by
    exchanging torch's global state, and puts the caller's state back.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.numpy = np.random.default_rng(np.random.SeedSequence(seed))
        self._cpu = torch.Generator().manual_seed(seed).get_state()
        self._cuda = torch.Generator(device).manual_seed(seed).get_state() if device.type == "cuda" else None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within the context torch draws from this stream; outside, from the caller's."""
        cpu, cuda = torch.get_rng_state(), None
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            cuda = torch.cuda.get_rng_state(self.device)
            torch.cuda.set_rng_state(self._cuda, self.device)
        try:
            yield
        finally:
            self._cpu = torch.get_rng_state()
            torch.set_rng_state(cpu)
            if cuda is not None:
                self._cuda = torch.cuda.get_rng_state(self.device)
                torch.cuda.set_rng_state(cuda, self.device)

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Return torch's states as tensors and numpy's as a JSON-able mapping."""
        tensors = {"cpu": self._cpu} | ({"cuda": self._cuda} if self._cuda is not None else {})
        return tensors, dict(self.numpy.bit_generator.state)

    def load_state(self, tensors: dict[str, Tensor], numpy_state: dict) -> None:
        """Continue both streams from a state that `state` returned."""
        self._cpu = tensors["cpu"]
        if self._cuda is not None and "cuda" in tensors:
            self._cuda = tensors["cuda"]
        self.numpy.bit_generator.state = numpy_state
