"""Images inside flattened observations: convolutional features in the place of their columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative.nn import ConvEncoder
from world_models.likelihood import Part


class ImageReader(nn.Module):
    """Normalised observations (..., O) -> the same with each image replaced by `width` features, (..., size).

    Without images it has no parameters and returns its input.

    Args:
        parts: of the observation, in the order of their columns; those without an `image_shape` stay as they are.
        inputs: O, the number of columns.
        width: features of an image, behind a ReLU.
    """

    def __init__(self, parts: Sequence[Part], inputs: int, width: int) -> None:
        super().__init__()
        self.images = [(part, part.image_shape) for part in parts if part.image_shape is not None]
        self.encoders = nn.ModuleList(ConvEncoder(shape, width) for _, shape in self.images)
        self.size = inputs - sum(part.size for part, _ in self.images) + len(self.images) * width

    def forward(self, observation: Tensor) -> Tensor:
        """Replace the images of (..., O) by features."""
        pieces: list[Tensor] = []
        position = 0
        for (part, (channels, height, width)), encoder in zip(self.images, self.encoders, strict=True):
            values = observation[..., part.columns]
            if part.channels_last:
                images = values.reshape(-1, height, width, channels).movedim(-1, 1)
            else:
                images = values.reshape(-1, channels, height, width)
            features = torch.relu(encoder(images)).unflatten(0, values.shape[:-1])
            pieces += [observation[..., position : part.start], features]
            position = part.start + part.size
        return torch.cat([*pieces, observation[..., position:]], -1) if pieces else observation
