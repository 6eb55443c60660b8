"""Volumetric autoencoder: shapes with a known volume, its networks, and the overlap of what it reconstructs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from generative.data import voxel_shapes
from generative.training import TrainingConfig, fit, seeded
from generative.vae import VAEConfig
from generative.vae.volumetric import intersection_over_union, volumetric_vae


def test_boxes_and_balls_have_their_expected_volumes() -> None:
    """Half-extents a ~ U(6, 9.6) on a grid of 24: E[(2a)³] of three independent sides, and 4/3 π E[a³] of a ball."""
    volumes, labels = voxel_shapes(300, torch.Generator().manual_seed(0), size=24)
    low, high = 6.0, 9.6
    ball = 4.0 / 3.0 * math.pi * (high**4 - low**4) / (4.0 * (high - low))
    for label, expected in ((0, (low + high) ** 3), (1, ball)):
        counts = volumes[labels == label].sum(-1)
        error = float(counts.std()) / len(counts) ** 0.5
        assert float(counts.mean()) == pytest.approx(expected, abs=4 * error)
    assert set(volumes.unique().tolist()) == {0.0, 1.0}


def test_overlap_by_hand() -> None:
    a = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    b = torch.tensor([[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(intersection_over_union(a, b), torch.tensor([0.25, 1.0]))


@pytest.mark.parametrize("shape", [(4, 4, 4), (3, 5, 6)])
@pytest.mark.parametrize("context_features", [0, 2])
def test_any_shape_has_a_bound_samples_and_gradients(shape: tuple[int, int, int], context_features: int) -> None:
    torch.manual_seed(0)
    model = volumetric_vae(shape, VAEConfig(latent_dim=3, context_features=context_features), width=8, channels=(4, 6))
    x = (torch.rand(2, 5, math.prod(shape)) < 0.5).float()
    context = torch.randn(2, 5, 2) if context_features else None
    model(context).elbo(x).sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
    assert model.reconstruct(x, context).shape == x.shape
    sample = model(context).sample((7,))
    assert sample.shape == (7, *(context.shape[:-1] if context is not None else ()), math.prod(shape))
    torch.testing.assert_close(
        model.posterior(x, context).mean[1, 2],
        model.posterior(x[1, 2], None if context is None else context[1, 2]).mean,
    )


@pytest.mark.slow
def test_reconstructions_of_unseen_shapes_overlap(figure: Callable[..., None]) -> None:
    with seeded(0):
        model = volumetric_vae((8, 8, 8), VAEConfig(latent_dim=12))
    config = TrainingConfig(steps=1500, batch_size=64, learning_rate=3e-3, average=0.99, evaluate_every=1500)
    fit(model, lambda count, generator: voxel_shapes(count, generator)[:1], config=config)
    x, _ = voxel_shapes(1000, torch.Generator().manual_seed(1))
    with torch.no_grad():
        overlap = float(intersection_over_union(model.reconstruct(x), x).mean())
    figure("volumetric-vae", "boxes and balls, 8 x 8 x 8 voxels", 0, "IoU of unseen shapes", overlap, 0.9)
    assert overlap > 0.9
