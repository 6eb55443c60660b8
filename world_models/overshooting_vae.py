"""The world model of DAIF: a variational autoencoder whose transition jumps H decisions in one forward pass.

    encoder     Q_φs(s | o)                              o -> s
    transition  P_θs(s_{t+H} | s_t, π̂ [, a_t] [, h])     s, code -> s'
    decoder     P_θo(o | s)                              s -> o
    outcomes    P_θo(y | s) or P_θs(y | s_t, π̂ ...)      what the decisions of the jump bring, where any is asked for

Source: arXiv 2505.19867; Algorithm 1's "run Model".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from generative.distributions import bounded_gaussian, gaussian
from generative.names import check_choices
from generative.nn import MLP, ConvDecoder
from world_models.counted import CountedAndGaussian
from world_models.flowed_gaussian import FlowedGaussian
from world_models.images import ImageReader
from world_models.likelihood import ObservationCodec, ObservationDistribution

if TYPE_CHECKING:
    from generative.flows.flow import Flow

COUPLINGS = 4
"""Steps of a flow in the transition."""
MIN_SCALE = 0.05
"""Least standard deviation of a standardised outcome."""


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
    outcome_head: Literal["state", "jump"] = "state"
    """Outcomes of a jump are read from the state behind it, by the decoder ("state"), or predicted beside it from the
    state before it and its code ("jump"): what was lost on the way need not show in the state that follows."""
    transition: Literal["gaussian", "flow"] = "gaussian"
    """Family of P(s_{t+H}): a diagonal Gaussian, or one that a normalising flow (RealNVP) bends."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        check_choices(self)
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}; it must be at least 1")
        if not self.hidden:
            raise ValueError("hidden is empty; the world model needs at least one hidden layer")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden is {self.hidden}; every width must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")
        if not self.max_variance > 0.0:
            raise ValueError(f"max_variance is {self.max_variance}; it must be positive")
        if self.transition == "flow" and self.latent_dim < 2:
            raise ValueError("latent_dim is 1; a flow in the transition needs at least 2 state variables")


@dataclass(frozen=True)
class Prediction:
    """What the model says of a jump: the observation behind it and the outcomes collected on the way, standardised but
    for the rare ones."""

    decode: Callable[[], ObservationDistribution]
    """Decodes the observation when it is first asked for."""
    outcomes: Distribution | None

    @cached_property
    def observation(self) -> ObservationDistribution:
        """P_θo(o | s) behind the jump."""
        return self.decode()


