"""Trained games against the design's bars, five seeds side by side where the model allows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from generative import registry
from generative.adversarial import (
    GameConfig,
    SideBySide,
    matched_accuracy,
    play,
    turned,
    two_domains,
)
from generative.data import Dataset, load, rings
from generative.divergences import energy_distance
from generative.training import Source, batches, fit, seeded
from generative.vae import semi_supervised_batches

pytestmark = pytest.mark.slow
SEEDS = range(5)
Figure = Callable[..., None]


def trained(
    build: Callable[[Dataset], nn.Module], data: Dataset, source: Source, config: GameConfig
) -> list[nn.Module]:
    """Train one game for each seed, all at once, each on its own minibatches of the same source."""
    games = []
    for seed in SEEDS:
        with seeded(seed):
            games.append(build(data))
    together = SideBySide(games)

    batch = batches(source, config.batch_size)

    def drawn(count: int, generator: torch.Generator) -> list[Tensor]:
        each = [batch(generator) for _ in SEEDS]
        return [torch.cat(parts) for parts in zip(*each, strict=True)]

    play(together, drawn, config=replace(config, clip_norm=math.inf))
    return [together.game(k) for k in range(len(SEEDS))]


SHORT = GameConfig(steps=800, batch_size=128, learning_rate=2e-3, critic_learning_rate=2e-3, schedule="cosine")


@pytest.fixture(scope="module")
def mixture() -> Dataset:
    return load("8gaussians", size=5000)


def nearest_mode(x: Tensor, data: Dataset) -> Tensor:
    return torch.cdist(x, data.density.modes).argmin(-1)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["conditional-gan", "ac-gan"])
def test_samples_of_a_class_lie_in_its_mode(name: str, mixture: Dataset, figure: Figure) -> None:
    chosen = registry.entry(name)
    config = replace(SHORT, steps=1500)
    models = trained(chosen.build, mixture, [mixture.train, mixture.labels["train"]], config)
    labels = torch.arange(8).repeat(250)
    accuracies = []
    for seed, model in zip(SEEDS, models, strict=True):
        with seeded(seed):
            samples = model(nn.functional.one_hot(labels, 8).float()).sample()
        accuracies.append(float((nearest_mode(samples, mixture) == labels).float().mean()))
        figure(name, "8gaussians", seed, "conditional accuracy", accuracies[-1], 0.95)
    assert min(accuracies) >= 0.95


def test_semi_supervised_gan_classifies_from_five_labels_a_class(mixture: Dataset, figure: Figure) -> None:
    models = trained(registry.entry("semi-supervised-gan").build, mixture, semi_supervised_batches(mixture), SHORT)
    for seed, model in zip(SEEDS, models, strict=True):
        predicted = model.class_logits(mixture.test).argmax(-1)
        accuracy = float((predicted == mixture.labels["test"]).float().mean())
        figure("semi-supervised-gan", "8gaussians", seed, "accuracy from 40 labels", accuracy, 0.95)
        assert accuracy >= 0.95


def test_infogans_code_is_recovered(mixture: Dataset, figure: Figure) -> None:
    models = trained(registry.entry("infogan").build, mixture, [mixture.train], SHORT)
    codes = torch.arange(8).repeat(250)
    for seed, model in zip(SEEDS, models, strict=True):
        with seeded(seed), torch.no_grad():
            samples = model(nn.functional.one_hot(codes, 8).float()).sample()
            accuracy = float((model.code_logits(samples).argmax(-1) == codes).float().mean())
            bound = float(model.information(samples, codes))
        figure("infogan", "8gaussians", seed, "code recovered", accuracy, 0.95)
        assert accuracy >= 0.95
        assert 0.8 * math.log(8.0) < bound <= math.log(8.0)


def test_bigan_reconstructs_better_than_permuted_pairs(mixture: Dataset, figure: Figure) -> None:
    models = trained(registry.entry("bigan").build, mixture, [mixture.train], SHORT)
    x = mixture.test[:2000]
    ratios = []
    for seed, model in zip(SEEDS, models, strict=True):
        with torch.no_grad():
            rebuilt = model.reconstruct(x)
        paired = float((rebuilt - x).norm(dim=-1).mean())
        permuted = float((rebuilt - x.roll(1, 0)).norm(dim=-1).mean())
        ratios.append(paired / permuted)
        figure("bigan", "8gaussians", seed, "reconstruction error over permuted", ratios[-1], 1.0)
    assert max(ratios) < 1.0


@pytest.fixture(scope="module")
def two_circles() -> Dataset:
    density = rings((0.5, 1.0), 0.05)
    draws = torch.Generator().manual_seed(0)
    (x, a), (y, b) = density.sample_labelled(4000, draws), density.sample_labelled(2000, draws)
    return Dataset("rings", "real", x, y, y, {"train": a, "validation": b, "test": b}, 2, density)


def test_catgan_tells_two_circles_apart_and_k_means_does_not(two_circles: Dataset, figure: Figure) -> None:
    from sklearn.cluster import KMeans

    clusters = torch.tensor(KMeans(2, n_init=3, random_state=0).fit_predict(two_circles.test.numpy()))
    assert matched_accuracy(clusters, two_circles.labels["test"]) == pytest.approx(0.5, abs=0.06)
    chosen = registry.entry("catgan")
    models = trained(chosen.build, two_circles, [two_circles.train], cast(GameConfig, chosen.training))
    accuracies = []
    for seed, model in zip(SEEDS, models, strict=True):
        with torch.no_grad():
            p = model.class_logits(two_circles.test).softmax(-1)
        accuracies.append(matched_accuracy(p.argmax(-1), two_circles.labels["test"]))
        figure("catgan", "two circles", seed, "accuracy without labels", accuracies[-1], 0.95)
        figure("catgan", "two circles", seed, "mean probability of the chosen class", float(p.amax(-1).mean()))
    assert min(accuracies) >= 0.95


def test_rim_uses_both_classes_and_is_sure(two_circles: Dataset, figure: Figure) -> None:
    """Without a generator nothing asks for circles: RIM halves the data evenly and surely, anywhere."""
    chosen = registry.entry("rim")
    with seeded(0):
        model = chosen.build(two_circles)
    fit(model, two_circles.train, config=chosen.training, loss=chosen.loss)
    with torch.no_grad():
        p = model.class_logits(two_circles.test).softmax(-1)
    assert float(p.mean(0).min()) > 0.45
    assert float(p.max(-1).values.mean()) > 0.95
    predicted = p.argmax(-1)
    figure("rim", "two circles", 0, "accuracy", matched_accuracy(predicted, two_circles.labels["test"]))


@pytest.mark.parametrize("name", ["cyclegan", "vae-gan"])
def test_translation_of_turned_moons(name: str, figure: Figure) -> None:
    """Unpaired moons and moons turned by 45°: the translation of a is near its own turned point."""
    data = load("moons", size=5000)
    models = trained(registry.entry(name).build, data, two_domains(data), SHORT)
    a = data.test[:2000]
    b = turned(a, data)
    bar = 0.5 if name == "cyclegan" else 1.0
    ratios = []
    for seed, model in zip(SEEDS, models, strict=True):
        with torch.no_grad():
            translated = model.to_b(a) if name == "cyclegan" else model.translate(a, 0, 1)
        paired = float((translated - b).norm(dim=-1).mean())
        shuffled = float((translated - b.roll(1, 0)).norm(dim=-1).mean())
        ratios.append(paired / shuffled)
        figure(name, "turned moons", seed, "paired error over shuffled", ratios[-1], bar)
    assert max(ratios) < bar


def test_uncertain_gan_is_less_sure_off_the_data(figure: Figure) -> None:
    data = load("8gaussians", size=5000)
    chosen = registry.entry("uncertain-gan")
    with seeded(0):
        model = chosen.build(data)
    play(model, data.train, config=replace(SHORT, steps=600))
    angle = torch.linspace(0.0, 2.0 * math.pi, 200)
    far = 6.0 * torch.stack([angle.cos(), angle.sin()], -1)
    with seeded(1):
        near, off = model.score_with_error(data.test[:1000])[1], model.score_with_error(far)[1]
    ratio = float(off.mean() / near.mean())
    figure("uncertain-gan", "8gaussians", 0, "critic's std off the data over on it", ratio, 1.0)
    assert ratio > 1.0


def test_gades_moments_match_and_its_density_is_normalised(figure: Figure) -> None:
    data = load("moons", size=5000)
    chosen = registry.entry("gade")
    with seeded(0):
        model = chosen.build(data)
    play(model, data.train, config=replace(SHORT, critic_learning_rate=5e-4, betas=(0.5, 0.9)))
    axis = torch.arange(-6.0, 7.0, 0.05)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad(), seeded(1):
        log_z = float(torch.logsumexp(model.score(grid).double(), 0) + 2.0 * math.log(0.05))
        bounds = torch.stack([model.normaliser_bound(2000) for _ in range(10)])
        samples = model.sample((5000,))
        nats = log_z - float(model.score(data.test).mean())
    bound = float(bounds.mean())
    figure("gade", "moons", 0, "A less its bound (nats)", log_z - bound)
    figure("gade", "moons", 0, "exact −log p (nats)", nats)
    assert bound <= log_z + 4.0 * float(bounds.std()) / math.sqrt(10)
    assert log_z - bound < 0.3
    second = [torch.cov(each.T) for each in (samples, data.train)]
    torch.testing.assert_close(samples.mean(0), data.train.mean(0), atol=0.12, rtol=0.0)
    torch.testing.assert_close(second[0], second[1], atol=0.12, rtol=0.0)


def test_dcgans_digits_are_nearer_to_the_digits_than_independent_pixels(figure: Figure) -> None:
    data = load("digits")
    chosen = registry.entry("dcgan")
    with seeded(0):
        model = chosen.build(data)
    play(model, data.train, config=chosen.training)
    with seeded(1):
        samples = model().sample((400,))
        columns = torch.stack([torch.randperm(len(data.train))[:400] for _ in range(64)], -1)
    independent = data.train.gather(0, columns)
    held = torch.cat([data.validation, data.test])[:400]
    distance = float(energy_distance(samples, held))
    real, bar = (float(energy_distance(x, held)) for x in (data.train[:400], independent))
    figure("dcgan", "digits", 0, "energy distance to held-out digits", distance, bar)
    figure("real training digits", "digits", 0, "energy distance to held-out digits", real, bar)
    assert distance < bar
