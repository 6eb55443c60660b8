"""Cost of one policy step: all samples of G in one batch, against a loop over them, and for H = 100 and H = 1000.

    python benchmarks/efe_step.py

At the paper's sizes (44 observations, latent 16, hidden [64, 64], 16 rows, S1 = S2 = 10). Ratios of medians in one run.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from gymnasium import spaces
from torch import Tensor

from daif.agent import DAIFAgent
from daif.config import DAIFConfig
from daif.expected_free_energy import expected_free_energy
from generative.divergences import entropy
from generative.nn import sampled_theta

OBSERVATION = spaces.Dict(
    {"buffer": spaces.Discrete(11), "machines": spaces.MultiDiscrete([5] * 6), "scores": spaces.Box(0, 1, (3,))}
)


def batched(agent: DAIFAgent, o: Tensor) -> Tensor:
    """Return E[G] as the agent computes it."""
    code = agent.encoding(agent.actor, o)
    return expected_free_energy(agent.models, agent.preference(), o, code, agent.config.efe).total.mean()


def looped(agent: DAIFAgent, o: Tensor) -> Tensor:
    """Return E[G] as Algorithm 1 writes it: two nested loops over samples (lines 23 to 35)."""
    c, (model,) = agent.config, agent.models
    code = agent.encoding(agent.actor, o)
    s_t = model.encode(o).rsample()
    g = torch.zeros(len(o))
    for _ in range(c.samples):
        p = model.transition(s_t, code)
        prediction = model.predict(s_t, code, p.rsample())
        q = model.encode(prediction.observation.rsample())
        g = g + agent.preference()(prediction) + entropy(q, "mean") - entropy(p, "mean")
        for _ in range(c.inner_samples):
            for theta, sign in (("fresh", 1.0), ("same", -1.0)):
                with sampled_theta(model, theta):
                    state = model.transition(s_t.unsqueeze(0), code.unsqueeze(0)).rsample()
                    g = g + sign * model.decode(state).entropy("mean")[0] / c.inner_samples
    return (g / c.samples).mean()


def seconds(agent: DAIFAgent, o: Tensor, estimate: Callable[[DAIFAgent, Tensor], Tensor], repeats: int) -> float:
    """Return the median time of one policy step."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        agent.optimisers["actor"].step(estimate(agent, o))
        times.append(time.perf_counter() - started)
    return median(times)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    steps = {}
    for horizon in (100, 1000):
        agent = DAIFAgent(OBSERVATION, spaces.Discrete(7), DAIFConfig(horizon=horizon), seed=0)
        o = torch.rand(agent.config.policy_batch, agent.codec.size)
        steps[horizon] = {
            "batched_ms": 1e3 * seconds(agent, o, batched, 5 * repeats),
            "looped_ms": 1e3 * seconds(agent, o, looped, repeats),
        }
    ratio = {horizon: times["looped_ms"] / times["batched_ms"] for horizon, times in steps.items()}
    print(json.dumps({"policy_step": steps, "looped_over_batched": ratio}, indent=2))


if __name__ == "__main__":
    main()
