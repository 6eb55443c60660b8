"""DRAW: an autoencoder that draws an image in T steps on a canvas.

    z_t ~ q(z_t | x, z_<t),   h_t = RNN(h_{t−1}, z_t),   c_t = c_{t−1} + write(h_t),   p(x | c_T)

Sources: Gregor et al., arXiv 1502.04623 (whole images or a window of attention, prior N(0, I)); its convolutional
form with a learned prior p(z_t | h_{t−1}): Gregor et al., arXiv 1604.08772.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Independent, kl_divergence

from generative.distributions import Head, gaussian, standard_normal
from generative.objectives import Terms
from generative.protocol import Given, leading_shape
from generative.vae.likelihood import Likelihood


@dataclass(frozen=True)
class DRAWConfig:
    """Settings of DRAW."""

    steps: int = 4
    """T, the number of strokes."""
    latent_dim: int = 8
    """Latent variables of one step; for the convolutional form, channels of the latent map."""
    hidden: int = 64
    """Units of encoder and decoder; for the convolutional form, their channels."""
    attention: int = 0
    """Side N of the window read and written at each step, in points; 0 for the whole image."""
    convolutional: bool = False
    """Whether states and latents are maps of half the image's height and width."""
    context_features: int = 0
    """Size of the context, which sets the decoder's first output; 0 for an unconditional model."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        for name in ("steps", "latent_dim", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.attention < 0 or self.attention == 1:
            raise ValueError(f"attention is {self.attention}; it must be 0 for none, or at least 2 points a side")
        if self.attention and self.convolutional:
            raise ValueError("attention and convolutional exclude each other")


def filterbank(centre: Tensor, stride: Tensor, variance: Tensor, points: int, size: int) -> Tensor:
    """Return N Gaussian filters along one axis of `size` pixels; centre, stride, variance (n,) -> (n, points, size).

    Filter i is centred at μ_i = centre + (i − (N − 1)/2) stride, in pixels counted from 0, and sums to 1
    (arXiv 1502.04623, equations 19 to 26).
    """
    offset = torch.arange(points, dtype=centre.dtype, device=centre.device) - 0.5 * (points - 1)
    mean = centre.unsqueeze(-1) + offset * stride.unsqueeze(-1)
    pixels = torch.arange(size, dtype=centre.dtype, device=centre.device)
    exponent = -0.5 * (pixels - mean.unsqueeze(-1)).square() / variance.reshape(-1, 1, 1)
    return torch.softmax(exponent, -1)


class Window(NamedTuple):
    """A grid of N x N Gaussian filters on an image."""

    rows: Tensor
    """Filters along the height, (n, N, height)."""
    columns: Tensor
    """Filters along the width, (n, N, width)."""
    intensity: Tensor
    """γ > 0, (n,)."""

    def read(self, images: Tensor) -> Tensor:
        """Return γ F_Y x F_Xᵀ, (n, channels, height, width) -> (n, channels, N, N)."""
        patch = self.rows.unsqueeze(1) @ images @ self.columns.unsqueeze(1).transpose(-1, -2)
        return self.intensity.reshape(-1, 1, 1, 1) * patch

    def write(self, patches: Tensor) -> Tensor:
        """Return F_Yᵀ w F_X / γ, (n, channels, N, N) -> (n, channels, height, width)."""
        image = self.rows.unsqueeze(1).transpose(-1, -2) @ patches @ self.columns.unsqueeze(1)
        return image / self.intensity.reshape(-1, 1, 1, 1)


def window(parameters: Tensor, points: int, height: int, width: int) -> Window:
    """Turn (g̃_Y, g̃_X, log σ², log δ̃, log γ), (n, 5), into a window; zeros give one that spans the image."""
    row, column, log_variance, log_stride, log_intensity = parameters.unbind(-1)
    stride = (max(height, width) - 1) / (points - 1) * log_stride.exp()
    variance = log_variance.exp()
    rows = filterbank(0.5 * (height + 1) * (row + 1.0) - 1.0, stride, variance, points, height)
    columns = filterbank(0.5 * (width + 1) * (column + 1.0) - 1.0, stride, variance, points, width)
    return Window(rows, columns, log_intensity.exp())


class State(NamedTuple):
    """Outputs and cells of the two recurrent networks."""

    encoder: tuple[Tensor, Tensor]
    decoder: tuple[Tensor, Tensor]


class DenseCore(nn.Module):
    """Recurrent networks of vectors, which see and draw the whole image or a window of it."""

    def __init__(self, channels: int, height: int, width: int, config: DRAWConfig) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, (height, width), channels
        side = (config.attention, config.attention) if config.attention else (height, width)
        self.side = side
        self.encoder = nn.LSTMCell(2 * side[0] * side[1] + config.hidden, config.hidden)
        self.decoder = nn.LSTMCell(config.latent_dim, config.hidden)
        self.posterior = Head(config.hidden, 2 * config.latent_dim, gaussian)
        self.stroke = nn.Linear(config.hidden, channels * side[0] * side[1])
        if config.attention:
            self.reading, self.writing = nn.Linear(config.hidden, 5), nn.Linear(config.hidden, 5)

    def start(self, count: int) -> State:
        """Return the states before the first step."""
        zeros = self.stroke.weight.new_zeros(count, self.config.hidden)
        return State((zeros, zeros), (zeros, zeros))

    def prior(self, state: State) -> Independent:
        """Return p(z_t) = N(0, I), event (latent_dim,)."""
        return standard_normal(state.decoder[0][..., :1].expand(-1, self.config.latent_dim))

    def infer(self, state: State, image: Tensor, error: Tensor) -> tuple[State, Independent]:
        """Return the state with the encoder advanced, and q(z_t | x, z_<t); image and error (n, 1, height, width)."""
        seen = torch.cat([image, error], 1)
        if self.config.attention:
            seen = window(self.reading(state.decoder[0]), self.config.attention, *self.size).read(seen)
        encoder = self.encoder(torch.cat([seen.flatten(1), state.decoder[0]], -1), state.encoder)
        return state._replace(encoder=encoder), self.posterior(encoder[0])

    def advance(self, state: State, z: Tensor) -> State:
        """Return the state with the decoder advanced by z (n, latent_dim)."""
        return state._replace(decoder=self.decoder(z, state.decoder))

    def write(self, state: State) -> Tensor:
        """Return what is added to the canvas, (n, channels, height, width)."""
        drawn = self.stroke(state.decoder[0]).unflatten(-1, (self.channels, *self.side))
        if not self.config.attention:
            return drawn
        return window(self.writing(state.decoder[0]), self.config.attention, *self.size).write(drawn)


class ConvLSTMCell(nn.Module):
    """LSTM of maps: every gate is a 3 x 3 convolution of the input and the output before (Shi et al., 1506.04214)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(in_channels + channels, 4 * channels, 3, padding=1)

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(n, in_channels, h, w), ((n, channels, h, w), cell) -> the new output and cell."""
        i, f, o, g = self.gates(torch.cat([inputs, state[0]], 1)).chunk(4, 1)
        cell = torch.sigmoid(f + 1.0) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


class ConvCore(nn.Module):
    """Recurrent networks of maps of half the image's size, with a learned prior p(z_t | h_{t−1})."""

    def __init__(self, channels: int, height: int, width: int, config: DRAWConfig) -> None:
        super().__init__()
        hidden, latent = config.hidden, config.latent_dim
        self.config, self.size = config, (height, width)
        self.grid = ((height + 1) // 2, (width + 1) // 2)
        self.read = nn.Conv2d(2, hidden, 3, stride=2, padding=1)
        self.encoder = ConvLSTMCell(2 * hidden, hidden)
        self.decoder = ConvLSTMCell(latent, hidden)
        self.posterior = nn.Conv2d(hidden, 2 * latent, 3, padding=1)
        self.expected = nn.Conv2d(hidden, 2 * latent, 3, padding=1)
        self.stroke = nn.ConvTranspose2d(hidden, channels, 4, stride=2, padding=1)

    def start(self, count: int) -> State:
        """Return the states before the first step."""
        zeros = self.stroke.weight.new_zeros(count, self.config.hidden, *self.grid)
        return State((zeros, zeros), (zeros, zeros))

    def prior(self, state: State) -> Independent:
        """Return p(z_t | h_{t−1}), event (latent_dim h w,)."""
        return gaussian(self.expected(state.decoder[0]).flatten(1))

    def infer(self, state: State, image: Tensor, error: Tensor) -> tuple[State, Independent]:
        """Return the state with the encoder advanced, and q(z_t | x, z_<t); image and error (n, 1, height, width)."""
        seen = torch.relu(self.read(torch.cat([image, error], 1)))
        encoder = self.encoder(torch.cat([seen, state.decoder[0]], 1), state.encoder)
        return state._replace(encoder=encoder), gaussian(self.posterior(encoder[0]).flatten(1))

    def advance(self, state: State, z: Tensor) -> State:
        """Return the state with the decoder advanced by z (n, latent_dim h w)."""
        return state._replace(decoder=self.decoder(z.unflatten(-1, (-1, *self.grid)), state.decoder))

    def write(self, state: State) -> Tensor:
        """Return what is added to the canvas, (n, channels, height, width)."""
        return self.stroke(state.decoder[0])[..., : self.size[0], : self.size[1]]


class DRAW(nn.Module):
    """Deep recurrent attentive writer over images of one channel, flattened to (..., pixels).

    Args:
        likelihood: `bernoulli` or `levels` with `in_features` None; the canvas holds its parameters.
        image_shape: (1, height, width).
        config: the settings.
    """

    has = frozenset({"elbo", "sample"})

    def __init__(self, likelihood: Likelihood, image_shape: tuple[int, int, int], config: DRAWConfig) -> None:
        super().__init__()
        depth, height, width = image_shape
        if depth != 1:
            raise ValueError(f"image_shape is {image_shape}; only one channel is allowed, not {depth}")
        if likelihood.name not in ("bernoulli", "levels") or not isinstance(likelihood.affine, nn.Identity):
            raise ValueError("the likelihood must be 'bernoulli' or 'levels' with in_features None")
        self.likelihood, self.config, self.shape = likelihood, config, (height, width)
        core = ConvCore if config.convolutional else DenseCore
        self.core: Any = core(likelihood.each, height, width, config)
        self.canvas = nn.Parameter(torch.zeros(likelihood.each, height, width))
        self.begin: nn.Linear | None = None
        if config.context_features:
            self.begin = nn.Linear(config.context_features, self.core.start(1).decoder[0].numel())
        if likelihood.name == "levels":  # means spread over the range, so that the components are not alike
            count = likelihood.components
            with torch.no_grad():
                self.canvas[count : 2 * count] = torch.linspace(-1.0, 1.0, count + 2)[1:-1].reshape(-1, 1, 1)

    def forward(self, context: Tensor | None = None) -> Given:
        """Return p(x) or p(x | context), which has an `elbo` and a `sample`."""
        return Given(self, context)

    def observe(self, canvas: Tensor) -> Any:
        """Return p(x | canvas), (n, parameters, height, width) -> batch shape (n,), event (pixels,)."""
        return self.likelihood(canvas.movedim(1, -1).flatten(1))

    def terms(self, x: Tensor, context: Tensor | None = None) -> Terms:
        """Draw z_1 … z_T once; each step's KL is in closed form given those before, and `kl_units` lists the steps."""
        rows = x.reshape(-1, x.shape[-1])
        image = self.likelihood.standardise(rows)
        state = self._start(x.shape[:-1], context)
        canvas = self.canvas.expand(len(rows), *self.canvas.shape)
        log_p, log_q, units = [], [], []
        for _ in range(self.config.steps):
            error = image - self.likelihood.standardise(self.observe(canvas).mean)
            prior = self.core.prior(state)
            state, q = self.core.infer(state, self._picture(image), self._picture(error))
            z = q.rsample()
            log_p.append(prior.log_prob(z))
            log_q.append(q.log_prob(z))
            units.append(kl_divergence(q.base_dist, prior.base_dist))
            state = self.core.advance(state, z)
            canvas = canvas + self.core.write(state)
        shape = x.shape[:-1]
        log_likelihood = self.observe(canvas).log_prob(rows).reshape(shape)
        sums = [torch.stack(each).sum(0).reshape(shape) for each in (log_p, log_q, [unit.sum(-1) for unit in units])]
        return Terms(log_likelihood, sums[0], sums[1], sums[2], tuple(unit.reshape(*shape, -1) for unit in units))

    def elbo(self, x: Tensor, context: Tensor | None = None, beta: float = 1.0) -> Tensor:
        """One-sample E_q log p(x | c_T) − β Σ_t KL_t in nats, (..., D) -> (...)."""
        return self.terms(x, context).elbo(beta)

    @torch.no_grad()
    def canvases(self, count: int, context: Tensor | None = None) -> list[Tensor]:
        """Draw `count` images from the prior, of a context (count, C) each where the model takes one.

        The canvas after each step is returned, T of (count, parameters, h, w).
        """
        state = self._start(torch.Size((count,)), context)
        canvas, drawn = self.canvas.expand(count, *self.canvas.shape), []
        for _ in range(self.config.steps):
            state = self.core.advance(state, self.core.prior(state).sample())
            canvas = canvas + self.core.write(state)
            drawn.append(canvas)
        return drawn

    def sample(self, sample_shape: tuple[int, ...] | torch.Size = (), context: Tensor | None = None) -> Tensor:
        """Return samples (*sample_shape, ..., pixels)."""
        shape = leading_shape(sample_shape, context)
        given = None if context is None else context.expand(*shape, -1).reshape(-1, context.shape[-1])
        return self.observe(self.canvases(shape.numel(), given)[-1]).sample().reshape(*shape, -1)

    def _start(self, shape: torch.Size, context: Tensor | None) -> State:
        """Return the states before the first step; a context (..., C) sets the decoder's output, which all see."""
        wanted, given = self.config.context_features, 0 if context is None else context.shape[-1]
        if given != wanted:
            raise ValueError(f"the context has {given} features; this model takes {wanted}")
        state: State = self.core.start(shape.numel())
        if self.begin is None or context is None:
            return state
        output, cell = state.decoder
        first = torch.tanh(self.begin(context.expand(*shape, -1))).reshape(output.shape)
        return state._replace(decoder=(first, cell))

    def _picture(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (1, *self.shape))
