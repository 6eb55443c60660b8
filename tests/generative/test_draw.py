"""DRAW: the window of attention in closed form, unbiased weights, and bounds that improve with more strokes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from generative.data import load
from generative.training import TrainingConfig, evaluate, fit, seeded
from generative.vae import DRAW, DRAWConfig, Likelihood
from generative.vae.draw import Window, filterbank, window

VARIANTS = {
    "whole": DRAWConfig(latent_dim=2, hidden=6, steps=2),
    "attention": DRAWConfig(latent_dim=2, hidden=6, steps=2, attention=2),
    "convolutional": DRAWConfig(latent_dim=1, hidden=3, steps=2, convolutional=True),
    "whole, given a context": DRAWConfig(latent_dim=2, hidden=6, steps=2, context_features=2),
    "convolutional, given a context": DRAWConfig(
        latent_dim=1, hidden=3, steps=2, convolutional=True, context_features=2
    ),
}
CONTEXT = torch.tensor([1.5, -1.0], dtype=torch.float64)


def context_of(model: DRAW) -> torch.Tensor | None:
    return CONTEXT if model.config.context_features else None


def test_filters_sum_to_one_and_are_gaussians_on_their_grid() -> None:
    centre, stride, variance = (torch.tensor([v], dtype=torch.float64) for v in (9.3, 2.0, 1.5))
    filters = filterbank(centre, stride, variance, 3, 20)[0]
    torch.testing.assert_close(filters.sum(-1), torch.ones(3, dtype=torch.float64))
    pixels = torch.arange(20, dtype=torch.float64)
    mean = filters @ pixels
    torch.testing.assert_close(mean, torch.tensor([7.3, 9.3, 11.3], dtype=torch.float64), atol=1e-3, rtol=0)
    spread = (filters * (pixels - mean.unsqueeze(-1)).square()).sum(-1)
    torch.testing.assert_close(spread, torch.full((3,), 1.5, dtype=torch.float64), atol=1e-2, rtol=0)


def test_a_sharp_window_over_the_whole_image_reads_and_writes_it_as_it_is() -> None:
    parameters = torch.zeros(1, 5, dtype=torch.float64)
    parameters[0, 2] = -8.0  # log σ²
    # the centre of 7 pixels counted from 0 is 3 = ½ (7 + 1) (0 + 1) − 1, and seven points have a stride of 1
    whole = window(parameters, 7, 7, 7)
    image = torch.rand(1, 2, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(whole.read(image), image)
    torch.testing.assert_close(whole.write(image), image)
    parameters[0, 4] = 0.7  # γ scales what is read and scales what is written back
    loud = window(parameters, 7, 7, 7)
    torch.testing.assert_close(loud.read(image), image * float(torch.tensor(0.7).exp()))
    torch.testing.assert_close(loud.write(loud.read(image)), image)


def test_a_small_window_reads_the_patch_under_it() -> None:
    one, tiny = torch.ones(1, dtype=torch.float64), torch.full((1,), 1e-4, dtype=torch.float64)
    rows = filterbank(2.0 * one, one, tiny, 3, 8)  # rows 1 to 3
    columns = filterbank(5.0 * one, one, tiny, 3, 9)  # columns 4 to 6
    image = torch.rand(1, 1, 8, 9, dtype=torch.float64)
    glimpse = Window(rows, columns, one)
    torch.testing.assert_close(glimpse.read(image), image[..., 1:4, 4:7])
    drawn = glimpse.write(image[..., 1:4, 4:7])
    torch.testing.assert_close(drawn[..., 1:4, 4:7], image[..., 1:4, 4:7])
    assert float(drawn.sum()) == pytest.approx(float(image[..., 1:4, 4:7].sum()))


def build(name: str) -> DRAW:
    torch.manual_seed(0)
    model = DRAW(Likelihood(None, 6, "bernoulli"), (1, 2, 3), VARIANTS[name]).double().eval()
    posterior = model.core.posterior if model.config.convolutional else model.core.posterior.affine
    with torch.no_grad():  # a posterior wider than the exact one keeps the weights bounded
        posterior.bias[len(posterior.bias) // 2 :] += 0.7
        model.canvas += torch.randn(model.canvas.shape, dtype=torch.float64)
    return model


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_average_to_the_shares_of_the_models_own_samples(name: str) -> None:
    """E_q[w] = p(x), which the samples estimate as well; over all 64 images both sum to 1."""
    model = build(name)
    with torch.no_grad():
        states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 6)
        count = 2000
        weights = torch.exp(model.terms(states.expand(count, -1, -1), context_of(model)).log_weight)
        p, error = weights.mean(0), weights.std(0) / count**0.5
        assert float(p.sum()) == pytest.approx(1.0, abs=4 * float(error.square().sum().sqrt()))
        drawn = 100_000
        index = (model(context_of(model)).sample((drawn,)).long() * 2 ** torch.arange(5, -1, -1)).sum(-1)
        share = torch.bincount(index, minlength=64) / drawn
        tolerance = 4.5 * (error.square() + p * (1 - p) / drawn).sqrt()
        assert bool(((share - p).abs() < tolerance).all())


@pytest.mark.parametrize("name", VARIANTS)
def test_closed_form_costs_equal_sampled_ones_and_every_parameter_is_trained(name: str) -> None:
    model = build(name)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    with torch.no_grad():
        terms = model.terms(x.expand(20_000, -1), context_of(model))
    difference = terms.kl - (terms.log_posterior - terms.log_prior)
    assert float(difference.mean()) == pytest.approx(0.0, abs=4 * float(difference.std()) / 20_000**0.5)
    assert len(terms.kl_units) == 2
    model(context_of(model)).elbo(x.expand(2, 3, -1)).mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


@pytest.mark.parametrize("name", ["whole, given a context", "convolutional, given a context"])
def test_each_row_has_its_own_context(name: str) -> None:
    model, x = build(name), torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    contexts = torch.stack([CONTEXT, -CONTEXT])
    with torch.no_grad():
        many = model(contexts).elbo(x.expand(4000, 2, -1))
        for context, drawn in zip(contexts, many.unbind(-1), strict=True):
            alone = model(context).elbo(x.expand(4000, -1))
            error = float((drawn.var() + alone.var()) ** 0.5) / 4000**0.5
            assert float(drawn.mean()) == pytest.approx(float(alone.mean()), abs=4 * error)
        assert abs(float((many[:, 0] - many[:, 1]).mean())) > 4 * error
        assert model(contexts).sample((7,)).shape == (7, 2, 6)


def test_what_draw_cannot_take_is_refused() -> None:
    with pytest.raises(ValueError, match="the context has 0 features; this model takes 2"):
        build("whole, given a context").elbo(torch.zeros(6, dtype=torch.float64))
    with pytest.raises(ValueError, match="only one channel is allowed, not 3"):
        DRAW(Likelihood(None, 12, "bernoulli"), (3, 2, 2), DRAWConfig())
    with pytest.raises(ValueError, match="with in_features None"):
        DRAW(Likelihood(4, 6, "bernoulli"), (1, 2, 3), DRAWConfig())
    with pytest.raises(ValueError, match="exclude each other"):
        DRAWConfig(attention=3, convolutional=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "settings"),
    [
        ("whole", {"latent_dim": 4}),
        ("attention", {"latent_dim": 4, "attention": 4}),
        ("convolutional", {"latent_dim": 1, "hidden": 12, "convolutional": True}),
    ],
)
def test_more_strokes_give_a_better_bound(variant: str, settings: dict, figure: Callable[..., None]) -> None:
    data = load("digits-binary")
    nats = {}
    for steps in (1, 4):
        with seeded(0):
            model = DRAW(Likelihood(None, 64, "bernoulli"), (1, 8, 8), DRAWConfig(steps=steps, **settings))
        config = TrainingConfig(
            steps=800, batch_size=100, learning_rate=5e-3, average=0.98, evaluate_every=100, patience=3
        )
        fit(model, data.train, config=config, validate=lambda model: evaluate(model, data.validation, repeats=4))
        nats[steps] = evaluate(model, data.validation, repeats=20)
        figure(f"draw ({variant}), T = {steps}", "digits-binary", 0, "validation -ELBO, nats", nats[steps])
    assert 14.0 < nats[4] < nats[1]
