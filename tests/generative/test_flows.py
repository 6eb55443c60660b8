"""Flows: inverse, log-determinant against autograd, integral, context, save and load, and zuko's global state."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from generative.data import load
from generative.flows import (
    Dequantised,
    Flow,
    PlanarTransform,
    RadialTransform,
    cnf,
    iaf,
    maf,
    masks,
    nice,
    nsf,
    planar,
    radial,
    real_nvp,
    to_logits,
)
from generative.training import seeded

FLOWS: dict[str, Callable[..., Flow]] = {
    "nice": nice,
    "real-nvp": real_nvp,
    "maf": maf,
    "maf, 2 passes": lambda features, **k: maf(features, passes=2, **k),
    "iaf": lambda features, **k: iaf(features, **{n: v for n, v in k.items() if n not in ("mean", "scale")}),
    "nsf": nsf,
    "cnf": lambda features, **k: cnf(features, hidden=(16,), tolerance=1e-7, **k),
    "planar": planar,
    "radial": radial,
}
ALL = sorted(FLOWS)


def make(name: str, features: int = 3, context_features: int = 0, seed: int = 0) -> Flow:
    """A flow in float64 with parameters well away from the identity and a standardisation."""
    standardisation = {
        "mean": torch.linspace(-1.0, 1.0, features),
        "scale": torch.linspace(0.5, 2.0, features),
    }
    with seeded(seed):
        flow = FLOWS[name](features, context_features=context_features, **standardisation).double().eval()
        for parameter in flow.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return flow


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("context_features", [0, 2])
@pytest.mark.parametrize("name", ALL)
def test_inverse_and_log_determinant(name: str, context_features: int) -> None:
    flow = make(name, 3, context_features)
    context = draw(4, 2, seed=3) if context_features else None
    x = draw(4, 3)
    forward, back = (flow.to_data, flow.to_noise) if flow.generative else (flow.to_noise, flow.to_data)
    with torch.no_grad():
        z, log_det = forward(x, context)
        again, negative = back(z, context)
    tolerance = 1e-4 if name == "cnf" else 1e-9
    assert torch.allclose(again, x, atol=tolerance)
    assert torch.allclose(negative, -log_det, atol=tolerance * 10)
    for row in range(4):
        one = None if context is None else context[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v, c=one: forward(v[None], c)[0][0], x[row])
        assert float(log_det[row]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=tolerance)


@pytest.mark.parametrize("name", ALL)
def test_integrates_to_one(name: str) -> None:
    flow = make(name, 2)
    with torch.no_grad(), seeded(0):
        x = flow.sample((500,))
        low, high = x.amin(0) - 3.0 * x.std(0), x.amax(0) + 3.0 * x.std(0)
        axes = [torch.linspace(float(low[i]), float(high[i]), 401, dtype=torch.float64) for i in range(2)]
        log_p = torch.cat([flow.log_prob(part) for part in torch.cartesian_prod(*axes).split(50_000)])
    cell = float(axes[0][1] - axes[0][0]) * float(axes[1][1] - axes[1][0])
    assert float(log_p.exp().sum()) * cell == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("name", [name for name in ALL if name != "planar"])
def test_pathwise_samples_carry_their_density(name: str) -> None:
    flow = make(name, 3, 2)
    context = draw(5, 2, seed=1)
    with seeded(0):
        x, log_q = flow.rsample_and_log_prob((4,), context)
    assert x.shape == (4, 5, 3)
    assert torch.allclose(flow.log_prob(x, context), log_q, atol=1e-3 if name == "cnf" else 1e-8)
    first = next(parameter for parameter in flow.parameters() if parameter.requires_grad)
    x.square().sum().backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()


@pytest.mark.parametrize("make_flow", [planar, radial, iaf])
def test_posterior_flow_on_the_encoders_gaussian(make_flow: Callable[..., Flow]) -> None:
    """q_K = q_0 / |det|: the density of a flow's sample from another base, against the inverse map."""
    generative = {} if make_flow is iaf else {"generative": True}
    with seeded(0):
        flow = make_flow(2, context_features=3, **generative).double()
        base = torch.distributions.Independent(torch.distributions.Normal(draw(5, 2), draw(5, 2).exp()), 1)
        x, log_q = flow.rsample_and_log_prob((7,), draw(5, 3), base)
    with torch.no_grad():
        z, log_det = flow.to_noise(x, draw(5, 3))
    assert x.shape == (7, 5, 2)
    assert torch.allclose(log_q, base.log_prob(z) + log_det, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(0.1, 20.0))
