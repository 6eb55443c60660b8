"""Trunks that every model is built from: multilayer perceptrons and convolutional encoders and decoders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.names import unknown

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """Return a new activation by its name; ValueError for an unknown one."""
    if name not in ACTIVATIONS:
        raise ValueError(unknown("activation", name, ACTIVATIONS))
    return ACTIVATIONS[name]()


class MCDropout(nn.Dropout):
    """Dropout whose masks can stand for samples of the network's parameters θ (Gal & Ghahramani 2016).

    `theta` says what one mask covers, for inputs (samples, ..., features):
    "element": every row has its own mask, as in `nn.Dropout`;
    "fresh": one mask per index of the first dimension, so that each sample has its own θ, shared by all its rows;
    "same": one mask for the whole call, so that all samples share one θ.
    """

    theta: str = "element"

    def forward(self, features: Tensor) -> Tensor:
        """Return the features with a fraction `p` of them zeroed and the others scaled by 1 / (1 - p)."""
        if not self.training or self.p == 0.0:
            return features
        if self.theta == "element":
            return super().forward(features)
        samples = features.shape[0] if self.theta == "fresh" else 1
        shape = (samples, *(1,) * (features.dim() - 2), features.shape[-1])
        kept = torch.empty(shape, device=features.device, dtype=features.dtype).bernoulli_(1.0 - self.p)
        return features * kept / (1.0 - self.p)


@contextmanager
def sampled_theta(module: nn.Module, theta: str) -> Iterator[None]:
    """Within the context, dropout is on in the module and its masks cover what `theta` says (see `MCDropout`)."""
    layers = [layer for layer in module.modules() if isinstance(layer, MCDropout)]
    before = [(layer.theta, layer.training) for layer in layers]
    for layer in layers:
        layer.theta, layer.training = theta, True
    try:
        yield
    finally:
        for layer, (mode, training) in zip(layers, before, strict=True):
            layer.theta, layer.training = mode, training


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
                layers.append(MCDropout(dropout))
            width = units
        layers.append(nn.Linear(width, out_features))
        super().__init__(*layers)


class EnsembleLinear(nn.Module):
    """Affine maps of an ensemble, evaluated together: (members, ..., inputs) -> (members, ..., outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    @classmethod
    def of(cls, maps: Sequence[nn.Linear]) -> EnsembleLinear:
        """Return an ensemble that starts as these maps, all of one size."""
        together = cls(len(maps), maps[0].in_features, maps[0].out_features)
        together.weight = nn.Parameter(torch.stack([one.weight.detach().T for one in maps]))
        together.bias = nn.Parameter(torch.stack([one.bias.detach().unsqueeze(0) for one in maps]))
        return together

    def forward(self, features: Tensor) -> Tensor:
        """Apply each member's map to its own batch."""
        rows = features if features.dim() == 3 else features.flatten(1, -2)
        mapped = torch.baddbmm(self.bias, rows, self.weight)
        return mapped if features.dim() == 3 else mapped.unflatten(1, features.shape[1:-1])


class EnsembleMember(nn.Module):
    """One member of an `EnsembleLinear`, whose parameters it shares: (..., inputs) -> (..., outputs)."""

    def __init__(self, together: EnsembleLinear, index: int) -> None:
        super().__init__()
        self._together = (together,)  # a tuple, so that the parameters are saved once, with their owner
        self.index = index

    def forward(self, features: Tensor) -> Tensor:
        """Apply the member's map."""
        (together,) = self._together
        return F.linear(features, together.weight[self.index].T, together.bias[self.index, 0])


class ConvEncoder(nn.Module):
    """Strided convolutions and an affine map: images (batch, channels, height, width) -> (batch, out_features).

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


@torch.no_grad()
def average_(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Move the target's parameters towards the source's: target += rate * (source - target)."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)
