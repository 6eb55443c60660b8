"""Trunks that every model is built from: multilayer perceptrons and convolutional encoders and decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "identity": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """Return a new activation by its name; ValueError for an unknown one."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; allowed: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class MLP(nn.Sequential):
    """Multilayer perceptron (..., in_features) -> (..., out_features), with dropout after each hidden activation.

    Args:
        in_features: size of the last input dimension.
        hidden: widths of the hidden layers; empty for one affine map.
        out_features: size of the last output dimension.
        activation_name: one of `ACTIVATIONS`.
        dropout: probability of zeroing a hidden unit while in training mode (Monte-Carlo dropout uses it too).
        layer_norm: normalise each hidden layer before its activation.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        *,
        activation_name: str = "relu",
        dropout: float = 0.0,
        layer_norm: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        width = in_features
        for units in hidden:
            layers.append(nn.Linear(width, units))
            if layer_norm:
                layers.append(nn.LayerNorm(units))
            layers.append(activation(activation_name))
            if dropout > 0.0:
                layers.append(nn.Dropout(dropout))
            width = units
        layers.append(nn.Linear(width, out_features))
        super().__init__(*layers)


class ConvEncoder(nn.Module):
    """Strided convolutions and an affine map: images (batch, channels, height, width) -> features (batch, out_features).

    Each of the `channels` halves the height and width (kernel 3, stride 2, padding 1), so any size works.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        out_features: int,
        *,
        channels: Sequence[int] = (32, 64),
        activation_name: str = "relu",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        depth, height, width = image_shape
        for units in channels:
            layers += [nn.Conv2d(depth, units, 3, stride=2, padding=1), activation(activation_name)]
            depth, height, width = units, (height + 1) // 2, (width + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.readout = nn.Linear(depth * height * width, out_features)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (batch, out_features) of images (batch, channels, height, width)."""
        return self.readout(self.convolutions(images).flatten(1))


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: features (batch, in_features) -> parameters (batch, channels, height, width)."""

    def __init__(
        self,
        in_features: int,
        image_shape: tuple[int, int, int],
        *,
        channels: Sequence[int] = (64, 32),
        activation_name: str = "relu",
    ) -> None:
        super().__init__()
        depth, height, width = image_shape
        factor = 2 ** len(channels)
        self.image_shape = image_shape
        self.seed_shape = (channels[0], -(-height // factor), -(-width // factor))
        self.expand = nn.Linear(in_features, self.seed_shape[0] * self.seed_shape[1] * self.seed_shape[2])
        layers: list[nn.Module] = []
        for units, following in zip(channels, [*channels[1:], depth], strict=True):
            layers += [activation(activation_name), nn.ConvTranspose2d(units, following, 4, stride=2, padding=1)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return the parameters (batch, channels, height, width), cropped to the image's size."""
        seed = self.expand(features).unflatten(-1, self.seed_shape)
        _, height, width = self.image_shape
        return self.convolutions(seed)[..., :height, :width]


def orthogonal_(module: nn.Module, gain: float = 2**0.5) -> nn.Module:
    """Initialise every weight matrix of the module orthogonally and every bias with zero; return the module."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.orthogonal_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def count_parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@torch.no_grad()
def average_(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Move the target's parameters towards the source's: target += rate * (source - target)."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)
