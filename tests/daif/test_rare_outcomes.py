"""What is rare, learned by relative error: against the mean of a skewed sample and against a plant's exact values."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from daif.agent import DAIFAgent
from daif.config import DAIFConfig
from daif.critic import LEAST, Critic
from daif.outcomes import OutcomeScale

PLACES, ARRIVAL, SERVICE, DISCOUNT = 6, 0.2, 0.8, 0.8


@pytest.mark.parametrize("discrete", [True, False])
def test_the_minimum_of_the_error_is_the_mean_though_the_sample_is_skewed(discrete: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic(1, 1, discrete, 2, (8,), 1, rare=[0])
    now, action = torch.ones(50, 1), None if discrete else torch.zeros(50, 1)
    target = torch.zeros(50, 4)
    target[0, 0], target[:, 1] = 20.0, torch.linspace(-3.0, 5.0, 50)  # one part lost in 50; something of either sign
    optimiser = torch.optim.Adam(critic.online.parameters(), 0.01)
    for _ in range(3000):
        predicted = critic(now, action).reshape(1, 50, 4)
        optimiser.zero_grad()
        critic.error(predicted, target).mean().backward()
        optimiser.step()
    lost, other = predicted[0, 0, :2].tolist()
    assert lost == pytest.approx(20.0 / 50.0, rel=0.05), (
        "not the geometric mean, which the logarithm's error would find"
    )
    assert other == pytest.approx(1.0, abs=0.02)


def test_counted_outcomes_are_not_standardised() -> None:
    scale = OutcomeScale(3, 2, rare=[1])
    y, horizon = torch.tensor([[4.0, 0.0], [8.0, 60.0]]), torch.tensor([3, 3])
    scale.update(y, horizon)
    standardised = scale.standardise(y, horizon)
    torch.testing.assert_close(standardised, torch.tensor([[-1.0, 0.0], [1.0, 60.0]]))
    assert scale.mean[3].tolist() == [6.0, 0.0]
    assert scale.std[3].tolist() == [2.0, 1.0]


class Queue(gym.Env):
    """Parts that wait, 0 to 5. Action 1 serves one, perhaps, and costs work; what arrives at a full queue is lost."""

    observation_space = spaces.Discrete(PLACES)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.waiting = int(self.np_random.integers(PLACES))
        return self.waiting, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        served = action == 1 and self.np_random.random() < SERVICE
        waiting = max(self.waiting - served, 0) + (self.np_random.random() < ARRIVAL)
        lost = float(waiting == PLACES)
        self.waiting = min(waiting, PLACES - 1)
        return self.waiting, 0.0, False, False, {"lost": lost, "work": float(action == 1)}


def exact_losses(policy: np.ndarray) -> np.ndarray:
    """Expected discounted number of parts lost from each state on, by first action (states, 2), under a policy."""
    move, lose = np.zeros((PLACES, 2, PLACES)), np.zeros((PLACES, 2))
    for n in range(PLACES):
        for served, chance in ((0, 1.0), (0, 1.0 - SERVICE), (1, SERVICE)):
            action = int((served, chance) != (0, 1.0))
            for arrived, share in ((0, 1.0 - ARRIVAL), (1, ARRIVAL)):
                after = max(n - served, 0) + arrived
                move[n, action, min(after, PLACES - 1)] += chance * share
                lose[n, action] += chance * share * (after == PLACES)
    followed = np.einsum("na,nam->nm", policy, move)
    value = np.linalg.solve(np.eye(PLACES) - DISCOUNT * followed, (policy * lose).sum(1))
    return lose + DISCOUNT * move @ value


def relative_errors(rare_outcomes: tuple[str, ...]) -> np.ndarray:
    """Train a critic on the queue; errors of the losses that it predicts, relative to the exact ones (states, 2)."""
    config = DAIFConfig(
        epochs=4, iterations=100, horizon=1, segment=8, num_envs=8, memory=800, warm_up=20, exploration=0.4,
        preference="outcomes:lost=1..100,work=1", rare_outcomes=rare_outcomes, critic="discounted", discount=DISCOUNT,
        critic_hidden=(64,), critic_members=1, pessimistic=False, target_rate=0.05, critic_learning_rate=3e-3,
        action_conditioned=True, policy_encoding="none", policy_update="posterior", entropy_weight=0.1,
        actor_learning_rate=3e-3, learning_rate_end=0.05, policy_steps=5, policy_batch=128, model_steps=0,
        state_weight=0.0, parameter_weight=0.0,
    )  # fmt: skip
    agent = DAIFAgent(Queue.observation_space, Queue.action_space, config, seed=0)
    for epoch in range(config.epochs):
        agent.learn_epoch(
            lambda num_envs, seed: SyncVectorEnv([Queue] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP), epoch
        )
    assert agent.critic is not None
    relative = agent.weights.relative({"lost": 10.0}).expand(PLACES, -1)
    with torch.no_grad():
        features = agent.features(torch.eye(PLACES), relative)
        policy = agent.actor(features).probs.double().numpy()
        predicted = agent.critic(features)[0, :, :, 0].double().numpy() / agent.weights.outcomes[0].reference
    exact = exact_losses(policy)
    assert exact.min() < 1e-2 * exact.max(), "losses far from a full queue are rare"
    return np.abs(predicted - exact) / (exact + LEAST / agent.weights.outcomes[0].reference)


def test_losses_are_known_where_they_are_far_away_too() -> None:
    assert relative_errors(("lost",)).max() < 0.5
    assert relative_errors(()).max() > 1.0, "by squared errors they are not"
