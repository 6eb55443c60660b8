"""The lessons on adversarial training against what theory says of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from generative.lessons import METHODS, compare, generator_slopes, mode_collapse, spiral
from generative.lessons.__main__ import main


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_simultaneous_descent_moves_away_by_the_known_factor(rate: float) -> None:
    radius = spiral("simultaneous", rate, 50).norm(dim=-1)
    growth = math.sqrt(1.0 + rate**2) ** torch.arange(51, dtype=torch.float64)
    torch.testing.assert_close(radius, growth)


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_extragradient_comes_in_by_the_known_factor(rate: float) -> None:
    radius = spiral("extragradient", rate, 50).norm(dim=-1)
    torch.testing.assert_close(radius, (1.0 - rate**2 + rate**4) ** (0.5 * torch.arange(51, dtype=torch.float64)))


def test_alternating_steps_circle() -> None:
    """x² − η x y + y² is kept exactly."""
    path = spiral("alternating", 0.3, 400)
    x, y = path.unbind(-1)
    kept = x.square() - 0.3 * x * y + y.square()
    torch.testing.assert_close(kept, torch.ones_like(kept))
    with pytest.raises(ValueError, match="unknown method 'newton'"):
        spiral("newton")
    assert len(METHODS) == 3


def test_gradients_over_disjoint_supports() -> None:
    """Noise 0.1, 2 apart: saturating 0 in float64, non-saturating θ/s² = 200, Wasserstein 1, Dudley 2 / (2 + 2)."""
    slopes = generator_slopes(torch.tensor([2.0]))
    assert float(slopes["saturating"]) < 1e-12
    assert float(slopes["non-saturating"]) == pytest.approx(200.0, rel=1e-6)
    assert float(slopes["wasserstein"]) == 1.0
    assert float(slopes["dudley"]) == pytest.approx(0.5)


def test_the_saturating_gradient_is_that_of_its_closed_form_where_supports_overlap() -> None:
    """−E_q[σ(l) l'] with l the log density ratio, by Monte Carlo."""
    theta, s = 0.15, 0.1
    x = theta + s * torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_ratio = (0.5 * (x - theta).square() - 0.5 * x.square()) / s**2
    expected = torch.sigmoid(log_ratio) * theta / s**2
    slope = float(generator_slopes(torch.tensor([theta]), s)["saturating"])
    assert slope == pytest.approx(float(expected.mean()), abs=4.0 * float(expected.std()) / math.sqrt(len(x)))


def test_every_figure_is_drawn(tmp_path: Path) -> None:
    figures = main(["--output", str(tmp_path), "--steps", "8"])
    assert [path.name for path in figures] == [
        "spirals.png",
        "vanishing_gradients.png",
        "mode_collapse.png",
        "vae_and_gan.png",
    ]
    assert all(path.stat().st_size > 5000 for path in figures)
    with pytest.raises(ValueError, match="unknown game 'other'"):
        mode_collapse("other")


@pytest.mark.slow
def test_one_game_collapses_and_the_other_does_not(figure: Callable[..., None]) -> None:
    last = {name: mode_collapse(name)[-1].report for name in ("collapsing", "covering")}
    for name, report in last.items():
        figure(name, "ring-8", 0, "modes of 8", float(report.modes))
    assert int(last["covering"].modes) == 8
    assert float(last["covering"].reverse_kl) < 0.5 * float(last["collapsing"].reverse_kl)


@pytest.mark.slow
def test_the_vae_bridges_modes_and_both_are_near_the_data(figure: Callable[..., None]) -> None:
    vae, gan = compare()
    for each in (vae, gan):
        figure(each.name, "8gaussians", 0, "share within 3 deviations of a mode", float(each.report.high_quality))
        figure(each.name, "8gaussians", 0, "energy distance", each.energy_distance)
        assert each.energy_distance < 0.2
    assert vae.nats is not None
    assert gan.nats is None
    assert int(vae.report.modes) == 8
