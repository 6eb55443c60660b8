"""The lossless coder: exact round trips, and lengths against entropies and the free energy."""

import math

import numpy as np
import pytest
import torch

from generative.data import load
from generative.objectives import description_length
from generative.training import TrainingConfig, fit, seeded
from generative.vae import GaussianVAE, Likelihood, VAEConfig, decoder_width, likelihood_for
from generative.vae.bits_back import BitsBackCoder, Stack, cumulative_frequencies


def test_the_stack_returns_what_was_pushed_at_the_cost_of_its_information() -> None:
    draws = np.random.default_rng(0)
    probabilities = np.array([0.6, 0.25, 0.1, 0.05])
    table = cumulative_frequencies(probabilities, 16)
    symbols = draws.choice(4, size=2000, p=probabilities)
    stack = Stack(1 << 32)
    for symbol in symbols:
        stack.push(int(symbol), table, 16)
    information = -np.log2(np.diff(table)[symbols] / 2**16).sum()
    assert stack.bits - 33 == pytest.approx(information, abs=1.0)
    assert [stack.pop(table, 16) for _ in symbols] == symbols[::-1].tolist()
    assert stack.state == 1 << 32


def test_frequencies_are_positive_and_add_up() -> None:
    table = cumulative_frequencies(np.array([[0.0, 1.0, 0.0], [1e-12, 0.3, 0.7]]), 8)
    assert bool((np.diff(table) >= 1).all())
    assert bool((table[:, -1] == 256).all())
    with pytest.raises(ValueError, match="precision is 2 bits; 5 symbols need more"):
        cumulative_frequencies(np.ones(5), 2)


@pytest.mark.parametrize("name", ["digits-binary", "digits"])
def test_digits_round_trip_at_the_rate_of_the_free_energy(name: str) -> None:
    """Within 1 %, and 3 standard errors of the coder's one draw of z for each digit."""
    data = load(name)
    config = VAEConfig(latent_dim=6, hidden=(64,))
    with seeded(0):
        model = GaussianVAE(likelihood_for(data, decoder_width(config)), config)
    fit(model, data.train, config=TrainingConfig(steps=300, batch_size=100, learning_rate=5e-3, evaluate_every=300))
    x = data.validation[:100]
    with torch.no_grad(), seeded(0):
        lengths = description_length(model, x.expand(200, -1, -1))
        bound = float(lengths.total.mean()) / math.log(2.0)
        spread = float(lengths.total.std(0).square().mean().sqrt()) / math.log(2.0)
    coder = BitsBackCoder(model)
    stack = Stack(int.from_bytes(np.random.default_rng(0).bytes(64), "big") | 1 << 511)
    start = stack.state
    coder.encode(x, stack)
    rate = (stack.bits - 512) / len(x)
    assert abs(rate - bound) < 0.01 * bound + 3.0 * spread / len(x) ** 0.5
    assert torch.equal(coder.decode(len(x), stack), x)
    assert stack.state == start


def test_what_cannot_be_coded_is_refused() -> None:
    config = VAEConfig(latent_dim=2, hidden=(4,))
    model = GaussianVAE(Likelihood(decoder_width(config), 3), config)
    with pytest.raises(ValueError, match="the model is in training mode"):
        BitsBackCoder(model)
    with pytest.raises(ValueError, match="needs a discrete likelihood, not Independent"):
        BitsBackCoder(model.eval()).encode(torch.zeros(1, 3), Stack(1 << 200))
