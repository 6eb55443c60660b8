"""Networks of adversarial models: inputs that show fine detail, and DCGAN's convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative.nn import MLP


class Octaves(nn.Module):
    """Coordinates beside their sines and cosines, (..., D) -> (..., D (1 + 2 octaves)), wavelengths 2, 1, 1/2, …

    A perceptron of the bare coordinates learns fine detail last (Tancik et al., arXiv 2006.10739), which a critic of
    narrow modes cannot wait for.
    """

    frequencies: Tensor

    def __init__(self, octaves: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(octaves))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        phase = (x.unsqueeze(-1) * self.frequencies).flatten(-2)
        return torch.cat([x, phase.sin(), phase.cos()], -1)


def octave_critic(features: int, hidden: Sequence[int], octaves: int, out_features: int = 1) -> nn.Sequential:
    """Return a critic (..., features) -> (..., out_features): a perceptron on `Octaves`."""
    inputs = features * (1 + 2 * octaves)
    return nn.Sequential(Octaves(octaves), MLP(inputs, hidden, out_features, activation_name="silu"))


class FourierFeatures(nn.Module):
    """Sines and cosines along random directions w ~ N(0, I / length²), (..., D) -> (..., 2 count), of norm 1.

    A linear map of them is a function of the Gaussian kernel exp(−‖x − y‖² / (2 length²)) (Rahimi & Recht 2007).

    Args:
        features: D.
        count: number of directions.
        length: the distance over which such a function changes, in units of x.
    """

    directions: Tensor

    def __init__(self, features: int, count: int, length: float) -> None:
        super().__init__()
        self.register_buffer("directions", torch.randn(features, count) / length)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        phase = x @ self.directions
        return torch.cat([phase.sin(), phase.cos()], -1) / math.sqrt(self.directions.shape[-1])


class MixtureLatent(nn.Module):
    """Noise z ~ N(0, I) becomes μ_k + σ_k z, k drawn uniformly; (..., D) -> (..., D) with learnt μ and σ.

    A connected latent space has to bridge separate modes; a mixture does not (Gurumurthy et al., arXiv 1706.02071).

    Args:
        components: number of components.
        latent_dim: D.
        scale: of every component at the start; the means start at draws of N(0, I).
    """

    def __init__(self, components: int, latent_dim: int, scale: float = 0.22) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.randn(components, latent_dim))
        self.log_scales = nn.Parameter(torch.full((components, latent_dim), math.log(scale)))

    def forward(self, noise: Tensor) -> Tensor:
        """Return samples of the mixture."""
        chosen = torch.randint(len(self.means), noise.shape[:-1], device=noise.device)
        return self.means[chosen] + self.log_scales[chosen].exp() * noise


class DCGANGenerator(nn.Module):
    """Strided transposed convolutions with batch normalisation, (..., inputs) -> (..., pixels) in (−1, 1).

    The rules of Radford et al., arXiv 1511.06434: no pooling, no hidden affine layers, ReLU, tanh at the end.
    ValueError where the image's sides are no multiples of 4.
    """

    def __init__(self, inputs: int, image_shape: tuple[int, int, int], channels: int = 64) -> None:
        super().__init__()
        depth, height, width = image_shape
        if height % 4 or width % 4:
            raise ValueError(f"image_shape is {image_shape}; its height and width must be multiples of 4")
        self.seed = (channels, height // 4, width // 4)
        self.layers = nn.Sequential(
            nn.Linear(inputs, math.prod(self.seed), bias=False),
            nn.Unflatten(-1, self.seed),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            nn.ConvTranspose2d(channels // 2, depth, 4, stride=2, padding=1),
            nn.Tanh(),
            nn.Flatten(),
        )
        _dcgan_start(self)

    def forward(self, z: Tensor) -> Tensor:
        """Return images as flat vectors."""
        return self.layers(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], -1)


class DCGANCritic(nn.Module):
    """Strided convolutions with leaky ReLUs, (..., pixels) -> (..., 1); batch normalisation but in the first layer."""

    def __init__(self, image_shape: tuple[int, int, int], channels: int = 32) -> None:
        super().__init__()
        depth, height, width = image_shape
        self.image_shape = image_shape
        self.layers = nn.Sequential(
            nn.Conv2d(depth, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * channels * (height // 4) * (width // 4), 1),
        )
        _dcgan_start(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the critic's output at flattened images."""
        return self.layers(x.reshape(-1, *self.image_shape)).reshape(*x.shape[:-1], 1)


def _dcgan_start(module: nn.Module) -> None:
    """Start convolutions at N(0, 0.02²), as the paper does."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