def test_planar_and_radial_invert_for_any_parameters(seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    u, w, z = (size * torch.randn(6, 4, dtype=torch.float64, generator=generator) for _ in range(3))
    b, alpha, beta = (size * torch.randn(6, dtype=torch.float64, generator=generator) for _ in range(3))
    for transform in (PlanarTransform(u, w, b), RadialTransform(u, alpha, beta)):
        y, log_det = transform.call_and_ladj(z)
        # Where the map contracts by e^−k, its inverse expands the rounding error by e^k.
        keep = log_det > -14.0
        assert torch.allclose(transform.inv(y)[keep], z[keep], atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_flow_is_the_same(name: str) -> None:
    first, second = make(name, 3, seed=0), make(name, 3, seed=1)
    x = draw(5, 3)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.equal(first.log_prob(x), second.log_prob(x))


def test_splines_are_the_identity_outside_their_box() -> None:
    flow = nsf(2).double()
    far = torch.tensor([[7.0, -8.0]], dtype=torch.float64)
    assert torch.equal(flow.to_noise(far)[0], far)


def test_nice_is_volume_preserving_but_for_its_last_layer() -> None:
    flow = nice(4, mean=torch.zeros(4), scale=torch.ones(4)).double()
    _, log_det = flow.to_noise(draw(6, 4))
    assert torch.allclose(log_det, (-flow.transforms[-1].log_scale.sum()).expand(6))


def test_every_variable_is_moved_by_some_mask() -> None:
    for mask in masks(64, (1, 8, 8)):
        assert 0 < int(mask.sum()) < 64
    assert torch.stack(masks(5)).any(0).all()


def test_dequantised_bound_is_below_the_exact_mass_and_tight_for_a_uniform_cell() -> None:
    """D = 1 pixel pair: Σ_x exp(bound) ≤ 1, and P(x) by quadrature over the cell is at least the bound."""
    with seeded(0):
        model = Dequantised(real_nvp(2, transforms=2, hidden=(8,)), 3).double()
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    cells = torch.cartesian_prod(*[torch.arange(3, dtype=torch.float64)] * 2)
    offsets = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    grid = torch.cartesian_prod(offsets, offsets)
    with torch.no_grad(), seeded(1):
        logits, log_det = to_logits(cells[:, None] + grid, 3, model.alpha)
        log_density = model.flow.log_prob(logits) + log_det
        exact = log_density.exp().mean(1).log()
        draws = torch.stack([model.elbo(cells) for _ in range(2000)])
    error = draws.std(0) / len(draws) ** 0.5
    assert float(exact.exp().sum()) < 1.0
    assert (draws.mean(0) < exact + 3.0 * error).all()
    assert ((draws.mean(0) - log_density.mean(1)).abs() < 4.0 * error).all()
    with seeded(0):
        sampled = model().sample((50,))
    assert set(sampled.unique().tolist()) <= {0.0, 1.0, 2.0}


def test_importing_leaves_torchs_global_state_as_it_was() -> None:
    code = """
import torch
from torch.distributions import Distribution, Normal
from torch.distributions.transforms import _InverseTransform
rng = torch.get_rng_state()
before = (Distribution._validate_args, Distribution.__dict__["arg_constraints"], _InverseTransform.__name__,
          torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
import generative, generative.flows, generative.registry
generative.registry.entries()
after = (Distribution._validate_args, Distribution.__dict__["arg_constraints"], _InverseTransform.__name__,
         torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
assert before == after, (before, after)
assert torch.equal(rng, torch.get_rng_state())
try:
    Normal(0.0, -1.0)
except ValueError:
    print("validated")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "validated", done.stderr


def test_a_flow_works_while_torch_validates() -> None:
    data = load("moons", size=100)
    assert torch.distributions.Distribution._validate_args
    flow = nsf(2, mean=data.train.mean(0), scale=data.train.std(0))
    assert torch.isfinite(flow().log_prob(data.train)).all()
    assert flow().sample((3,)).shape == (3, 2)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="features is 1"):
        real_nvp(1)
    with pytest.raises(ValueError, match="every entry must be positive"):
        nsf(2, mean=torch.zeros(2), scale=torch.tensor([1.0, 0.0]))
