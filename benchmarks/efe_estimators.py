"""Bias and noise of the estimators of the expected free energy, and of its gradient by the actor.

    python benchmarks/efe_estimators.py

An agent in the paper's form learns for a few epochs on the workstation, with larger learning rates and a shorter
horizon than in the preset, so that its model is no longer random. Then each estimator computes one term of G many times
at the same observations. G1 and G2 are compared with the mean of many draws of "sample"; the two estimators of G3 mean
different things (see `daif.expected_free_energy`), so each is compared with itself at many draws. That mean is made of
noisy estimates too: where gradient_noise is large, the length that it is divided by is uncertain. Writes a CSV file:

    value, bias, noise        of the term, in nats; noise is the standard deviation of one estimate
    gradient_bias, _noise     of the gradient: length of its mean error and of one estimate's noise, over its length
    ms                        time of one estimate with its gradient
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from front import write
from torch import Tensor

from daif.agent import DAIFAgent
from daif.expected_free_energy import EFESettings, expected_free_energy
from daif.experiments.config import resolve
from daif.experiments.environments import maker
from daif.experiments.runs import provenance
from daif.experiments.train import build_agent

LEARNING = {
    "horizon": 32, "num_envs": 16, "epochs": 5, "iterations": 100, "model_batch": 128, "policy_batch": 64,
    "model_learning_rate": 1e-3, "transition_learning_rate": 1e-3, "actor_learning_rate": 1e-3,
}  # fmt: skip
TERMS = ("preference", "state", "parameter")
MANY = 200
"""Draws of the estimates that others are compared with."""


@dataclass(frozen=True)
class Estimates:
    """Repeated estimates of a term, and of its gradient by the actor's parameters."""

    values: Tensor
    gradients: Tensor
    ms: float


def trained_agent(seed: int) -> DAIFAgent:
    """An agent after a few epochs."""
    config = resolve(agent="daif", preset="paper", seed=seed, settings=LEARNING)
    agent = build_agent(config)
    assert isinstance(agent, DAIFAgent)
    make = maker(config.env, config.full_env_kwargs)
    for epoch in range(agent.epochs):
        agent.learn_epoch(make, epoch)
    return agent


def settings_of(term: str) -> Iterator[tuple[str, EFESettings]]:
    """Estimators of a term by name."""
    weights = {f"{name}_weight": float(name == term) for name in TERMS}
    if term == "parameter":
        for estimator in ("entropies", "mixture"):
            for samples in (3, 10, 30):
                yield estimator, EFESettings(inner_samples=samples, parameter_estimator=estimator, **weights)  # type: ignore[arg-type]
        return
    for estimator, numbers in {"sample": (1, 10, 100), "antithetic": (2, 10, 100), "analytic": (1,)}.items():
        for samples in numbers:
            yield estimator, EFESettings(samples=samples, estimator=estimator, **weights)  # type: ignore[arg-type]


def estimate(agent: DAIFAgent, o: Tensor, settings: EFESettings, repeats: int) -> Estimates:
    """Estimate the mean of a term over observations (B, O) many times."""
    features, o_t = agent.features(o, o.new_ones(len(o), 0)), agent.codec.normalise(o)
    parameters = list(agent.actor.parameters())
    values, gradients, started = [], [], time.perf_counter()
    for _ in range(repeats):
        code = agent.with_horizon(agent.encoding(agent.actor, features), None, agent.config.horizon)
        g = expected_free_energy(agent.models, agent.preference(), o_t, code, settings).total.mean()
        parts = torch.autograd.grad(g, parameters, allow_unused=True, materialize_grads=True)
        values.append(g.detach())
        gradients.append(torch.cat([part.flatten() for part in parts]))
    return Estimates(torch.stack(values), torch.stack(gradients), 1e3 * (time.perf_counter() - started) / repeats)


def figures(estimates: Estimates, truth: Estimates) -> dict[str, float]:
    """Bias and noise of estimates against the mean of better ones."""
    value, gradient = truth.values.mean(), truth.gradients.mean(0)
    mean = estimates.gradients.mean(0)
    return {
        "value": float(estimates.values.mean()),
        "bias": float(estimates.values.mean() - value),
        "noise": float(estimates.values.std()),
        "gradient_bias": float((mean - gradient).norm() / gradient.norm()),
        "gradient_noise": float((estimates.gradients - mean).square().sum(-1).mean().sqrt() / gradient.norm()),
        "ms": estimates.ms,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/reference/benchmarks/efe_estimators.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    commit = provenance()["commit"]
    agent = trained_agent(arguments.seed)
    rows: list[dict[str, Any]] = []
    with agent.random.active():
        o = agent.observations(agent.config.policy_batch)
        for term in TERMS:
            truths: dict[str, Estimates] = {}
            for estimator, settings in settings_of(term):
                compared_with = estimator if term == "parameter" else "sample"
                if compared_with not in truths:
                    many = replace(settings, samples=MANY, inner_samples=MANY)
                    truths[compared_with] = estimate(agent, o, many, arguments.repeats)
                estimates = estimate(agent, o, settings, arguments.repeats)
                samples = settings.inner_samples if term == "parameter" else settings.samples
                row: dict[str, Any] = {"term": term, "estimator": estimator, "samples": samples}
                row |= figures(estimates, truths[compared_with])
                print(" ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()), flush=True)
                rows.append(row | {"seed": arguments.seed, "commit": commit})
    write(arguments.output, rows)
    print(f"Wrote {arguments.output}")


if __name__ == "__main__":
    main()
