"""Hidden Markov model, linear dynamical system and Helmholtz machine against brute force."""

import itertools

import pytest
import torch

from generative.data import load
from generative.mixtures import EMConfig
from generative.state_space import HelmholtzMachine, HiddenMarkovModel, LinearDynamicalSystem, wake_sleep_loss
from generative.training import TrainingConfig, fit, seeded


def hmm(emission: str, seed: int = 0) -> HiddenMarkovModel:
    return HiddenMarkovModel(3, 4, emission, seed=seed).double()  # type: ignore[arg-type]


def sequences(emission: str, count: int = 2, length: int = 5) -> torch.Tensor:
    with seeded(1):
        return hmm(emission, seed=5).sample((count,), length=length)


def brute_force(model: HiddenMarkovModel, x: torch.Tensor) -> dict[tuple[int, ...], float]:
    """log p(x, s) of every path, for one sequence (T, features)."""
    initial = torch.log_softmax(model.initial_logits, -1)
    transition = torch.log_softmax(model.transition_logits, -1)
    emitted = model.emission_log_probs(x)
    paths = {}
    for path in itertools.product(range(model.states), repeat=len(x)):
        value = initial[path[0]] + emitted[0, path[0]]
        for t in range(1, len(x)):
            value = value + transition[path[t - 1], path[t]] + emitted[t, path[t]]
        paths[path] = float(value)
    return paths


@pytest.mark.parametrize("emission", ["categorical", "gaussian"])
def test_forward_algorithm_equals_the_sum_over_every_path(emission: str) -> None:
    model, x = hmm(emission), sequences(emission)
    for row, sequence in enumerate(x):
        paths = brute_force(model, sequence)
        values = torch.tensor(list(paths.values()), dtype=torch.float64)
        assert float(model.log_prob(x)[row]) == pytest.approx(float(torch.logsumexp(values, 0)), abs=1e-9)
        assert tuple(model.viterbi(x)[row].tolist()) == max(paths, key=paths.__getitem__)
        share = torch.softmax(values, 0)
        at_two = torch.zeros(3, dtype=torch.float64)
        for path, weight in zip(paths, share, strict=True):
            at_two[path[2]] += weight
        torch.testing.assert_close(model.smooth(x).states[row, 2], at_two)


def test_categorical_hmm_sums_to_one() -> None:
    model = HiddenMarkovModel(2, 3, seed=3).double()
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    x = torch.nn.functional.one_hot(every, 3).double()
    assert float(model.log_prob(x).exp().sum()) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("emission", ["categorical", "gaussian"])
def test_baum_welch_never_falls_and_recovers_a_better_model(emission: str) -> None:
    x = sequences(emission, 40, 30)
    model = hmm(emission, seed=7)
    trace = model.fit(x, EMConfig(max_rounds=40))
    assert all(after >= before - 1e-7 for before, after in itertools.pairwise(trace))
    truth = float(hmm(emission, seed=5).log_prob(x).mean())
    assert trace[-1] > truth - 0.5  # the maximum lies above the truth on its own data


def lds(inputs: int = 0) -> LinearDynamicalSystem:
    model = LinearDynamicalSystem(2, 3, inputs).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


@pytest.mark.parametrize("inputs", [0, 2])
def test_kalman_likelihood_equals_the_dense_gaussian(inputs: int) -> None:
    model = lds(inputs)
    generator = torch.Generator().manual_seed(1)
    context = torch.randn(3, 5, inputs, generator=generator, dtype=torch.float64) if inputs else None
    with seeded(2):
        x = model.sample(() if inputs else (3,), context, length=5)
    dense = model.dense(5, context).log_prob(x.flatten(1))
    torch.testing.assert_close(model.log_prob(x, context), dense, rtol=1e-9, atol=1e-9)


