"""NICE, RealNVP, MAF, IAF, NSF and CNF from zuko's transforms, planar and radial flows from this package's.

zuko's transforms are used, not its distributions: importing it switches off the validation of `torch.distributions` for
the whole process, which `_zuko` puts back. Its splines are the identity outside [−5, 5] (so standardise: outside, the
density is the base's), and sampling an autoregressive flow costs one pass for each variable (use a coupling, or
`passes=2`, in rollouts).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.distributions.transforms import AffineTransform, _InverseTransform

from generative.flows.flow import Flow
from generative.flows.residual import Planar, Radial
from generative.nn import MLP
from generative.protocol import join


def _zuko() -> ModuleType:
    """Import zuko and leave torch's global state as it was."""
    validate = Distribution._validate_args
    constraints = Distribution.__dict__["arg_constraints"]
    name = _InverseTransform.__name__
    try:
        import zuko
    finally:
        Distribution._validate_args = validate
        Distribution.arg_constraints = constraints  # type: ignore[method-assign]
        _InverseTransform.__name__ = name
    return zuko


zuko = _zuko()


class Affine(nn.Module):
    """Learned scale and shift of each variable, z = (x − shift) exp(−log_scale): NICE's diagonal layer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.zeros(features))

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return the transform; the context is not read."""
        return AffineTransform(self.shift, self.log_scale.exp(), event_dim=1).inv


class Continuous(nn.Module):
    """The solution of dx/dt = v(t, x, context) from t = 0 to 1; its log-determinant is ∫ tr ∂v/∂x dt.

    zuko's own module drops the gradients of its parameters in evaluation mode; this one keeps them.
    """

    def __init__(
        self, features: int, hidden: Sequence[int], context_features: int, *, exact: bool, tolerance: float
    ) -> None:
        super().__init__()
        self.velocity = MLP(features + 1 + context_features, hidden, features, activation_name="elu")
        self.exact = exact
        self.tolerance = tolerance

    def forward(self, context: Tensor | None = None) -> Transform:
        """Return the transform given a context (..., context_features)."""

        def v(t: Tensor, x: Tensor) -> Tensor:
            return self.velocity(join(torch.cat([x, t.expand(*x.shape[:-1], 1)], -1), context))

        return zuko.transforms.FreeFormJacobianTransform(
            v,
            0.0,
            1.0,
            phi=(*self.parameters(), *(() if context is None else (context,))),
            atol=self.tolerance,
            rtol=self.tolerance,
            exact=self.exact,
        )


