"""The registry, the data, the training loop and the demonstrations built on them."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from generative import registry
from generative.data import DENSITIES, NAMES, Checkerboard, Dataset, dequantise, load, moons
from generative.demo import list_models, train_demo
from generative.names import unknown
from generative.nn import activation
from generative.training import TrainingConfig, evaluate, fit, seeded


@pytest.mark.parametrize("name", sorted(DENSITIES))
def test_true_densities_integrate_to_one_and_their_entropy_is_their_samples(name: str) -> None:
    density = DENSITIES[name]()
    x, labels = density.sample_labelled(20_000, torch.Generator().manual_seed(0))
    step = min(0.08, getattr(density, "noise", 0.08))
    reach = math.ceil(float(x.abs().max() + 3.0 * step) / 0.16) * 0.16
    axis = torch.arange(-reach + 0.5 * step, reach, step, dtype=torch.float64)
    log_p = density.log_prob(torch.cartesian_prod(axis, axis))
    assert float(log_p.exp().sum()) * step**2 == pytest.approx(1.0, abs=1e-3)
    surprise = -density.log_prob(x.double())
    error = max(float(surprise.std()) / len(x) ** 0.5, 1e-6)
    assert abs(float(surprise.mean()) - density.entropy()) < 4.0 * error
    assert set(labels.tolist()) == set(range(density.components))


def test_entropy_of_the_checkerboard_and_of_separate_gaussians() -> None:
    assert Checkerboard().entropy() == pytest.approx(math.log(32.0))
    from generative.data import gaussians

    apart = gaussians(radius=20.0, noise=0.5).entropy()
    assert apart == pytest.approx(math.log(8.0) + math.log(2.0 * math.pi * math.e * 0.25), abs=1e-3)


def test_moons_labels_and_seeds() -> None:
    x, y = moons(0.0001).sample_labelled(500, torch.Generator().manual_seed(0))
    upper = x[y == 0]
    assert torch.allclose(upper.norm(dim=-1), torch.ones(len(upper)), atol=1e-3)
    assert (upper[:, 1] > -0.01).all()
    assert torch.equal(load("moons", seed=3, size=50).train, load("moons", seed=3, size=50).train)
    assert not torch.equal(load("moons", seed=3, size=50).train, load("moons", seed=4, size=50).train)


def test_digits_are_split_as_stated_and_dequantised_within_their_level() -> None:
    data = load("digits")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1000, 350, 447]
    assert data.train.min() == 0.0
    assert data.train.max() == 16.0
    assert torch.equal(load("digits-binary").train, (data.train >= 8).float())
    noisy = dequantise(data.train, torch.Generator().manual_seed(0))
    assert torch.equal(noisy.floor(), data.train)


def test_bad_names_are_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'moon'; did you mean 'moons'\?"):
        load("moon")
    with pytest.raises(ValueError, match=r"'real-nvpp'; did you mean 'real-nvp'\?"):
        registry.entry("real-nvpp")
    with pytest.raises(ValueError, match=r"unknown activation 'rely'; did you mean 'relu'\? Allowed: relu, tanh"):
        activation("rely")
    assert unknown("colour", "x", ["red", "blue"]) == "unknown colour 'x'. Allowed: red, blue"
    with pytest.raises(ValueError, match="pixel-cnn takes binary or levels data of images, not moons"):
        registry.build("pixel-cnn", load("moons", size=10))
    with pytest.raises(ValueError, match="volumetric-vae takes binary data of volumes, not digits-binary"):
        registry.build("volumetric-vae", load("digits-binary"))
    with pytest.raises(ValueError, match="steps is 0"):
        TrainingConfig(steps=0)


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))


def squared(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return (x - model.value).square().mean()


def test_training_finds_the_mean_keeps_the_best_and_leaves_the_generator_alone() -> None:
    x = 3.0 + torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    model = Mean()
    history = fit(model, x, config=TrainingConfig(steps=400, learning_rate=0.05, average=0.9), loss=squared)
    assert float(model.value) == pytest.approx(float(x.mean()), abs=0.05)
    assert torch.equal(before, torch.get_rng_state())

    # A validation that wants 1 keeps the parameters nearest to it and stops early.
    model = Mean()
    config = TrainingConfig(steps=400, learning_rate=0.05, evaluate_every=1, patience=5, schedule="constant")
    history = fit(model, x, config=config, loss=squared, validate=lambda m: abs(float(m.value.detach()) - 1.0))
    assert abs(float(model.value) - 1.0) == pytest.approx(history.best, abs=1e-6)
    assert history.steps[-1] == history.best_step + 5
    assert history.best < 0.05


def test_training_is_the_same_for_the_same_seed() -> None:
    data = load("moons", size=200)
    values = []
    for seed in (0, 0, 1):
        with seeded(0):
            model = registry.build("made", data)
        fit(model, data.train, config=TrainingConfig(steps=20, batch_size=50, seed=seed))
        values.append(evaluate(model, data.validation))
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_a_loss_that_is_not_finite_is_reported() -> None:
    with pytest.raises(FloatingPointError, match="try a smaller learning_rate"):
        fit(
            Mean(),
            torch.zeros(10, 1),
            config=TrainingConfig(steps=2, evaluate_every=1),
            loss=lambda model, x: (model.value * math.nan).sum(),
        )


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 100))
def test_an_epoch_of_minibatches_shows_each_row_at_most_once(count: int, batch: int, seed: int) -> None:
    seen: list[float] = []

    def look(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        seen.extend(x[:, 0].tolist())
        return squared(model, x)

    steps = max(count // min(batch, count), 1)
    fit(
        Mean(),
        torch.arange(float(count)).unsqueeze(-1),
        config=TrainingConfig(steps=steps, batch_size=batch, seed=seed),
        loss=look,
    )
    assert len(seen) == len(set(seen)) == steps * min(batch, count)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("nsf", "moons"),
        ("pixel-cnn", "digits"),
        ("ddpm", "rings"),
        ("volumetric-vae", "voxels"),
        ("infinite-vae", "moons"),
    ],
)
def test_demo_writes_figures_pictures_and_a_model_that_loads(name: str, data: str, tmp_path: Path) -> None:
    demo = train_demo(name, data, tmp_path, steps=3)
    written = {path.name for path in demo.files}
    assert {"figures.json", "model.pt", "loss.png", "samples.png"} <= written
    assert ("density.png" in written) == (name == "nsf")
    assert all(path.stat().st_size > 0 for path in demo.files)
    assert any(path.name.startswith("events") for path in tmp_path.iterdir())
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["nats"] == pytest.approx(demo.nats)
    model = registry.build(name, load(data))
    model.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    if "log_prob" in model().has:
        assert evaluate(model, load(data).validation) == pytest.approx(demo.nats, rel=1e-5)


def outputs(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return what a model says of x and samples of it, as far as it has them, in one row; the same at every call."""
    given = model.eval()()
    with torch.no_grad(), seeded(0):
        parts = [getattr(given, name)(x) for name in ("log_prob", "elbo") if name in given.has]
        parts += [given.sample((3,))] if "sample" in given.has else []
    return torch.cat([part.flatten() for part in parts]) if parts else torch.zeros_like(x)


