"""Semi-supervised autoencoders: bounds against numeric integration with the class summed out by hand; few labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading

from generative.data import Dataset, load, moons
from generative.registry import entry
from generative.training import evaluate, fit, seeded
from generative.vae import (
    M1,
    UNLABELLED,
    GaussianVAE,
    Likelihood,
    SemiSupervisedConfig,
    SemiSupervisedVAE,
    VAEConfig,
    decoder_width,
    few_labels,
    mixed_batches,
    semi_supervised_loss,
)
from generative.vae.likelihood import log_standard_normal

Figure = Callable[..., None]
AXIS = torch.linspace(-9.0, 9.0, 2001, dtype=torch.float64).unsqueeze(-1)
STEP = 18.0 / 2000
X = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
AUXILIARY = pytest.mark.parametrize("auxiliary_dim", [0, 2], ids=["M2", "ADGM"])


def small(auxiliary_dim: int) -> SemiSupervisedVAE:
    """Return a model of three binary variables, three classes and one code, whose posteriors are wide."""
    torch.manual_seed(0)
    config = SemiSupervisedConfig(3, 1, auxiliary_dim, hidden=(6,), activation="tanh")
    model = SemiSupervisedVAE(Likelihood(6, 3, "bernoulli"), config).double().eval()
    with torch.no_grad():
        model.decoder[0].weight *= 3.0
        model.classifier[-1].weight *= 3.0
        model.posterior[1].affine.bias[1] += 1.0
        if auxiliary_dim:
            model.auxiliary_posterior[1].affine.bias[2:] += 0.5
    return model


def log_joint(model: SemiSupervisedVAE, x: torch.Tensor) -> torch.Tensor:
    """log p(x, y) of each class, (C,): p(y) ∫ N(z; 0, 1) p(x | y, z) dz by the trapezoidal rule."""
    rows = []
    for one_hot in torch.eye(3, dtype=torch.float64):
        log_p = log_standard_normal(AXIS) + model.decode(AXIS, one_hot.expand(len(AXIS), -1)).log_prob(x)
        rows.append(torch.logsumexp(log_p, 0) + math.log(STEP) - math.log(3.0))
    return torch.stack(rows)


@AUXILIARY
def test_labelled_weights_average_to_the_integrated_joint(auxiliary_dim: int) -> None:
    model, count = small(auxiliary_dim), 100_000
    with torch.no_grad():
        exact = log_joint(model, X)
        for label in range(3):
            bound = model.labelled_bound(X.expand(count, -1), torch.full((count,), label))
            ratio = torch.exp(bound - exact[label])
            error = float(ratio.std()) / count**0.5
            assert error < 0.02
            assert float(ratio.mean()) == pytest.approx(1.0, abs=4 * error)
            assert float(bound.mean()) < float(exact[label])


@AUXILIARY
def test_the_bound_is_below_the_integrated_evidence(auxiliary_dim: int) -> None:
    model, count = small(auxiliary_dim), 20_000
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    with torch.no_grad():
        exact = torch.stack([torch.logsumexp(log_joint(model, x), 0) for x in states])
        assert float(exact.exp().sum()) == pytest.approx(1.0, abs=1e-6)
        bounds = model.elbo(states.expand(count, -1, -1))
        assert bool((bounds.mean(0) < exact).all())


def test_m2s_marginal_bound_is_the_explicit_sum_over_classes() -> None:
    """U(x) = Σ_y q(y | x) [∫ q(z | x, y) (log p(x, y, z) − log q(z | x, y)) dz − log q(y | x)], class by class."""
    model, count = small(0), 40_000
    with torch.no_grad():
        total = 0.0
        for label, one_hot in enumerate(torch.eye(3, dtype=torch.float64)):
            q = model.posterior(torch.cat([model.standardise(X), one_hot]))
            log_q, y = q.log_prob(AXIS), one_hot.expand(len(AXIS), -1)
            log_p = log_standard_normal(AXIS) + model.decode(AXIS, y).log_prob(X) - math.log(3.0)
            bound = float((log_q.exp() * (log_p - log_q)).sum() * STEP)
            log_share = float(torch.log_softmax(model.classifier(model.standardise(X)), -1)[label])
            total += math.exp(log_share) * (bound - log_share)
        drawn = model.elbo(X.expand(count, -1))
    assert float(drawn.mean()) == pytest.approx(total, abs=4 * float(drawn.std()) / count**0.5)


def test_given_a_class_the_bound_is_the_labelled_one_without_its_prior() -> None:
    model, one_hot = small(2), torch.eye(3, dtype=torch.float64)[1]
    with torch.no_grad(), seeded(0):
        given = model(one_hot.expand(5, -1)).elbo(X.expand(5, -1))
    with torch.no_grad(), seeded(0):
        labelled = model.labelled_bound(X.expand(5, -1), torch.ones(5, dtype=torch.long))
    torch.testing.assert_close(given, labelled + math.log(3.0))


@AUXILIARY
def test_samples_of_a_class_follow_the_integrated_probabilities(auxiliary_dim: int) -> None:
    model, count = small(auxiliary_dim), 50_000
    with seeded(0):
        samples = model.sample((count,), torch.eye(3, dtype=torch.float64)[2])
    p = float(torch.exp(log_joint(model, X)[2].detach()) * 3.0)
    share = float((samples == X).all(-1).double().mean())
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / count) ** 0.5)


@AUXILIARY
def test_the_loss_sees_every_parameter_and_the_labels_where_they_are_known(auxiliary_dim: int) -> None:
    model = small(auxiliary_dim).train()
    x = X.expand(4, -1)
    labels = torch.tensor([UNLABELLED, 2, UNLABELLED, 0])
    semi_supervised_loss(model, x, labels).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
    with torch.no_grad(), seeded(0):
        hidden = semi_supervised_loss(model, x, torch.full((4,), UNLABELLED))
    with torch.no_grad(), seeded(0):
        torch.testing.assert_close(hidden, -model.elbo(x).mean())
    copy = small(auxiliary_dim).train()
    copy.load_state_dict(model.state_dict())
    values = []
    for each in (model, copy):
        with torch.no_grad(), seeded(1):
            values.append(semi_supervised_loss(each, x, labels))
    assert torch.equal(*values)


def test_few_labels_are_kept_and_every_batch_holds_them() -> None:
    labels = torch.arange(50) % 5
    kept = few_labels(labels, 2, torch.Generator().manual_seed(0))
    assert [int((kept == k).sum()) for k in range(5)] == [2] * 5
    assert bool(((kept == labels) | (kept == UNLABELLED)).all())
    x, shown = mixed_batches(torch.arange(50.0).unsqueeze(-1), kept)(7, torch.Generator().manual_seed(0))
    assert x.shape == (17, 1)
    assert bool((shown[:7] == UNLABELLED).all())
    assert sorted(x[7:, 0].tolist()) == (kept != UNLABELLED).nonzero()[:, 0].tolist()
    with pytest.raises(ValueError, match="class 0 has 10 samples; 11 labels cannot be kept"):
        few_labels(labels, 11, torch.Generator())


def test_m1_is_a_logistic_regression_on_the_codes() -> None:
    torch.manual_seed(0)
    config = VAEConfig(latent_dim=3, hidden=(8,))
    model = M1(GaussianVAE(Likelihood(decoder_width(config), 5), config), 4).double().eval()
    x, labels = torch.randn(60, 5, dtype=torch.float64), torch.arange(60) % 4
    model.fit_classifier(x, labels, decay=0.05)
    reference = LogisticRegression(C=1.0 / (60 * 0.05), tol=1e-10, max_iter=1000).fit(model.codes(x), labels)
    expected = torch.tensor(reference.predict_proba(model.codes(x)))
    torch.testing.assert_close(model.classify(x).detach(), expected, atol=1e-4, rtol=0)


def half_moons(noise: float, seed: int) -> Dataset:
    """Return 10,000 training points of the half-moons and as many test points."""
    density = moons(noise)
    generator = torch.Generator().manual_seed(seed)
    (x, a), (t, b) = (density.sample_labelled(10_000, generator) for _ in range(2))
    labels = {"train": a, "validation": b, "test": b}
    return replace(load("moons", size=2), train=x, validation=t, test=t, labels=labels, density=density)


def train_with_few_labels(name: str, data: Dataset, per_class: int, seed: int, restarts: int) -> SemiSupervisedVAE:
    """Train from several starts and keep the one with the best bound on the training points: no label chooses."""
    known = few_labels(data.labels["train"], per_class, torch.Generator().manual_seed(seed))
    chosen, best = entry(name), math.inf
    for start in range(restarts):
        with seeded(start):
            model = chosen.build(data)
        config = replace(chosen.training, seed=start)
        if data.image_shape is None:  # ten epochs of small batches; the labels weigh as little as they are few
            steps = 10 * len(data.train) // 25
            config = replace(config, batch_size=25, steps=steps, learning_rate=1e-2, evaluate_every=steps)
            share = float((known != UNLABELLED).double().mean())
            model.config = replace(model.config, alpha=0.1, label_share=share)
        fit(model, mixed_batches(data.train, known), config=config, loss=chosen.loss)
        bound = evaluate(model, data.train)
        if bound < best:
            best, kept = bound, model
    return kept  # type: ignore[return-value]


@torch.no_grad()
def error(model: SemiSupervisedVAE, x: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the percentage of x whose most probable class is not its label."""
    with seeded(0):
        return 100.0 * float((model.classify(x, 20).argmax(-1) != labels).double().mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "noise", "draws", "bar"),
    [
        ("m2", 0.1, 1, 1.0),
        ("m2", 0.2, 5, 4.5),
        ("adgm", 0.1, 1, 1.0),
        ("adgm", 0.2, 5, 4.5),
    ],
)
def test_half_moons_with_three_labels_a_class_in_ten_epochs(
    name: str, noise: float, draws: int, bar: float, figure: Figure
) -> None:
    """Judged by the median over draws of the six labels, because at noise 0.2 some of them lie in the other moon."""
    data, percents = half_moons(noise, seed=0), []
    for seed in range(draws):
        model = train_with_few_labels(name, data, 3, seed, restarts=4)
        percents.append(error(model, data.test, data.labels["test"]))
        task, what = f"half-moons, noise {noise}", "test error, %, 10 epochs, best bound of 4 starts"
        figure(name, task, seed, what, percents[-1], bar)
    assert median(percents) <= bar


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m2", "adgm"])
def test_the_true_classes_are_the_better_optimum_of_the_unlabelled_bound(name: str, figure: Figure) -> None:
    """At noise 0.2 a start from every label stays at the true classes without any, above what six labels lead to."""
    data, chosen = half_moons(0.2, seed=0), entry(name)
    labels, task = data.labels["train"], "half-moons, noise 0.2"
    config = replace(chosen.training, steps=1000, learning_rate=2e-2, evaluate_every=1000)
    with seeded(0):
        model = chosen.build(data)
    fit(model, [data.train, labels], config=config, loss=chosen.loss)
    fit(model, data.train, config=replace(config, learning_rate=5e-3))
    percent, bound = error(model, data.test, data.labels["test"]), evaluate(model, data.train)
    six = evaluate(train_with_few_labels(name, data, 3, seed=0, restarts=1), data.train)
    figure(name, task, 0, "test error, %, from all labels, 10 epochs more without any", percent, 4.5)
    figure(name, task, 0, "training -ELBO, nats, from all labels, 10 epochs more without any", bound)
    figure(name, task, 0, "training -ELBO, nats, 10 epochs with six labels, one start", six)
    assert percent <= 4.5
    assert bound < six


@pytest.mark.slow
def test_digits_with_forty_labels_beat_label_spreading(figure: Figure) -> None:
    data = load("digits")
    x, labels = data.train, data.labels["train"]
    ours = []
    for seed in range(2):
        model = train_with_few_labels("m2", data, 4, seed, restarts=1)
        ours.append(100.0 - error(model, data.validation, data.labels["validation"]))
        known = few_labels(labels, 4, torch.Generator().manual_seed(seed))
        spread = LabelSpreading(kernel="knn", n_neighbors=7).fit(x.numpy(), known.numpy())
        theirs = 100.0 * spread.score(data.validation.numpy(), data.labels["validation"].numpy())
        figure("m2", "digits, 40 labels", seed, "validation accuracy, %", ours[-1], 89.7)
        figure("LabelSpreading, 7 neighbours", "digits, 40 labels", seed, "validation accuracy, %", theirs)
    assert sum(ours) / 2 > 89.7  # the design's figure of LabelSpreading; on the same labels the two are about equal