def masks(features: int, image_shape: tuple[int, int, int] | None = None) -> list[Tensor]:
    """Return coupling masks (features,) to cycle through: alternate variables; for images chequers, rows, columns."""
    index = torch.arange(features)
    patterns = [index % 2 == 1]
    if image_shape is not None:
        row, column = index // image_shape[-1], index % image_shape[-1]
        patterns = [(row + column) % 2 == 1, row % 2 == 1, column % 2 == 1, row < image_shape[-2] // 2]
    return [mask for pattern in patterns for mask in (pattern, ~pattern)]


def real_nvp(
    features: int,
    *,
    transforms: int = 8,
    hidden: Sequence[int] = (64, 64),
    context_features: int = 0,
    image_shape: tuple[int, int, int] | None = None,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
) -> Flow:
    """RealNVP (arXiv 1605.08803): affine couplings of scale 0.1 to 10, so that long chains stay finite."""
    return _couplings(features, transforms, hidden, context_features, image_shape, mean, scale, additive=False)


def nice(
    features: int,
    *,
    transforms: int = 8,
    hidden: Sequence[int] = (64, 64),
    context_features: int = 0,
    image_shape: tuple[int, int, int] | None = None,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
) -> Flow:
    """NICE (arXiv 1410.8516): additive couplings, volume-preserving but for a last diagonal layer."""
    return _couplings(features, transforms, hidden, context_features, image_shape, mean, scale, additive=True)


def _couplings(
    features: int,
    transforms: int,
    hidden: Sequence[int],
    context_features: int,
    image_shape: tuple[int, int, int] | None,
    mean: Tensor | None,
    scale: Tensor | None,
    additive: bool,
) -> Flow:
    if features < 2:
        raise ValueError(f"features is {features}; a coupling needs at least 2")
    univariate = (
        {"univariate": zuko.transforms.AdditiveTransform, "shapes": ((),)}
        if additive
        else {"univariate": partial(zuko.transforms.MonotonicAffineTransform, slope=0.1), "shapes": ((), ())}
    )
    cycle = masks(features, image_shape)
    chain: list[nn.Module] = [
        zuko.flows.GeneralCouplingTransform(
            features, context_features, cycle[i % len(cycle)], hidden_features=hidden, activation=nn.ReLU, **univariate
        )
        for i in range(transforms)
    ]
    return Flow(features, [*chain, Affine(features)], mean=mean, scale=scale)


def maf(
    features: int,
    *,
    transforms: int = 5,
    hidden: Sequence[int] = (64, 64),
    context_features: int = 0,
    passes: int | None = None,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
) -> Flow:
    """Masked autoregressive flow (arXiv 1705.07057); `passes=2` makes it a coupling with cheap samples."""
    chain = _autoregressive(features, transforms, hidden, context_features, passes)
    return Flow(features, chain, mean=mean, scale=scale)


def iaf(
    features: int,
    *,
    transforms: int = 4,
    hidden: Sequence[int] = (64, 64),
    context_features: int = 0,
) -> Flow:
    """Inverse autoregressive flow (arXiv 1606.04934): the same transforms from noise to data, so that samples and their

    density (`rsample_and_log_prob`, with the encoder's Gaussian as `base`) take one pass: a posterior for a VAE.
    """
    return Flow(features, _autoregressive(features, transforms, hidden, context_features, None), generative=True)


def nsf(
    features: int,
    *,
    transforms: int = 3,
    bins: int = 8,
    hidden: Sequence[int] = (64, 64),
    context_features: int = 0,
    passes: int | None = None,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
) -> Flow:
    """Neural spline flow (arXiv 1906.04032): rational-quadratic splines on [−5, 5], the identity outside."""
    univariate = partial(zuko.transforms.MonotonicRQSTransform, slope=1e-3)
    shapes = [(bins,), (bins,), (bins - 1,)]
    chain = _autoregressive(
        features, transforms, hidden, context_features, passes, univariate=univariate, shapes=shapes
    )
    return Flow(features, chain, mean=mean, scale=scale)


def _autoregressive(
    features: int,
    transforms: int,
    hidden: Sequence[int],
    context_features: int,
    passes: int | None,
    **univariate: Any,
) -> list[nn.Module]:
    order = torch.arange(features)
    return [
        zuko.flows.MaskedAutoregressiveTransform(
            features,
            context_features,
            passes=passes,
            order=order.flip(0) if i % 2 else order,
            hidden_features=hidden,
            activation=nn.ReLU,
            **univariate,
        )
        for i in range(transforms)
    ]


def cnf(
    features: int,
    *,
    hidden: Sequence[int] = (64, 64),
    context_features: int = 0,
    exact: bool = True,
    tolerance: float = 1e-5,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
) -> Flow:
    """Continuous flow (FFJORD, arXiv 1810.01367) by an adaptive solver; `exact` takes the Jacobian's whole trace."""
    transform = Continuous(features, hidden, context_features, exact=exact, tolerance=tolerance)
    return Flow(features, [transform], mean=mean, scale=scale)


def planar(
    features: int,
    *,
    transforms: int = 16,
    context_features: int = 0,
    generative: bool = False,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
) -> Flow:
    """A chain of planar flows; `generative=True` for a posterior (`rsample_and_log_prob`)."""
    chain = [Planar(features, context_features) for _ in range(transforms)]
    return Flow(features, [*chain, Affine(features)], generative=generative, mean=mean, scale=scale)


def radial(
    features: int,
    *,
    transforms: int = 16,
    context_features: int = 0,
    generative: bool = False,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
) -> Flow:
    """A chain of radial flows; `generative=True` for a posterior (`rsample_and_log_prob`)."""
    chain = [Radial(features, context_features) for _ in range(transforms)]
    return Flow(features, [*chain, Affine(features)], generative=generative, mean=mean, scale=scale)