@lru_cache
def small(name: str, seed: int = 0) -> Dataset:
    """Return a data set of 256 points or volumes, once for all models; the digits as they are."""
    return load(name, seed=seed, size=256)


@pytest.mark.parametrize("name", registry.names())
def test_every_model_trains_by_name_is_saved_and_works_in_float64(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generative.demo.load", small)
    monkeypatch.setattr("generative.demo._pictures", lambda *_: [])  # they take most of the time
    chosen = registry.entry(name)
    data = next(small(each) for each in ("moons", "digits-binary", "digits", "voxels") if chosen.takes(small(each)))
    train_demo(name, data.name, tmp_path, steps=2, tensorboard=False)
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    with seeded(1):
        model, copy = registry.build(name, data), registry.build(name, data)
    model.load_state_dict(saved)
    copy.load_state_dict(saved)
    x = data.validation[:5]
    assert torch.equal(outputs(model, x), outputs(copy, x))
    double = outputs(model.double(), x.double())
    assert double.dtype == torch.float64
    assert bool(torch.isfinite(double).all())


def test_every_listed_model_builds_and_has_what_it_says() -> None:
    rows = list_models()
    assert len(rows) == len({row["model"] for row in rows}) >= 18
    data = {name: load(name, size=64) for name in NAMES}
    for row in rows:
        for name in row["data"].split(", "):
            if name not in ("moons", "digits", "digits-binary", "voxels"):
                continue
            model = registry.build(row["model"], data[name])
            # Levels are dequantised by flows, whose exact density then is a bound.
            assert model().has <= {*row["has"].split(", "), "elbo"}, row["model"]


def test_every_exported_name_is_there() -> None:
    import generative

    for name in generative.__all__:
        assert getattr(generative, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = generative.nothing
