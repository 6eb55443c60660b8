"""PixelCNN and PixelRNN: autoregressive models of images with one channel, pixel by pixel in raster order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.autoregressive.conditionals import Conditional
from generative.autoregressive.model import Autoregressive


class GatedLayer(nn.Module):
    """One layer of the gated PixelCNN (van den Oord et al., arXiv 1606.05328), without a blind spot.

    The vertical stack at row r sees rows above r, the horizontal one the pixels to the left in row r and the vertical
    stack. The first layer shifts by one, so that neither sees the pixel itself.
    """

    def __init__(self, in_channels: int, channels: int, context_features: int, dropout: float, first: bool) -> None:
        super().__init__()
        self.first = first
        self.vertical = nn.Conv2d(in_channels, 2 * channels, (2, 3), padding=(2, 1))
        self.horizontal = nn.Conv2d(in_channels, 2 * channels, (1, 2), padding=(0, 2))
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.residual = nn.Conv2d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.context = nn.Linear(context_features, 4 * channels, bias=False) if context_features else None

    def forward(self, stacks: tuple[Tensor, Tensor], context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Two stacks (batch, channels, height, width) -> two stacks."""
        vertical, horizontal = stacks
        height, width = vertical.shape[-2:]
        shift = 0 if self.first else 1
        v = self.vertical(vertical)[..., shift : shift + height, :]
        h = self.horizontal(horizontal)[..., shift : shift + width] + self.link(v)
        if self.context is not None:
            added_v, added_h = self.context(context)[..., None, None].chunk(2, 1)
            v, h = v + added_v, h + added_h
        v, h = _gate(v), self.residual(self.dropout(_gate(h)))
        return v, h if self.first else horizontal + h


def _gate(units: Tensor) -> Tensor:
    """Return tanh(a) σ(b) of the two halves of the channels."""
    a, b = units.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class PixelCNNNetwork(nn.Module):
    """Gated layers, a learned map added at each position, and two 1 x 1 convolutions to the parameters."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        conditional: Conditional,
        *,
        channels: int = 32,
        layers: int = 5,
        context_features: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.height, self.width = _one_channel(image_shape)
        inputs = conditional.num_inputs + 1
        self.layers = nn.ModuleList(
            GatedLayer(channels if i else inputs, channels, context_features, dropout, first=not i)
            for i in range(layers)
        )
        self.position = nn.Parameter(torch.zeros(channels, self.height, self.width))
        self.hidden = nn.Conv2d(channels, 2 * channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Conv2d(2 * channels, conditional.num_parameters, 1)
        self.position_out = nn.Parameter(torch.zeros(conditional.num_parameters, self.height, self.width))

    def forward(self, encoded: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, pixels, E) -> (batch, pixels, P)."""
        image = _as_image(encoded, self.height, self.width)
        stacks = (image, image)
        for layer in self.layers:
            stacks = layer(stacks, context)
            stacks = (stacks[0], stacks[1] + self.position) if layer.first else stacks
        units = self.dropout(F.relu(self.hidden(F.relu(stacks[1]))))
        return (self.readout(units) + self.position_out).flatten(2).transpose(1, 2)


class RowLSTM(nn.Module):
    """Row LSTM (van den Oord et al., arXiv 1601.06759): rows from top to bottom, a whole row at a time.

    The gates at row r are a masked convolution of row r (the pixel and those to its left) plus a convolution of the
    state of row r − 1 of width 3.
    """

    def __init__(self, channels: int, context_features: int) -> None:
        super().__init__()
        self.inputs = nn.Conv2d(channels, 4 * channels, (1, 3), padding=(0, 2))
        self.state = nn.Conv1d(channels, 4 * channels, 3, padding=1)
        self.context = nn.Linear(context_features, 4 * channels, bias=False) if context_features else None

    def forward(self, units: Tensor, context: Tensor | None) -> Tensor:
        """(batch, channels, height, width) -> the same."""
        gates = self.inputs(units)[..., : units.shape[-1]]
        if self.context is not None:
            gates = gates + self.context(context)[..., None, None]
        hidden = cell = torch.zeros_like(units[:, :, 0])
        rows = []
        for row in gates.unbind(2):
            i, f, o, g = (row + self.state(hidden)).chunk(4, 1)
            cell = torch.sigmoid(f + 1.0) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            rows.append(hidden)
        return torch.stack(rows, 2)


class PixelRNNNetwork(nn.Module):
    """A first convolution that sees neither the pixel nor those after it, residual Row LSTMs, and the readout."""

    mask: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        conditional: Conditional,
        *,
        channels: int = 32,
        layers: int = 2,
        kernel: int = 7,
        context_features: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.height, self.width = _one_channel(image_shape)
        self.first = nn.Conv2d(conditional.num_inputs + 1, channels, kernel, padding=kernel // 2)
        mask = torch.zeros(kernel, kernel)
        mask[: kernel // 2] = 1.0
        mask[kernel // 2, : kernel // 2] = 1.0
        self.register_buffer("mask", mask)
        self.layers = nn.ModuleList(RowLSTM(channels, context_features) for _ in range(layers))
        self.position = nn.Parameter(torch.zeros(channels, self.height, self.width))
        self.hidden = nn.Conv2d(channels, 2 * channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Conv2d(2 * channels, conditional.num_parameters, 1)
        self.position_out = nn.Parameter(torch.zeros(conditional.num_parameters, self.height, self.width))

    def forward(self, encoded: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, pixels, E) -> (batch, pixels, P)."""
        image = _as_image(encoded, self.height, self.width)
        weight = self.first.weight * self.mask
        units = F.conv2d(image, weight, self.first.bias, padding=self.first.padding) + self.position
        for layer in self.layers:
            units = units + self.dropout(layer(units, context))
        units = self.dropout(F.relu(self.hidden(F.relu(units))))
        return (self.readout(units) + self.position_out).flatten(2).transpose(1, 2)


def _one_channel(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return (height, width); ValueError for an image of several channels."""
    depth, height, width = image_shape
    if depth != 1:
        raise ValueError(f"image_shape is {image_shape}; only one channel is allowed, not {depth}")
    return height, width


def _as_image(encoded: Tensor, height: int, width: int) -> Tensor:
    """Return (batch, pixels, E) as (batch, E + 1, height, width); the channel of ones shows where the image ends."""
    image = encoded.transpose(1, 2).unflatten(-1, (height, width))
    return torch.cat([image, torch.ones_like(image[:, :1])], 1)


def pixel_cnn(
    image_shape: tuple[int, int, int],
    conditional: Conditional,
    *,
    channels: int = 32,
    layers: int = 5,
    context_features: int = 0,
    dropout: float = 0.0,
) -> Autoregressive:
    """Gated PixelCNN over images flattened to (..., pixels)."""
    network = PixelCNNNetwork(
        image_shape,
        conditional,
        channels=channels,
        layers=layers,
        context_features=context_features,
        dropout=dropout,
    )
    return Autoregressive(network, conditional, network.height * network.width)


def pixel_rnn(
    image_shape: tuple[int, int, int],
    conditional: Conditional,
    *,
    channels: int = 32,
    layers: int = 2,
    context_features: int = 0,
    dropout: float = 0.0,
) -> Autoregressive:
    """PixelRNN with Row LSTM layers over images flattened to (..., pixels)."""
    network = PixelRNNNetwork(
        image_shape,
        conditional,
        channels=channels,
        layers=layers,
        context_features=context_features,
        dropout=dropout,
    )
    return Autoregressive(network, conditional, network.height * network.width)