def test_smoother_equals_conditioning_the_dense_joint() -> None:
    model, length = lds(), 4
    with seeded(3):
        x = model.sample((2,), length=length)
    with torch.no_grad():
        # joint of the states from the emission-free system, then one Gaussian update with every observation at once
        states = LinearDynamicalSystem(2, 2).double()
        states.load_state_dict({**states.state_dict(), **{
            name: value for name, value in model.state_dict().items()
            if name in ("initial_mean", "initial_tril", "transition", "process_tril")
        }})  # fmt: skip
        states.emission.copy_(torch.eye(2))
        states.noise_tril.zero_()
        prior = states.dense(1)  # checks that a noiseless emission is allowed for one step
        assert prior.mean.shape == (1, 2)
        mean, covariance = [model.initial_mean], [model._square(model.initial_tril)]
        for _ in range(length - 1):
            mean.append(model.transition @ mean[-1])
            covariance.append(
                model.transition @ covariance[-1] @ model.transition.T + model._square(model.process_tril)
            )
        blocks = [
            [
                torch.linalg.matrix_power(model.transition, t - s) @ covariance[s]
                if t >= s
                else covariance[t] @ torch.linalg.matrix_power(model.transition, s - t).T
                for s in range(length)
            ]
            for t in range(length)
        ]
        joint = torch.cat([torch.cat(row, 1) for row in blocks], 0)
        emission = torch.block_diag(*[model.emission] * length)
        noise = torch.block_diag(*[model._square(model.noise_tril)] * length)
        gain = joint @ emission.T @ torch.linalg.inv(emission @ joint @ emission.T + noise)
        expected = (
            torch.cat(mean) + (x.flatten(1) - model.offset.repeat(length) - torch.cat(mean) @ emission.T) @ gain.T
        )
        posterior = joint - gain @ emission @ joint
        smoothed = model.smooth(x)
    torch.testing.assert_close(smoothed.mean.flatten(1), expected, rtol=1e-8, atol=1e-8)
    for t in range(length):
        torch.testing.assert_close(smoothed.covariance[t], posterior[2 * t : 2 * t + 2, 2 * t : 2 * t + 2])
    for t in range(length - 1):
        torch.testing.assert_close(smoothed.cross[t], posterior[2 * t + 2 : 2 * t + 4, 2 * t : 2 * t + 2])


@pytest.mark.parametrize("inputs", [0, 2])
def test_em_of_the_linear_system_never_falls(inputs: int) -> None:
    truth = lds(inputs)
    generator = torch.Generator().manual_seed(4)
    context = torch.randn(20, 15, inputs, generator=generator, dtype=torch.float64) if inputs else None
    with seeded(5):
        x = truth.sample(() if inputs else (20,), context, length=15)
    model = LinearDynamicalSystem(2, 3, inputs, seed=6).double()
    trace = model.fit(x, EMConfig(max_rounds=30), context)
    assert all(after >= before - 1e-7 for before, after in itertools.pairwise(trace))
    assert trace[-1] > float(truth.log_prob(x, context).mean()) - 0.5


def test_state_space_models_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match="takes 2"):
        lds(2).log_prob(torch.zeros(1, 3, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="unknown emission"):
        HiddenMarkovModel(2, 3, "poisson")  # type: ignore[arg-type]


def test_helmholtz_machine_bound_and_normalisation() -> None:
    with seeded(0):
        machine = HelmholtzMachine(6, (4, 3)).double()
        states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 6)
        exact = machine.exact_log_prob(states)
        assert float(exact.exp().sum()) == pytest.approx(1.0, abs=1e-9)
        bounds = torch.stack([machine.elbo(states) for _ in range(400)])
    slack = 4.0 * bounds.std(0) / 20.0
    assert (bounds.mean(0) <= exact + slack).all()


def test_wake_sleep_raises_the_exact_likelihood() -> None:
    data = load("digits-binary")
    with seeded(0):
        machine = HelmholtzMachine(64, (8, 4))
        before = float(machine.exact_log_prob(data.validation).mean())
        fit(machine, data.train, config=TrainingConfig(steps=600, learning_rate=1e-2), loss=wake_sleep_loss)
        after = float(machine.exact_log_prob(data.validation).mean())
        bound = float(torch.stack([machine.elbo(data.validation).mean() for _ in range(20)]).mean())
    independent = data.train.mean(0).clamp(0.002, 0.998)
    baseline = float(torch.distributions.Bernoulli(independent).log_prob(data.validation).sum(-1).mean())
    assert after > before + 10.0
    assert after > baseline + 2.0
    assert bound <= after
