"""Two domains without pairs: CycleGAN, and a VAE + GAN with a shared latent space.

A minibatch is (a, b): rows of the one and of the other domain that have nothing to do with each other.
Source: Zhu et al., arXiv 1703.10593 (CycleGAN); Liu et al., arXiv 1703.00848 (shared latent space);
Abbasnejad's lecture, "3D Hand pose estimation".
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.adversarial.objectives import Objective, objective
from generative.protocol import Given


class Residual(nn.Module):
    """x + network(x), (..., D) -> (..., D): a translation that starts near the identity."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the translated x."""
        return x + self.network(x)


class CycleGAN(nn.Module):
    """Translations a -> b and b -> a, each judged by a critic of its target, with L1 cycles that must close.

    Args:
        to_b: (..., features) -> (..., features).
        to_a: the same the other way.
        critic_a: (..., features) -> (..., 1).
        critic_b: the same for the other domain.
        weight: λ of E‖to_a(to_b(a)) − a‖₁ + E‖to_b(to_a(b)) − b‖₁.
        identity: weight of E‖to_b(b) − b‖₁ + E‖to_a(a) − a‖₁, which prefers the smallest translation.
    """

    has: ClassVar[frozenset[str]] = frozenset({"reconstruct"})
    critic_parts: ClassVar[tuple[str, ...]] = ("critic_a", "critic_b")

    def __init__(
        self,
        to_b: nn.Module,
        to_a: nn.Module,
        critic_a: nn.Module,
        critic_b: nn.Module,
        *,
        weight: float = 10.0,
        identity: float = 0.0,
    ) -> None:
        super().__init__()
        self.to_b, self.to_a = to_b, to_a
        self.critic_a, self.critic_b = critic_a, critic_b
        self.weight, self.identity = weight, identity
        self.objective: Objective = objective("non-saturating")

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the model, which translates but does not sample."""
        return Given(self, context)

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return to_a(to_b(x)) for x of the domain a, (..., features) -> (..., features)."""
        return self.to_a(self.to_b(x))

    def critic_loss(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the sum of both critics' losses of rows a and b (batch, features)."""
        with torch.no_grad():
            fake_a, fake_b = self.to_a(b), self.to_b(a)
        first = self.objective.critic(self.critic_a(a), self.critic_a(fake_a))
        return first + self.objective.critic(self.critic_b(b), self.critic_b(fake_b))

    def generator_loss(self, a: Tensor, b: Tensor) -> Tensor:
        """Return both translations' loss."""
        fake_a, fake_b = self.to_a(b), self.to_b(a)
        adversarial = self.objective.generator(self.critic_a(a), self.critic_a(fake_a))
        adversarial = adversarial + self.objective.generator(self.critic_b(b), self.critic_b(fake_b))
        loss = adversarial + self.weight * (F.l1_loss(self.to_a(fake_b), a) + F.l1_loss(self.to_b(fake_a), b))
        if self.identity:
            loss = loss + self.identity * (F.l1_loss(self.to_b(b), b) + F.l1_loss(self.to_a(a), a))
        return loss


class SharedLatentGAN(nn.Module):
    """Two VAEs with one latent space: z ~ q(z | a) can be decoded as a or as b, and a critic judges the translation.

    loss = Σ_domains [E‖x − x̂‖² / (2 σ²) + KL(q ‖ N(0, I))] + adversarial + cycle, per sample

    The encoders share their last layers and the decoders their first ones, which is what ties the two spaces.

    Args:
        features: variables of a sample (both domains).
        encoder_a: (..., features) -> (..., hidden), the domain's own part.
        encoder_b: the same.
        shared_encoder: (..., hidden) -> (..., 2 latent_dim).
        shared_decoder: (..., latent_dim) -> (..., hidden).
        decoder_a: (..., hidden) -> (..., features), the domain's own part.
        decoder_b: the same.
        critic_a: (..., features) -> (..., 1).
        critic_b: the same.
        noise: σ of both decoders.
        weight: of the adversarial loss.
        cycle: weight of the L1 cycles.
    """

    has: ClassVar[frozenset[str]] = frozenset({"reconstruct"})
    critic_parts: ClassVar[tuple[str, ...]] = ("critic_a", "critic_b")

    def __init__(
        self,
        encoder_a: nn.Module,
        encoder_b: nn.Module,
        shared_encoder: nn.Module,
        shared_decoder: nn.Module,
        decoder_a: nn.Module,
        decoder_b: nn.Module,
        critic_a: nn.Module,
        critic_b: nn.Module,
        *,
        noise: float = 0.2,
        weight: float = 1.0,
        cycle: float = 10.0,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList([encoder_a, encoder_b])
        self.shared_encoder, self.shared_decoder = shared_encoder, shared_decoder
        self.decoders = nn.ModuleList([decoder_a, decoder_b])
        self.critic_a, self.critic_b = critic_a, critic_b
        self.noise, self.weight, self.cycle = noise, weight, cycle
        self.objective: Objective = objective("non-saturating")

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the model, which translates but does not sample."""
        return Given(self, context)

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return x of the domain a, encoded and decoded, (..., features) -> (..., features)."""
        return self.translate(x, 0, 0)

    def encode(self, x: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Return the mean and the scale of q(z | x) for a domain, 0 (a) or 1 (b), (..., latent_dim) each."""
        location, raw = self.shared_encoder(self.encoders[domain](x)).chunk(2, -1)
        return location, F.softplus(raw) + 1e-3

    def decode(self, z: Tensor, domain: int) -> Tensor:
        """Return the decoded mean in a domain, (..., latent_dim) -> (..., features)."""
        return self.decoders[domain](self.shared_decoder(z))

    def translate(self, x: Tensor, source: int, target: int) -> Tensor:
        """Return x of one domain as it looks in another (equal domains: a reconstruction), at the mean of q(z | x)."""
        return self.decode(self.encode(x, source)[0], target)

    def critic_loss(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the sum of both critics' losses of rows a and b (batch, features)."""
        with torch.no_grad():
            fake_a, fake_b = self.translate(b, 1, 0), self.translate(a, 0, 1)
        first = self.objective.critic(self.critic_a(a), self.critic_a(fake_a))
        return first + self.objective.critic(self.critic_b(b), self.critic_b(fake_b))

    def generator_loss(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss of encoders and decoders."""
        total = a.new_zeros(())
        critics = (self.critic_a, self.critic_b)
        for domain, x in enumerate((a, b)):
            location, scale = self.encode(x, domain)
            z = location + scale * torch.randn_like(location)
            kl = 0.5 * (location.square() + scale.square() - 1.0).sum(-1) - scale.log().sum(-1)
            error = (x - self.decode(z, domain)).square().sum(-1) / (2.0 * self.noise**2)
            other = self.decode(z, 1 - domain)
            adversarial = self.objective.generator(critics[1 - domain]((b, a)[domain]), critics[1 - domain](other))
            back = self.translate(other, 1 - domain, domain)
            total = total + (error + kl).mean() + self.weight * adversarial + self.cycle * F.l1_loss(back, x)
        return total
