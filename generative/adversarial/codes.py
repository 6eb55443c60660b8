"""Games about latent variables: BiGAN / ALI learns to infer z, InfoGAN learns a code that can be read off a sample.

Source: Donahue et al., arXiv 1605.09782; Dumoulin et al., arXiv 1606.00704; Chen et al., arXiv 1606.03657;
Abbasnejad's lecture, "Adversarially Learned Inference".
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.adversarial.gan import GAN
from generative.adversarial.objectives import objective
from generative.protocol import Given, join


class BiGAN(nn.Module):
    """The critic tells pairs (x, E(x)) from pairs (G(z), z); at the equilibrium the joints are equal and E inverts G.

    Both the encoder and the generator try to be mistaken for each other: −E log D(G(z), z) − E log(1 − D(x, E(x))).

    Args:
        generator: (..., latent_dim) -> (..., features).
        encoder: (..., features) -> (..., latent_dim), or (..., 2 latent_dim) for a Gaussian q(z | x) (ALI).
        critic: (..., features + latent_dim) -> (..., 1).
        latent_dim: size of z ~ N(0, I).
        mean: standardisation (features,).
        scale: standardisation (features,).
    """

    has: ClassVar[frozenset[str]] = frozenset({"sample", "rsample", "reconstruct"})
    critic_parts: ClassVar[tuple[str, ...]] = ("critic",)

    def __init__(
        self,
        generator: nn.Module,
        encoder: nn.Module,
        critic: nn.Module,
        latent_dim: int,
        mean: Tensor,
        scale: Tensor,
    ) -> None:
        super().__init__()
        self.gan = GAN(generator, nn.Identity(), latent_dim, len(mean), mean=mean, scale=scale)
        self.encoder = encoder
        self.critic = critic
        self.objective = objective("non-saturating")

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the model; it takes no context."""
        if context is not None:
            raise ValueError("BiGAN takes no context")
        return Given(self)

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, features) without gradients."""
        return self.gan.sample(sample_shape)

    def rsample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples through which gradients flow."""
        return self.gan.rsample(sample_shape)

    def infer(self, x: Tensor) -> Tensor:
        """Return z: E(x), or a draw from q(z | x), (..., features) -> (..., latent_dim)."""
        outputs = self.encoder((x - self.gan.mean) / self.gan.scale)
        if outputs.shape[-1] == self.gan.latent_dim:
            return outputs
        location, raw = outputs.chunk(2, -1)
        return location + F.softplus(raw) * torch.randn_like(location)

    def decode(self, z: Tensor) -> Tensor:
        """Return G(z), (..., latent_dim) -> (..., features)."""
        return self.gan.generator(z) * self.gan.scale + self.gan.mean

    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return G(E(x)), (..., features) -> (..., features)."""
        return self.decode(self.infer(x))

    def logits(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the logit of "x is data and z inferred" (...)."""
        return self.critic(join((x - self.gan.mean) / self.gan.scale, z)).squeeze(-1)

    def score(self, x: Tensor) -> Tensor:
        """Return the logit of data (..., features) with the code inferred from them; (...)."""
        return self.logits(x, self.infer(x))

    def critic_loss(self, x: Tensor) -> Tensor:
        """Return the critic's loss of data (batch, features)."""
        with torch.no_grad():
            z = torch.randn(len(x), self.gan.latent_dim, dtype=x.dtype, device=x.device)
            generated, inferred = self.decode(z), self.infer(x)
        return self.objective.critic(self.logits(x, inferred), self.logits(generated, z))

    def generator_loss(self, x: Tensor) -> Tensor:
        """Return the loss of the generator and the encoder."""
        z = torch.randn(len(x), self.gan.latent_dim, dtype=x.dtype, device=x.device)
        real, fake = self.logits(x, self.infer(x)), self.logits(self.decode(z), z)
        return F.softplus(-fake).mean() + F.softplus(real).mean()


class InfoGAN(nn.Module):
    """A generator of noise and a categorical code c whose mutual information with the sample is kept high.

    I(c; G(z, c)) ≥ H(c) + E log Q(c | G(z, c)), the bound that the generator and Q raise with weight λ.

    Args:
        gan: a `GAN` with `classes` codes whose critic sees no code, (..., features) -> (..., 1).
        reader: Q, (..., features) -> (..., codes).
        weight: λ.
    """

    has: ClassVar[frozenset[str]] = GAN.has
    critic_parts: ClassVar[tuple[str, ...]] = ("critic",)

    def __init__(self, gan: GAN, reader: nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        self.critic = gan.critic
        gan.critic = nn.Identity()
        self.gan = gan
        self.reader = reader
        self.weight = weight

    def forward(self, context: Tensor | None = None) -> Given:
        """Return the sampler given one-hot codes; without them the codes are drawn uniformly."""
        return self.gan(context)

    def code_logits(self, x: Tensor) -> Tensor:
        """Return log Q(c | x), not normalised, (..., features) -> (..., codes)."""
        return self.reader((x - self.gan.mean) / self.gan.scale)

    def information(self, x: Tensor, codes: Tensor) -> Tensor:
        """Return the bound H(c) + E log Q(c | x) ≤ I(c; x) in nats from samples and their codes; scalar."""
        entropy = torch.log(torch.tensor(float(self.gan.classes)))
        return entropy.to(x) - F.cross_entropy(self.code_logits(x), codes)

    def score(self, x: Tensor) -> Tensor:
        """Return the critic's logit of "real" at data (..., features); (...)."""
        return self.critic((x - self.gan.mean) / self.gan.scale).squeeze(-1)

    def critic_loss(self, x: Tensor) -> Tensor:
        """Return the critic's loss of data (batch, features)."""
        return self.gan.objective.critic(self.score(x), self.score(self.gan.sample(x.shape[:1])))

    def generator_loss(self, x: Tensor) -> Tensor:
        """Return the loss of the generator and of Q."""
        codes = torch.randint(self.gan.classes, x.shape[:1], device=x.device)
        fake = self.gan.rsample((), self.gan.one_hot(codes))
        adversarial = self.gan.objective.generator(self.score(x), self.score(fake))
        return adversarial - self.weight * self.information(fake, codes)
