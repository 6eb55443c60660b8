"""The actor Q_φa(a | o): a network from a normalised observation to a distribution over actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal
from torch.nn import functional as F

from generative.nn import MLP
from world_models.images import ImageReader
from world_models.likelihood import Part

MAX_JOINT_ACTIONS = 1024
"""Joint actions of a MultiDiscrete space that an actor (and a critic, which has an output for each) takes."""


class SquashedGaussian(Independent):
    """Gaussian squashed by tanh into (-1, 1)^A (Haarnoja et al. 2018, appendix C).

    It has `sample`, `rsample` and `rsample_with_log_prob`, and the `mode` tanh(mean); its entropy has no closed form.
    """

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        super().__init__(Normal(mean, log_scale.exp(), validate_args=False), 1, validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw actions in (-1, 1) through which gradients pass."""
        return torch.tanh(super().rsample(torch.Size(sample_shape)))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw actions in (-1, 1)."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample_with_log_prob(self) -> tuple[Tensor, Tensor]:
        """Draw actions (batch, A) and their log-density (batch,) in nats."""
        raw = super().rsample()
        correction = 2.0 * (np.log(2.0) - raw - F.softplus(-2.0 * raw))  # log(1 - tanh²), stable
        return torch.tanh(raw), super().log_prob(raw) - correction.sum(-1)

    @property
    def mode(self) -> Tensor:
        """The most central action tanh(mean)."""
        return torch.tanh(self.base_dist.mean)


class Actor(nn.Module):
    """Q_φa: normalised observation (..., O) -> distribution over actions.

    A Discrete space gets a categorical distribution; a MultiDiscrete space a product of one categorical for each
    component, which stands as the categorical over the joint actions (the last component varies fastest); a bounded Box
    space a squashed Gaussian over (-1, 1), which `to_environment` stretches to the bounds.

    Args:
        observation_size: O, with whatever conditions the actor appended.
        action_space: Discrete, MultiDiscrete or bounded Box; ValueError for another, or too many joint actions.
        hidden: widths of the hidden layers.
        images: parts of the observation that convolutions read.
    """

    choices: Tensor | None

    def __init__(
        self, observation_size: int, action_space: spaces.Space, hidden: Sequence[int], images: Sequence[Part] = ()
    ) -> None:
        super().__init__()
        self.action_space = action_space
        self.discrete = isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete)
        self.register_buffer("choices", None, persistent=False)
        if isinstance(action_space, spaces.Discrete):
            self.action_size, outputs = int(action_space.n), int(action_space.n)
        elif isinstance(action_space, spaces.MultiDiscrete):
            sizes = action_space.nvec.ravel()
            self.action_size, outputs = math.prod(map(int, sizes)), int(sizes.sum())
            if self.action_size > MAX_JOINT_ACTIONS:
                raise ValueError(
                    f"the action space {action_space!r} has {self.action_size} joint actions; "
                    f"the actor takes up to {MAX_JOINT_ACTIONS}"
                )
            chosen = np.unravel_index(np.arange(self.action_size), sizes)
            rows = [np.eye(size, dtype=np.float32)[column] for size, column in zip(sizes, chosen, strict=True)]
            self.choices = torch.from_numpy(np.concatenate(rows, 1)).T.contiguous()  # (outputs, joint actions), 0 or 1
        elif isinstance(action_space, spaces.Box) and action_space.is_bounded("both"):
            self.action_size = int(np.prod(action_space.shape))
            outputs = 2 * self.action_size
            self.register_buffer("low", torch.as_tensor(action_space.low, dtype=torch.float32).flatten())
            self.register_buffer("high", torch.as_tensor(action_space.high, dtype=torch.float32).flatten())
        else:
            raise ValueError(
                f"no actor for the action space {action_space!r}; "
                "allowed: Discrete, MultiDiscrete, Box with finite bounds"
            )
        self.reader = ImageReader(images, observation_size, hidden[0])
        self.trunk = MLP(self.reader.size, hidden[:-1], hidden[-1])
        self.readout = nn.Linear(hidden[-1], outputs)

    def hidden_and_outputs(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last hidden layer (..., width) and the outputs: logits, or mean and raw log-scale."""
        hidden = torch.relu(self.trunk(self.reader(observation)))
        return hidden, self.readout(hidden)

    def distribution(self, outputs: Tensor) -> Categorical | SquashedGaussian:
        """Turn the network's outputs into the distribution over actions."""
        if self.discrete:
            return Categorical(logits=self.logits(outputs), validate_args=False)
        mean, raw = outputs.chunk(2, dim=-1)
        return SquashedGaussian(mean, -5.0 + 3.5 * (torch.tanh(raw) + 1.0))  # log-scale in (-5, 2)

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits (..., A) of the discrete actions; those of joint actions are the sums of their components'."""
        return outputs if self.choices is None else outputs @ self.choices

    def forward(self, observation: Tensor) -> Categorical | SquashedGaussian:
        """Return Q_φa(a | o)."""
        return self.distribution(self.hidden_and_outputs(observation)[1])

    def draw(self, observation: Tensor) -> Tensor:
        """Draw a ~ Q_φa(a | o) without gradients: indices (batch,), or values in (-1, 1) (batch, A)."""
        return self.draw_from(self.hidden_and_outputs(observation)[1])

    def draw_from(self, outputs: Tensor) -> Tensor:
        """Draw actions without gradients from the network's outputs, as `draw` does."""
        if not self.discrete:
            return self.distribution(outputs).sample()
        logits = self.logits(outputs)
        return (logits - torch.empty_like(logits).exponential_().log_()).argmax(-1)  # Gumbel's trick: fast

    def random_actions(self, batch: int, generator: np.random.Generator) -> Tensor:
        """Draw uniform actions: indices (batch,), or values in (-1, 1) (batch, A)."""
        if self.discrete:
            return torch.from_numpy(generator.integers(self.action_size, size=batch))
        return torch.from_numpy(generator.uniform(-1.0, 1.0, size=(batch, self.action_size)))

    def to_environment(self, actions: Tensor) -> np.ndarray:
        """Turn a batch of the actor's actions into what the environment's `step` takes."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return actions.cpu().numpy() + space.start
        if isinstance(space, spaces.MultiDiscrete):
            columns = np.unravel_index(actions.cpu().numpy(), space.nvec.ravel())
            return np.stack(columns, -1).reshape(-1, *space.shape) + space.start
        low, high = self.get_buffer("low"), self.get_buffer("high")
        stretched = low + 0.5 * (actions.clamp(-1.0, 1.0) + 1.0) * (high - low)
        shape: Any = self.action_space.shape
        return stretched.reshape(-1, *shape).cpu().numpy().astype(self.action_space.dtype)
