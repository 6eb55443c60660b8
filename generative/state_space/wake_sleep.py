"""Helmholtz machine: a layered sigmoid belief net with a recognition net, trained by wake-sleep.

Wake: z ~ q(z | x) for data x, and the generative weights climb log p(x, z).
Sleep: (z, x) ~ p, and the recognition weights climb log q(z | x).

Source: Hinton, Dayan, Frey & Neal 1995. The sleep step descends KL[p(z | x) ‖ q], not the bound's own KL[q ‖ p].
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from generative.objectives import Terms
from generative.protocol import Given
from generative.vae.binary import bernoulli_log_prob, binary_states


class HelmholtzMachine(nn.Module):
    """Sigmoid belief net x ← z_1 ← … ← z_L with a mirrored recognition net.

    Args:
        features: D, the number of binary observed variables.
        layers: sizes of z_1 … z_L.
    """

    has = frozenset({"elbo", "sample"})

    def __init__(self, features: int, layers: tuple[int, ...]) -> None:
        super().__init__()
        if not layers:
            raise ValueError("layers is (); a Helmholtz machine needs at least one latent layer")
        self.features, self.layers = features, layers
        sizes = (features, *layers)
        pairs = list(itertools.pairwise(sizes))
        self.top = nn.Parameter(torch.zeros(layers[-1]))
        self.generative = nn.ModuleList(nn.Linear(upper, lower) for lower, upper in pairs)
        self.recognition = nn.ModuleList(nn.Linear(lower, upper) for lower, upper in pairs)

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x); the machine takes no context."""
        if context is not None:
            raise ValueError("the Helmholtz machine takes no context")
        return Given(self)

    def likelihood_and_prior(self, x: Tensor, codes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return log p(x | z_1) and log p(z_1 … z_L) in nats."""
        chain = [x, *codes]
        each = [bernoulli_log_prob(net(chain[i + 1]), chain[i]) for i, net in enumerate(self.generative)]
        top = bernoulli_log_prob(self.top.expand_as(codes[-1]), codes[-1])
        return each[0], sum(each[1:], top)

    def posterior_log_prob(self, x: Tensor, codes: list[Tensor]) -> Tensor:
        """Return log q(z_1 … z_L | x) in nats."""
        chain = [x, *codes]
        each = [bernoulli_log_prob(net(chain[i]), chain[i + 1]) for i, net in enumerate(self.recognition)]
        return torch.stack(each).sum(0)

    @torch.no_grad()
    def recognise(self, x: Tensor) -> list[Tensor]:
        """Draw z_1 … z_L ~ q(z | x)."""
        codes = [x]
        for net in self.recognition:
            codes.append(torch.bernoulli(torch.sigmoid(net(codes[-1]))))
        return codes[1:]

    @torch.no_grad()
    def dream(self, count: int) -> tuple[Tensor, list[Tensor]]:
        """Draw (x, [z_1 … z_L]) from the model, with x (count, D)."""
        chain = [torch.bernoulli(torch.sigmoid(self.top).expand(count, -1))]
        for net in reversed(self.generative):
            chain.append(torch.bernoulli(torch.sigmoid(net(chain[-1]))))
        return chain[-1], chain[-2::-1]

    def terms(self, x: Tensor, context: Tensor | None = None) -> Terms:
        """Draw z ~ q(z | x) once; differentiable in the densities, not through z."""
        codes = self.recognise(x)
        log_likelihood, log_prior = self.likelihood_and_prior(x, codes)
        log_q = self.posterior_log_prob(x, codes)
        return Terms(log_likelihood, log_prior, log_q, log_q - log_prior)

    def elbo(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One-sample bound in nats, (..., D) -> (...); for reading, since wake-sleep does not follow its gradient."""
        return self.terms(x).elbo()

    def exact_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats by the sum over every latent state, (batch, D) -> (batch,)."""
        states = binary_states(sum(self.layers), x)
        codes = [part.unsqueeze(1).expand(-1, len(x), -1) for part in states.split(list(self.layers), -1)]
        log_likelihood, log_prior = self.likelihood_and_prior(x.expand(len(states), *x.shape), codes)
        return torch.logsumexp(log_likelihood + log_prior, 0)

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return binary samples (*sample_shape, D)."""
        shape = torch.Size(sample_shape)
        return self.dream(max(shape.numel(), 1))[0].reshape(*shape, self.features)


def wake_sleep_loss(model: HelmholtzMachine, x: Tensor) -> Tensor:
    """Mean of −log p(x, z) at recognised z (wake) plus −log q(z | x) at dreamed (z, x) (sleep), in nats.

    The two share no parameters, so one gradient step on the sum is a wake and a sleep step.
    """
    wake = -sum(model.likelihood_and_prior(x, model.recognise(x)), torch.zeros(()).to(x))
    dreamed, codes = model.dream(len(x))
    return wake.mean() - model.posterior_log_prob(dreamed, codes).mean()
