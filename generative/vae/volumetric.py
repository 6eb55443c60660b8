"""Variational autoencoder of volumes: three-dimensional convolutions over voxels, flattened to (..., voxels).

Source: Rezende et al., arXiv 1607.00662 (volumetric data). The model is `GaussianVAE` with these two networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative.nn import activation
from generative.vae.core import GaussianVAE, VAEConfig
from generative.vae.likelihood import Likelihood

Shape = tuple[int, int, int]


class VolumeEncoder(nn.Module):
    """Strided 3-D convolutions and an affine map: (..., voxels + context) -> (..., out_features).

    Each of the `channels` halves every side (kernel 3, stride 2, padding 1); the context joins before the affine map.
    """

    def __init__(
        self,
        shape: Shape,
        out_features: int,
        *,
        channels: Sequence[int] = (16, 32),
        context_features: int = 0,
        activation_name: str = "silu",
    ) -> None:
        super().__init__()
        self.shape, self.out_features = shape, out_features
        layers: list[nn.Module] = []
        depth, sides = 1, shape
        for units in channels:
            layers += [nn.Conv3d(depth, units, 3, stride=2, padding=1), activation(activation_name)]
            depth, sides = units, ((sides[0] + 1) // 2, (sides[1] + 1) // 2, (sides[2] + 1) // 2)
        self.convolutions = nn.Sequential(*layers)
        self.readout = nn.Linear(depth * math.prod(sides) + context_features, out_features)
        self.last = activation(activation_name)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the features (..., out_features)."""
        voxels = math.prod(self.shape)
        rows = inputs.reshape(-1, inputs.shape[-1])
        seen = self.convolutions(rows[:, :voxels].unflatten(-1, (1, *self.shape))).flatten(1)
        features = self.last(self.readout(torch.cat([seen, rows[:, voxels:]], -1)))
        return features.reshape(*inputs.shape[:-1], -1)


class VolumeDecoder(nn.Module):
    """The mirror of `VolumeEncoder`: (..., latent + context) -> one logit a voxel, (..., voxels)."""

    def __init__(
        self, in_features: int, shape: Shape, *, channels: Sequence[int] = (32, 16), activation_name: str = "silu"
    ) -> None:
        super().__init__()
        factor = 2 ** len(channels)
        self.shape = shape
        self.seed_shape = (channels[0], *(-(-side // factor) for side in shape))
        self.expand = nn.Linear(in_features, math.prod(self.seed_shape))
        layers: list[nn.Module] = []
        for units, following in zip(channels, [*channels[1:], 1], strict=True):
            layers += [activation(activation_name), nn.ConvTranspose3d(units, following, 4, stride=2, padding=1)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, cropped to the volume's shape."""
        seed = self.expand(inputs.reshape(-1, inputs.shape[-1])).unflatten(-1, self.seed_shape)
        depth, height, width = self.shape
        volume = self.convolutions(seed)[..., :depth, :height, :width]
        return volume.reshape(*inputs.shape[:-1], -1)


def volumetric_vae(
    shape: Shape, config: VAEConfig, *, width: int = 128, channels: Sequence[int] = (16, 32)
) -> GaussianVAE:
    """Return a Gaussian autoencoder of binary volumes (depth, height, width); `config.hidden` is not used."""
    context = config.context_features
    encoder = VolumeEncoder(
        shape, width, channels=channels, context_features=context, activation_name=config.activation
    )
    decoder = VolumeDecoder(
        config.latent_dim + context, shape, channels=channels[::-1], activation_name=config.activation
    )
    return GaussianVAE(Likelihood(None, math.prod(shape), "bernoulli"), config, encoder, decoder)


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """|A ∩ B| / |A ∪ B| of volumes (..., voxels) whose voxels count where they exceed ½; 1 for two empty ones."""
    a, b = first > 0.5, second > 0.5
    union = (a | b).sum(-1)
    return torch.where(union > 0, (a & b).sum(-1) / union.clamp_min(1), torch.ones_like(union, dtype=first.dtype))
