"""PPO in one file, after CleanRL, on the compiled vector environment: the loop is all there is to read.

    python examples/cleanrl_style_ppo.py [decisions]

Needs nothing beyond the project itself. Observations are flattened by Gymnasium's own vector wrapper; an episode's end
is a truncation, so the value goes on through it (the plant does), and the dead step after it is left out.
"""

import sys

import gymnasium
import numpy as np
import torch
from comparison import compare
from gymnasium.wrappers.vector import FlattenObservation
from torch import nn
from torch.distributions import Categorical

import envs  # noqa: F401 - registers the environments

NUM_ENVS, STEPS, EPOCHS, BATCHES = 16, 128, 4, 4
GAMMA, LAMBDA, CLIP, ENTROPY = 0.99, 0.95, 0.2, 0.01


class ActorCritic(nn.Module):
    """Two separate networks of two hidden layers."""

    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(
            nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, actions)
        )
        self.critic = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def policy(self, seen: torch.Tensor) -> Categorical:
        """Distribution over actions."""
        return Categorical(logits=self.actor(seen))

    def value(self, seen: torch.Tensor) -> torch.Tensor:
        """Value of what is seen, (batch,)."""
        return self.critic(seen).squeeze(-1)


def main(decisions: int = 200_000, days: float = 2.0) -> dict[str, float]:
    """Train, then compare with all machines on."""
    torch.manual_seed(0)
    vector = FlattenObservation(
        gymnasium.make_vec(
            "daif/EnergyControl-v0", NUM_ENVS, reward="increment", observe_event=True, episode_decisions=2000
        )
    )
    shape = (STEPS, NUM_ENVS)
    inputs = vector.single_observation_space.shape[0]
    agent = ActorCritic(inputs, int(vector.single_action_space.n))
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)
    seen = torch.as_tensor(vector.reset(seed=0)[0], dtype=torch.float32)
    over = torch.zeros(NUM_ENVS)

    for _ in range(max(decisions // (NUM_ENVS * STEPS), 1)):
        all_seen, actions = torch.zeros(*shape, inputs), torch.zeros(shape, dtype=torch.long)
        log_probs, rewards, values, dead = (torch.zeros(shape) for _ in range(4))
        with torch.no_grad():
            for t in range(STEPS):
                policy = agent.policy(seen)
                all_seen[t], actions[t], values[t], dead[t] = seen, policy.sample(), agent.value(seen), over
                log_probs[t] = policy.log_prob(actions[t])
                observation, reward, _, truncated, _ = vector.step(actions[t].numpy())
                seen = torch.as_tensor(observation, dtype=torch.float32)
                rewards[t] = torch.as_tensor(reward, dtype=torch.float32)
                over = torch.as_tensor(truncated, dtype=torch.float32)
            # generalised advantage estimation; a dead step cuts the sum, a truncation does not cut the value
            advantages, running, following = torch.zeros(shape), torch.zeros(NUM_ENVS), agent.value(seen)
            for t in reversed(range(STEPS)):
                surprise = rewards[t] + GAMMA * following - values[t]
                running = (surprise + GAMMA * LAMBDA * running) * (1.0 - dead[t])
                advantages[t], following = running, values[t]
        alive = (dead.flatten() == 0).nonzero().squeeze(-1)
        flat = [x.flatten(0, 1)[alive] for x in (all_seen, actions, log_probs, advantages, advantages + values)]
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(alive)).chunk(BATCHES):
                o, a, old_log_prob, advantage, target = (x[rows] for x in flat)
                policy = agent.policy(o)
                ratio = (policy.log_prob(a) - old_log_prob).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                gain = torch.min(ratio * advantage, ratio.clamp(1.0 - CLIP, 1.0 + CLIP) * advantage).mean()
                error = 0.5 * (agent.value(o) - target).square().mean()
                loss = error - gain - ENTROPY * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
    vector.close()

    @torch.no_grad()
    def act(observation: np.ndarray) -> int:
        return int(agent.actor(torch.as_tensor(observation)).argmax())

    return compare(act, days)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
