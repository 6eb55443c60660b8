"""Evaluations: episodes of any environment, and the workstation's replications with common random numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from daif.experiments.environments import MAX_DECISIONS, PLANT_ENV, endless, make_env, make_vector
from daif.experiments.protocol import Agent
from daif.experiments.statistics import Interval, student_interval
from daif.experiments.tariff import Tariff

DAY_S = 86_400.0
PERIODIC_SEED = 1_000_000_000
"""First seed of the evaluations during training; training seeds lie below."""
REPORTED_SEED = 2_000_000_000
"""First seed of reported evaluations, so that no choice was made on them."""
FIGURE_SEED = 3_000_000_000
"""First seed of the environments that figures are drawn from."""
DEFAULT_WEIGHT_KJ_PER_PART = 8000.0

Progress = Callable[[float], None]
"""Is told the finished share, from 0 to 1."""


@dataclass(frozen=True)
class EpisodeScores:
    """Returns and lengths of independent episodes, both of shape (episodes,)."""

    returns: np.ndarray
    """Undiscounted return of each episode."""
    lengths: np.ndarray
    """Decisions in each episode."""
    cut: int = 0
    """Episodes among them that were cut at the bound on their length."""

    def summary(self) -> dict[str, Any]:
        """Return means with Student intervals, for JSON."""
        return {
            "episodes": int(self.returns.size),
            "cut_episodes": self.cut,
            "mean_reward": _interval(self.returns),
            "mean_ep_length": _interval(self.lengths),
            "returns": [float(value) for value in self.returns],
        }


def evaluate_episodes(
    env_id: str,
    env_kwargs: Mapping[str, Any],
    agent: Agent,
    *,
    episodes: int,
    seed: int = REPORTED_SEED,
    deterministic: bool = True,
    batch: int = 100,
    max_decisions: int = MAX_DECISIONS,
) -> EpisodeScores:
    """Run independent episodes, each in its own environment with its own seed `seed + i`.

    Args:
        env_id: the environment.
        env_kwargs: its arguments.
        agent: acts on all running episodes at once.
        episodes: how many.
        seed: of the first one.
        deterministic: act greedily, not as sampled.
        batch: episodes that run side by side.
        max_decisions: bound on an episode's length, behind which it is cut.
    """
    returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=np.int64)
    cut = 0
    for first in range(0, episodes, batch):
        count = min(batch, episodes - first)
        made = [make_env(env_id, env_kwargs) for _ in range(count)]
        try:
            seen = [env.reset(seed=seed + first + i)[0] for i, env in enumerate(made)]
            begin(agent, count)
            running = list(range(count))
            while running:
                actions = agent.act(
                    stack(agent.observation_space, [seen[i] for i in running]), deterministic=deterministic
                )
                chosen = list(iterate(batch_space(agent.action_space, len(running)), actions))
                still = []
                for i, action in zip(running, chosen, strict=True):
                    seen[i], reward, terminated, truncated, _ = made[i].step(action)
                    returns[first + i] += float(reward)
                    lengths[first + i] += 1
                    if terminated or truncated:
                        continue
                    if lengths[first + i] < max_decisions:
                        still.append(i)
                    else:
                        cut += 1
                running = still
        finally:
            for env in made:
                env.close()
    return EpisodeScores(returns, lengths, cut)


@dataclass(frozen=True)
class PlantProtocol:
    """How a policy is measured on the workstation."""

    replications: int = 10
    """Independent plants."""
    days: float = 30.0
    """Simulated days that count."""
    response_days: float = 1.0
    """Simulated days under the policy before them, after a day of all machines on."""
    seed: int = REPORTED_SEED
    """Seed of the first plant; every policy meets the same ones."""

    def __post_init__(self) -> None:
        if self.replications < 1:
            raise ValueError(f"replications is {self.replications}; it must be at least 1.")
        if not (self.days > 0.0 and math.isfinite(self.days)):
            raise ValueError(f"days is {self.days}; it must be above 0.")
        if not (self.response_days >= 0.0 and math.isfinite(self.response_days)):
            raise ValueError(f"response_days is {self.response_days}; it must not be negative.")


@dataclass(frozen=True)
class PlantScores:
    """What a policy did on each plant; all arrays have the shape (replications,)."""

    parts_per_min: np.ndarray
    """Throughput."""
    power_kw: np.ndarray
    """Mean power."""
    preference_score: np.ndarray
    """Mean composite score of the observation, at decisions."""
    loss_pct: np.ndarray
    """Production loss against all machines on with the same random numbers, in percent."""
    saving_pct: np.ndarray
    """Energy saving against the same, in percent."""
    power_by_state_kw: np.ndarray
    """Mean power in each machine state, shape (replications, states)."""
    cost_saving_pct: np.ndarray | None = None
    """Saving of the energy's cost by a tariff against all machines on, in percent; None without a tariff."""

    @property
    def kj_per_part(self) -> np.ndarray:
        """Energy per part; not finite where none was made."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return 60.0 * self.power_kw / self.parts_per_min

    def objective_kw(self, weight_kj_per_part: float) -> np.ndarray:
        """Worth of the parts less power: weight · parts per second − kW; the larger, the better."""
        return weight_kj_per_part * self.parts_per_min / 60.0 - self.power_kw

    def summary(self) -> dict[str, Any]:
        """Return means with Student intervals, for JSON."""
        figures = {
            "production_loss_pct": self.loss_pct,
            "energy_saving_pct": self.saving_pct,
            "parts_per_min": self.parts_per_min,
            "power_kw": self.power_kw,
            "kj_per_part": self.kj_per_part,
            "preference_score": self.preference_score,
        }
        if self.cost_saving_pct is not None:
            figures["cost_saving_pct"] = self.cost_saving_pct
        return {
            "replications": int(self.loss_pct.size),
            **{name: _interval(values) for name, values in figures.items()},
            "power_by_state_kw": [float(value) for value in self.power_by_state_kw.mean(axis=0)],
            "by_replication": {
                "production_loss_pct": [float(value) for value in self.loss_pct],
                "energy_saving_pct": [float(value) for value in self.saving_pct],
            },
        }


@dataclass(frozen=True)
class Policy:
    """An agent and how it acts."""

    agent: Agent
    """Acts on a batch of plants."""
    deterministic: bool = True
    """Greedily, or as sampled."""


@dataclass(frozen=True)
class _Measured:
    parts_per_min: np.ndarray
    power_kw: np.ndarray
    score: np.ndarray
    by_state_kw: np.ndarray
    cost_rate: np.ndarray


class PlantEvaluator:
    """Measures policies on the same plants; what all machines on did there is measured once.

    Args:
        env_kwargs: arguments of the workstation; episode limits are left out.
        protocol: replications, days and seeds.
        env_id: the workstation's id.
        tariff: prices of the energy, by which its cost is measured too.
    """

    def __init__(
        self,
        env_kwargs: Mapping[str, Any],
        protocol: PlantProtocol,
        *,
        env_id: str = PLANT_ENV,
        tariff: Tariff | None = None,
    ) -> None:
        self.env_kwargs = endless(env_kwargs)
        self.protocol = protocol
        self.env_id = env_id
        self.tariff = tariff
        self._all_on: _Measured | None = None

    def evaluate(self, policies: Mapping[str, Policy], progress: Progress | None = None) -> dict[str, PlantScores]:
        """Return the scores of each policy; all plants of all policies run as one batch."""
        wanted: dict[str, Policy | None] = dict(policies)
        if self._all_on is None:
            wanted[""] = None  # all machines on, at the end of the batch
        measured = self._measure(wanted, progress)
        if self._all_on is None:
            self._all_on = measured.pop("")
        reference = self._all_on
        return {
            name: PlantScores(
                parts_per_min=one.parts_per_min,
                power_kw=one.power_kw,
                preference_score=one.score,
                loss_pct=100.0 * (1.0 - one.parts_per_min / reference.parts_per_min),
                saving_pct=100.0 * (1.0 - one.power_kw / reference.power_kw),
                power_by_state_kw=one.by_state_kw,
                cost_saving_pct=None if self.tariff is None else 100.0 * (1.0 - one.cost_rate / reference.cost_rate),
            )
            for name, one in measured.items()
        }

    def _measure(self, policies: Mapping[str, Policy | None], progress: Progress | None) -> dict[str, _Measured]:
        protocol, count = self.protocol, self.protocol.replications
        total = count * len(policies)
        sees_event = any(p is not None and "event" in _keys(p.agent) for p in policies.values())
        kwargs = {**self.env_kwargs, **({"observe_event": True} if sees_event else {})}
        plants = make_vector(self.env_id, kwargs, total, AutoresetMode.DISABLED)
        try:
            space = plants.single_action_space
            blocks = [
                (slice(i * count, (i + 1) * count), policy, _keys(policy.agent) if policy else ())
                for i, policy in enumerate(policies.values())
            ]
            actions = np.tile(np.asarray(all_on_action(space)), (total, *([1] * len(space.shape or ()))))
            seeds = [protocol.seed + i for i in range(count)] * len(policies)
            seen, info = plants.reset(seed=seeds)  # type: ignore[arg-type]
            for _, policy, _ in blocks:
                if policy is not None:
                    begin(policy.agent, count)
            start = np.asarray(info["time_s"], dtype=float) + protocol.response_days * DAY_S
            end = start + protocol.days * DAY_S
            first, last = _Snapshot.empty(total), _Snapshot.empty(total)
            next_report = 0.0
            cost, last_s, last_kj = np.zeros(total), np.array(info["time_s"]), np.array(info["energy_kj"])
            while True:
                now = info["time_s"]
                if self.tariff is not None:
                    cost += self.tariff.at(last_s) * (info["energy_kj"] - last_kj)
                    last_s, last_kj = np.array(now), np.array(info["energy_kj"])
                if now.max() >= start.min():
                    first.take(info, cost, ~first.taken & (now >= start))
                    last.take(info, cost, ~last.taken & (now >= end))
                    if last.taken.all():
                        break
                    counting = first.taken & ~last.taken
                    last.score_sum[counting] += seen["scores"][counting, -1]
                    last.decisions[counting] += 1
                if progress is not None and now.min() >= next_report:
                    progress(min(1.0, float(now.min() / end.min())))
                    next_report += 0.01 * float(end.min())
                for block, policy, keys in blocks:
                    if policy is not None:
                        tell_time(policy.agent, now[block])
                        view = {key: seen[key][block] for key in keys}
                        actions[block] = policy.agent.act(view, deterministic=policy.deterministic)
                seen, rewards, _, _, info = plants.step(actions)
                for block, policy, _ in blocks:
                    if policy is not None:
                        tell_results(policy.agent, rewards, info, block)
        finally:
            plants.close()
        elapsed_s = last.time_s - first.time_s
        parts_per_min = 60.0 * (last.parts - first.parts) / elapsed_s
        by_state_kw = (last.by_state_kj - first.by_state_kj) / elapsed_s[:, None]
        power_kw = (last.energy_kj - first.energy_kj) / elapsed_s
        score = last.score_sum / np.maximum(last.decisions, 1)
        cost_rate = (last.cost - first.cost) / elapsed_s
        return {
            name: _Measured(parts_per_min[block], power_kw[block], score[block], by_state_kw[block], cost_rate[block])
            for name, (block, _, _) in zip(policies, blocks, strict=True)
        }


@dataclass
class _Snapshot:
    """Cumulative counts of each plant at the first decision after a moment."""

    taken: np.ndarray
    time_s: np.ndarray
    parts: np.ndarray
    energy_kj: np.ndarray
    cost: np.ndarray
    by_state_kj: np.ndarray
    score_sum: np.ndarray
    decisions: np.ndarray

    @classmethod
    def empty(cls, count: int) -> "_Snapshot":
        return cls(
            taken=np.zeros(count, dtype=bool),
            time_s=np.zeros(count),
            parts=np.zeros(count),
            energy_kj=np.zeros(count),
            cost=np.zeros(count),
            by_state_kj=np.zeros((count, 5)),
            score_sum=np.zeros(count),
            decisions=np.zeros(count),
        )

    def take(self, info: Mapping[str, np.ndarray], cost: np.ndarray, mask: np.ndarray) -> None:
        if not mask.any():
            return
        self.taken |= mask
        self.time_s[mask] = info["time_s"][mask]
        self.parts[mask] = info["parts_made"][mask]
        self.energy_kj[mask] = info["energy_kj"][mask]
        self.cost[mask] = cost[mask]
        self.by_state_kj[mask] = info["energy_by_state_kj"][mask]


def all_on_action(space: spaces.Space) -> np.ndarray:
    """Return the action that keeps all machines on: the largest one."""
    if isinstance(space, spaces.Discrete):
        return np.asarray(int(space.start + space.n - 1), dtype=np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        return np.asarray(space.start + space.nvec - 1, dtype=np.int64)
    raise ValueError(f"All machines on is an action of Discrete and MultiDiscrete spaces, not of {space}.")


def begin(agent: Agent, num_envs: int) -> None:
    """Tell an agent with a memory that an evaluation of `num_envs` environments begins."""
    start = getattr(agent, "begin", None)
    if start is not None:
        start(num_envs)


def tell_time(agent: Agent, time_s: np.ndarray) -> None:
    """Tell an agent that follows the clock what time it is in each environment, (N,) in seconds."""
    now = getattr(agent, "now", None)
    if now is not None:
        now(time_s)


def tell_results(agent: Agent, rewards: np.ndarray, info: Mapping[str, np.ndarray], block: slice) -> None:
    """Tell an agent that keeps learning what its latest actions brought in its block of the environments."""
    receive = getattr(agent, "receive", None)
    if receive is not None:
        receive(rewards[block], {name: values[block] for name, values in info.items()})


def stack(space: spaces.Space, observations: list[Any]) -> Any:
    """Return single observations batched as Gymnasium's vector environments batch them."""
    batch: Any = create_empty_array(space, len(observations))
    return concatenate(space, observations, batch)


def _keys(agent: Agent) -> tuple[str, ...]:
    space = agent.observation_space
    if not isinstance(space, spaces.Dict):
        raise ValueError(f"The workstation's observation is a Dict space, but the agent was made for {space}.")
    return tuple(space.spaces)


def _interval(values: np.ndarray) -> dict[str, float | None]:
    if not np.isfinite(values).all():
        return dict.fromkeys(("value", "low", "high"))
    interval: Interval = student_interval(values)
    return {name: value if math.isfinite(value) else None for name, value in interval.as_dict().items()}