class OvershootingVAE(nn.Module):
    """VAE with an H-step transition conditioned on a policy code.

    Args:
        codec: the observation's layout and likelihood.
        code_dim: size of the transition's condition (policy encoding, action, horizon features).
        num_outcomes: number of outcomes that are predicted too; 0 for none.
        config: sizes.
        rare: indices of the outcomes that are rare and never negative; they are counted, not standardised.
    """

    def __init__(
        self, codec: ObservationCodec, code_dim: int, num_outcomes: int, config: WorldModelConfig,
        rare: Sequence[int] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.num_outcomes = num_outcomes
        self.rare = tuple(rare)
        self._codec = (codec,)  # a tuple, so that the codec's buffers are saved once, with their owner
        size = 2 * config.latent_dim
        self.reader = ImageReader(codec.parts, codec.size, config.hidden[0])
        self.image_decoders = nn.ModuleList(ConvDecoder(config.hidden[0], shape) for _, shape in self.reader.images)
        parameters = codec.num_parameters - codec.size + self.reader.size
        self.encoder = self._mlp(self.reader.size, size)
        self.transition_flow: Flow | None = None
        context = 0
        if config.transition == "flow":
            from generative.flows.library import real_nvp  # here, because importing its transforms takes a while

            context = config.hidden[-1]
            self.transition_flow = real_nvp(
                config.latent_dim, transforms=COUPLINGS, hidden=config.hidden[-1:], context_features=context
            )
        self.transition_net = self._mlp(config.latent_dim + code_dim, size + context)
        decoded = 2 * num_outcomes if config.outcome_head == "state" else 0
        self.decoder = self._mlp(config.latent_dim, parameters + decoded)
        self.outcome_net: MLP | None = None
        if num_outcomes and not decoded:
            self.outcome_net = self._mlp(config.latent_dim + code_dim, 2 * num_outcomes)

    def _mlp(self, inputs: int, outputs: int) -> MLP:
        c = self.config
        return MLP(inputs, c.hidden, outputs, activation_name=c.activation, dropout=c.dropout)

    @property
    def stackable(self) -> bool:
        """Whether all parameters belong to affine maps, so that several models can be evaluated as one."""
        return not self.reader.images and self.transition_flow is None

    def transition_parameters(self) -> list[nn.Parameter]:
        """θ_s: what predicts the jump."""
        modules = (self.transition_net, self.transition_flow, self.outcome_net)
        return [parameter for module in modules if module is not None for parameter in module.parameters()]

    @property
    def codec(self) -> ObservationCodec:
        """The observation's layout and likelihood."""
        return self._codec[0]

    def encode(self, observation: Tensor) -> Distribution:
        """Q_φs(s | o): normalised observation (..., O) -> diagonal Gaussian over the state (..., S)."""
        return bounded_gaussian(self.encoder(self.reader(observation)), self.config.max_variance)

    def draw_state(self, observation: Tensor, code: Tensor) -> Tensor:
        """Draw s̃_t ~ Q_φs(s | o) for codes of jumps from there, the same for all first actions.

        Observations ([members,] B, O) and codes ([members,] ..., B, P) -> ([members,] ..., B, S).
        """
        state = self.encode(observation).rsample()
        first_actions = (1,) * (code.dim() - state.dim())
        state = state.reshape(*state.shape[:-2], *first_actions, *state.shape[-2:])
        return state.expand(*code.shape[:-1], state.shape[-1])

    def transition(self, state: Tensor, code: Tensor) -> Distribution:
        """P_θs(s_{t+H} | s_t, code): states (..., S) and codes (..., P) -> a distribution over (..., S)."""
        output = self.transition_net(torch.cat([state, code], -1))
        if self.transition_flow is None:
            return bounded_gaussian(output, self.config.max_variance)
        size = 2 * self.config.latent_dim
        base = bounded_gaussian(output[..., :size], self.config.max_variance)
        return FlowedGaussian(base, self.transition_flow, output[..., size:])

    def decode(self, state: Tensor) -> ObservationDistribution:
        """P_θo(o | s): states (..., S) -> the distribution of the observation."""
        return self.observation(self.decoder(state))

    def predict(self, state: Tensor, code: Tensor, next_state: Tensor) -> Prediction:
        """What follows a jump from states (..., S) with codes (..., P) to states (samples, ..., S)."""
        if self.outcome_net is None:
            output = self.decoder(next_state)
            raw = output[..., output.shape[-1] - 2 * self.num_outcomes :]
            return Prediction(lambda: self.observation(output), self._outcomes(raw))
        raw = self.outcome_net(torch.cat([state, code], -1))
        raw = raw.expand(*next_state.shape[:-1], raw.shape[-1])
        return Prediction(lambda: self.decode(next_state), self._outcomes(raw))

    def _outcomes(self, raw: Tensor) -> Distribution | None:
        if not self.num_outcomes:
            return None
        return CountedAndGaussian(raw, self.rare, MIN_SCALE) if self.rare else gaussian(raw, MIN_SCALE)

    def observation(self, output: Tensor) -> ObservationDistribution:
        """Turn the decoder's output (..., parameters) into the distribution of an observation."""
        decoded = 0 if self.outcome_net is not None else 2 * self.num_outcomes
        parameters = output[..., : output.shape[-1] - decoded]
        return self.codec.distribution(self._decode_images(parameters) if self.image_decoders else parameters)

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
