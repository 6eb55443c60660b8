"""The world model of DAIF: a variational autoencoder whose transition jumps H decisions in one forward pass.

    encoder     Q_φs(s | o)                              o -> s
    transition  P_θs(s_{t+H} | s_t, π̂ [, a_t] [, h])     s, code -> s'
    decoder     P_θo(o | s) [and outcomes of the jump]   s -> o

Source: arXiv 2505.19867; Algorithm 1's "run Model".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from generative.distributions import bounded_gaussian, gaussian
from generative.nn import MLP, ConvDecoder, ConvEncoder
from world_models.likelihood import ObservationCodec, ObservationDistribution


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes of a world model."""

    latent_dim: int = 16
    """S, the number of latent state variables."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of encoder, transition and decoder."""
    activation: str = "relu"
    """Activation of the hidden layers."""
    dropout: float = 0.1
    """Dropout probability; dropout samples θ in the parameter-epistemic term."""
    max_variance: float = 1.5
    """λ_s, the upper bound of the state variance."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}; it must be at least 1")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden is {self.hidden}; every width must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")
        if not self.max_variance > 0.0:
            raise ValueError(f"max_variance is {self.max_variance}; it must be positive")


@dataclass(frozen=True)
class Prediction:
    """What the decoder says of a state: an observation and the outcomes collected on the way to it."""

    observation: ObservationDistribution
    outcomes: Distribution | None


class OvershootingVAE(nn.Module):
    """VAE with an H-step transition conditioned on a policy code.

    Args:
        codec: the observation's layout and likelihood.
        code_dim: size of the transition's condition (policy encoding, action, horizon features).
        num_outcomes: size of the standardised outcomes that the decoder also predicts; 0 for none.
        config: sizes.
    """

    def __init__(self, codec: ObservationCodec, code_dim: int, num_outcomes: int, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.num_outcomes = num_outcomes
        self._codec = (codec,)  # a tuple, so that the codec's buffers are saved once, with their owner
        size = 2 * config.latent_dim
        images = [part for part in codec.parts if part.image_shape is not None]
        self.image_encoders = nn.ModuleList(
            ConvEncoder(part.image_shape, config.hidden[0]) for part in images if part.image_shape
        )
        self.image_decoders = nn.ModuleList(
            ConvDecoder(config.hidden[0], part.image_shape) for part in images if part.image_shape
        )
        vector = codec.size - sum(part.size for part in images) + len(images) * config.hidden[0]
        parameters = codec.num_parameters - sum(part.size for part in images) + len(images) * config.hidden[0]
        self.encoder = self._mlp(vector, size)
        self.transition_net = self._mlp(config.latent_dim + code_dim, size)
        self.decoder = self._mlp(config.latent_dim, parameters + 2 * num_outcomes)

    def _mlp(self, inputs: int, outputs: int) -> MLP:
        c = self.config
        return MLP(inputs, c.hidden, outputs, activation_name=c.activation, dropout=c.dropout)

    @property
    def codec(self) -> ObservationCodec:
        """The observation's layout and likelihood."""
        return self._codec[0]

    def encode(self, observation: Tensor) -> Distribution:
        """Q_φs(s | o): normalised observation (..., O) -> diagonal Gaussian over the state (..., S)."""
        if self.image_encoders:
            observation = self._encode_images(observation)
        return bounded_gaussian(self.encoder(observation), self.config.max_variance)

    def transition(self, state: Tensor, code: Tensor) -> Distribution:
        """P_θs(s_{t+H} | s_t, code): states (..., S) and codes (..., P) -> diagonal Gaussian over (..., S)."""
        return bounded_gaussian(self.transition_net(torch.cat([state, code], -1)), self.config.max_variance)

    def decode(self, state: Tensor) -> Prediction:
        """P_θo(o | s): states (..., S) -> the distributions of the observation and of the outcomes."""
        return self.prediction(self.decoder(state))

    def prediction(self, output: Tensor) -> Prediction:
        """Turn the decoder's output (..., parameters) into distributions."""
        split = output.shape[-1] - 2 * self.num_outcomes
        parameters = self._decode_images(output[..., :split]) if self.image_decoders else output[..., :split]
        outcomes = gaussian(output[..., split:], min_scale=0.05) if self.num_outcomes else None
        return Prediction(self.codec.distribution(parameters), outcomes)

    def _encode_images(self, observation: Tensor) -> Tensor:
        encoders = iter(self.image_encoders)
        pieces: list[Tensor] = []
        for part in self.codec.parts:
            values = observation[..., part.columns]
            if part.image_shape is not None:
                channels, height, width = part.image_shape
                lead = values.shape[:-1]
                if part.channels_last:
                    images = values.reshape(-1, height, width, channels).movedim(-1, 1)
                else:
                    images = values.reshape(-1, channels, height, width)
                values = torch.relu(next(encoders)(images)).unflatten(0, lead)
            pieces.append(values)
        return torch.cat(pieces, -1)

    def _decode_images(self, parameters: Tensor) -> Tensor:
        decoders = iter(self.image_decoders)
        pieces: list[Tensor] = []
        position = 0
        for part in self.codec.parts:
            width = self.config.hidden[0] if part.image_shape is not None else part.num_parameters
            values = parameters[..., position : position + width]
            position += width
            if part.image_shape is not None:
                lead = values.shape[:-1]
                logits = next(decoders)(values.reshape(-1, width))
                logits = logits.movedim(1, -1) if part.channels_last else logits
                values = logits.flatten(1).unflatten(0, lead)
            pieces.append(values)
        return torch.cat(pieces, -1)
