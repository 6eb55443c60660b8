"""Hidden Markov model with categorical or Gaussian emissions, fitted by Baum-Welch.

    p(x_1..T) = Σ_s p(s_1) p(x_1 | s_1) ∏_t p(s_t | s_{t−1}) p(x_t | s_t)

Source: Rabiner 1989. All recursions are in log space; time is the second to last dimension of observations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.mixtures.em import EMConfig, run_em
from generative.names import unknown
from generative.protocol import Given

Emission = Literal["categorical", "gaussian"]


@dataclass(frozen=True)
class Smoothed:
    """What the forward-backward algorithm says of sequences (batch, T, ...)."""

    log_likelihood: Tensor
    """log p(x_1..T), (batch,)."""
    states: Tensor
    """p(s_t | x_1..T), (batch, T, K)."""
    pairs: Tensor
    """Σ_t p(s_t, s_{t+1} | x_1..T), (batch, K, K)."""


class HiddenMarkovModel(nn.Module):
    """Hidden Markov model.

    Args:
        states: K, the number of hidden states.
        features: number of symbols (categorical; a sample is one-hot (T, features)) or of dimensions (gaussian).
        emission: "categorical" or "gaussian" (diagonal).
        seed: of the random starting parameters.
    """

    has = frozenset({"log_prob", "sample"})

    def __init__(self, states: int, features: int, emission: Emission = "categorical", seed: int = 0) -> None:
        super().__init__()
        if emission not in get_args(Emission):
            raise ValueError(unknown("emission", emission, get_args(Emission)))
        generator = torch.Generator().manual_seed(seed)
        self.states, self.features, self.emission = states, features, emission
        self.initial_logits = nn.Parameter(0.1 * torch.randn(states, generator=generator))
        self.transition_logits = nn.Parameter(
            torch.eye(states) + 0.1 * torch.randn(states, states, generator=generator)
        )
        self.emission_parameters = nn.Parameter(torch.randn(states, features, generator=generator))
        self.log_scale = nn.Parameter(torch.zeros(states, features)) if emission == "gaussian" else None

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x_1..T); the model takes no context."""
        if context is not None:
            raise ValueError("the hidden Markov model takes no context")
        return Given(self)

    def emission_log_probs(self, x: Tensor) -> Tensor:
        """Return log p(x_t | s_t), (..., T, features) -> (..., T, K)."""
        if self.log_scale is None:
            return x @ torch.log_softmax(self.emission_parameters, -1).T
        deviation = (x.unsqueeze(-2) - self.emission_parameters) * torch.exp(-self.log_scale)
        return -(0.5 * deviation.square() + self.log_scale + 0.5 * math.log(2.0 * math.pi)).sum(-1)

    def _forward(self, x: Tensor) -> Tensor:
        """Return log p(s_t, x_1..t), (..., T, K)."""
        emitted = self.emission_log_probs(x)
        transition = torch.log_softmax(self.transition_logits, -1)
        alpha = [torch.log_softmax(self.initial_logits, -1) + emitted[..., 0, :]]
        for t in range(1, x.shape[-2]):
            alpha.append(torch.logsumexp(alpha[-1].unsqueeze(-1) + transition, -2) + emitted[..., t, :])
        return torch.stack(alpha, -2)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x_1..T) in nats by the forward algorithm, (..., T, features) -> (...)."""
        return torch.logsumexp(self._forward(x)[..., -1, :], -1)

    def smooth(self, x: Tensor) -> Smoothed:
        """Run forward-backward on x (batch, T, features)."""
        alpha, emitted = self._forward(x), self.emission_log_probs(x)
        transition = torch.log_softmax(self.transition_logits, -1)
        beta = [torch.zeros_like(alpha[:, 0])]
        for t in range(x.shape[1] - 1, 0, -1):
            beta.append(torch.logsumexp(transition + (emitted[:, t] + beta[-1]).unsqueeze(-2), -1))
        backward = torch.stack(beta[::-1], 1)
        total = torch.logsumexp(alpha[:, -1], -1)
        ahead = (emitted + backward)[:, 1:].unsqueeze(-2)
        pairs = (alpha[:, :-1].unsqueeze(-1) + transition + ahead - total.reshape(-1, 1, 1, 1)).exp().sum(1)
        return Smoothed(total, torch.softmax(alpha + backward, -1), pairs)

    def viterbi(self, x: Tensor) -> Tensor:
        """Return the most probable states (batch, T) of x (batch, T, features)."""
        emitted = self.emission_log_probs(x)
        transition = torch.log_softmax(self.transition_logits, -1)
        score, back = torch.log_softmax(self.initial_logits, -1) + emitted[:, 0], []
        for t in range(1, x.shape[1]):
            best, previous = (score.unsqueeze(-1) + transition).max(-2)
            back.append(previous)
            score = best + emitted[:, t]
        path = [score.argmax(-1)]
        for previous in reversed(back):
            path.append(previous.gather(-1, path[-1].unsqueeze(-1)).squeeze(-1))
        return torch.stack(path[::-1], -1)

    @torch.no_grad()
    def sample(
        self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None, length: int = 50
    ) -> Tensor:
        """Return sequences (*sample_shape, length, features)."""
        count = max(torch.Size(sample_shape).numel(), 1)
        transition = torch.softmax(self.transition_logits, -1)
        state = torch.multinomial(torch.softmax(self.initial_logits, -1), count, replacement=True)
        steps = []
        for _ in range(length):
            parameters = self.emission_parameters[state]
            if self.log_scale is None:
                symbol = torch.multinomial(torch.softmax(parameters, -1), 1).squeeze(-1)
                steps.append(F.one_hot(symbol, self.features).to(parameters.dtype))
            else:
                steps.append(parameters + self.log_scale[state].exp() * torch.randn_like(parameters))
            state = torch.multinomial(transition[state], 1).squeeze(-1)
        return torch.stack(steps, 1).reshape(*sample_shape, length, self.features)

    @torch.no_grad()
    def fit(self, x: Tensor, config: EMConfig | None = None) -> list[float]:
        """Fit to sequences (batch, T, features) by Baum-Welch; return each round's mean log-likelihood."""

        def round_() -> Tensor:
            smoothed = self.smooth(x)
            self.initial_logits.copy_(smoothed.states[:, 0].mean(0).clamp_min(1e-12).log())
            self.transition_logits.copy_(smoothed.pairs.sum(0).clamp_min(1e-12).log())
            weights = smoothed.states.flatten(0, 1)
            flat, totals = x.flatten(0, 1), weights.sum(0).clamp_min(1e-12).unsqueeze(-1)
            mean = weights.T @ flat / totals
            if self.log_scale is None:
                self.emission_parameters.copy_(mean.clamp_min(1e-12).log())
            else:
                self.emission_parameters.copy_(mean)
                variance = (weights.T @ flat.square() / totals - mean.square()).clamp_min(1e-6)
                self.log_scale.copy_(0.5 * variance.log())
            return smoothed.log_likelihood.mean()

        trace = run_em(round_, config or EMConfig())
        return [*trace, float(self.log_prob(x).mean())]
