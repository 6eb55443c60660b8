"""DQN, PPO and SAC of Stable-Baselines3, trained on Gymnasium vector environments and resumed bit for bit.

Stable-Baselines3 draws from the global generators of Python, numpy and torch. Here they are seeded from (seed, epoch)
at the start of every epoch and given back as they were at its end, so that an epoch follows from the checkpoint before
it alone, and nobody else's numbers change.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from baselines.flatten import BatchFlattener
from baselines.outcome_reward import OutcomeReward

MakeEnvs = Callable[[int, int], VectorEnv]


@dataclass(frozen=True)
class SB3Settings:
    """What the three algorithms have in common."""

    total_steps: int = 100_000
    """Planned environment decisions, all environments together; the schedules follow it."""
    epoch_steps: int = 5_000
    """Decisions in an epoch, after which a checkpoint can be taken."""
    num_envs: int = 1
    """Environments that run side by side."""
    learning_rate: float = 3e-4
    """Of Adam."""
    learning_rate_end: float = 1.0
    """Fraction of the learning rate that is left at the end, approached linearly."""
    gamma: float = 0.99
    """Discount per decision."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the networks."""
    signal: Literal["reward", "outcomes"] = "reward"
    """Learn from the environment's reward, or from the workstation's parts lost and energy wasted."""
    weight_kj_per_part: float = 8000.0
    """Worth of a part, for the signal `outcomes`."""
    busy_kj_per_part: float = 1255.5
    """Energy that a part takes on a busy machine, for the signal `outcomes`: it is not wasted."""
    pooled: bool = False
    """See how many components of a MultiDiscrete have each value, not which: for exchangeable components."""
    outcome_scale: float = 300.0
    """What the signal `outcomes` is divided by, in kJ."""

    def __post_init__(self) -> None:
        for name in ("total_steps", "epoch_steps", "num_envs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("learning_rate", "outcome_scale"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma is {self.gamma}; it must lie from 0 to 1.")
        if not self.hidden:
            raise ValueError("hidden is empty; at least one hidden layer is needed.")

    @property
    def lost_kj(self) -> float:
        """Weight of a lost part, for the signal `outcomes`."""
        return self.weight_kj_per_part - self.busy_kj_per_part


@dataclass(frozen=True)
class DQNSettings(SB3Settings):
    """Settings of DQN."""

    learning_rate: float = 1e-4
    """Of Adam."""
    buffer_size: int = 100_000
    """Transitions that the replay memory keeps."""
    learning_starts: int = 1_000
    """Decisions before the first gradient step."""
    batch_size: int = 32
    """Transitions in a gradient step."""
    train_freq: int = 4
    """Steps of all environments between trainings."""
    gradient_steps: int = 1
    """Gradient steps of a training, -1 for as many as decisions were taken."""
    target_update_interval: int = 10_000
    """Decisions between copies to the target network."""
    exploration_fraction: float = 0.1
    """Share of the training over which ε falls."""
    exploration_final_eps: float = 0.05
    """ε at the end."""


@dataclass(frozen=True)
class PPOSettings(SB3Settings):
    """Settings of PPO."""

    n_steps: int = 2048
    """Decisions of each environment in a rollout."""
    batch_size: int = 64
    """Transitions in a gradient step."""
    n_epochs: int = 10
    """Passes over a rollout."""
    gae_lambda: float = 0.95
    """λ of the generalised advantage estimate."""
    clip_range: float = 0.2
    """Bound of the probability ratio."""
    ent_coef: float = 0.0
    """Weight of the entropy."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Norm at which gradients are clipped."""


@dataclass(frozen=True)
class SACSettings(SB3Settings):
    """Settings of SAC."""

    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers of the networks."""
    buffer_size: int = 100_000
    """Transitions that the replay memory keeps."""
    learning_starts: int = 100
    """Decisions before the first gradient step."""
    batch_size: int = 256
    """Transitions in a gradient step."""
    tau: float = 0.005
    """Rate at which the target networks follow."""
    train_freq: int = 1
    """Steps of all environments between trainings."""
    gradient_steps: int = 1
    """Gradient steps of a training, -1 for as many as decisions were taken."""
    ent_coef: str = "auto"
    """Weight of the entropy: a number, or "auto" to learn it."""
    use_sde: bool = False
    """Explore with state-dependent noise."""


class SB3Learner:
    """One of the three algorithms as a learner.

    Args:
        observation_space: of a single environment; Dict parts and categories are flattened, one-hot.
        action_space: of a single environment.
        settings: choose the algorithm by their class.
        seed: of everything that is drawn.
        device: where the networks live.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        settings: SB3Settings,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.settings = settings
        self.seed = seed
        self.flatten = BatchFlattener(observation_space, pooled=settings.pooled)
        self.generator = torch.Generator().manual_seed(seed)
        stub = _SpacesOnly(settings.num_envs, self.flatten.space, action_space)
        with global_generators(self.epoch_seed(-1)):
            self.model = _make_model(settings, stub, device)
        self.model.set_logger(Logger(None, []))

    @property
    def epochs(self) -> int:
        """Planned number of epochs."""
        return math.ceil(self.settings.total_steps / self.settings.epoch_steps)

    @property
    def decisions(self) -> int:
        """Environment decisions trained on so far."""
        return int(self.model.num_timesteps)

    def learn_epoch(self, make_envs: MakeEnvs, epoch: int) -> dict[str, float]:
        """Train from freshly reset environments and return the metrics, under the names that users of SB3 know."""
        seed = self.epoch_seed(epoch)
        envs = make_envs(self.settings.num_envs, seed)
        try:
            if self.settings.signal == "outcomes":
                envs = OutcomeReward(envs, self.settings.lost_kj, self.settings.outcome_scale)
            adapter = GymnasiumVecEnv(envs, seed, pooled=self.settings.pooled)
            self.model.set_env(adapter)
            # an epoch that the decisions so far overshot is shortened by as much
            target = min((epoch + 1) * self.settings.epoch_steps, self.settings.total_steps)
            steps = max(target - self.decisions, 1)
            with global_generators(seed):
                self.model.action_space.seed(seed)
                self.model.learn(
                    steps,
                    callback=_TotalSteps(self.settings.total_steps),
                    log_interval=None,  # type: ignore[arg-type]
                    reset_num_timesteps=False,
                )
        finally:
            envs.close()
        logged = {name: value for name, value in self.model.logger.name_to_value.items() if name.startswith("train/")}
        metrics = {name: float(value) for name, value in logged.items()}
        if isinstance(self.model, DQN):
            metrics["rollout/exploration_rate"] = float(self.model.exploration_rate)
        return {**adapter.metrics(), **metrics}

    @torch.no_grad()
    def act(self, observations: Any, *, deterministic: bool = False) -> np.ndarray:
        """Return actions: greedy or mean ones, or drawn (ε-greedily for DQN) from the learner's own generator."""
        flat = torch.from_numpy(self.flatten(observations)).to(self.model.device)
        model = self.model
        model.policy.set_training_mode(False)
        if isinstance(model, DQN):
            actions = model.q_net(flat).argmax(dim=1).cpu()
            if not deterministic:
                size = actions.shape
                explores = torch.rand(size, generator=self.generator) < model.exploration_rate
                drawn = torch.randint(int(model.action_space.n), size, generator=self.generator)  # type: ignore[attr-defined]
                actions = torch.where(explores, drawn, actions)
            return actions.numpy() + getattr(self.action_space, "start", 0)
        if isinstance(model, SAC):
            mean, log_std, latent = model.actor.get_action_dist_params(flat)
            normal = model.actor.action_dist.proba_distribution(mean, log_std, **latent).distribution
            noise = torch.randn(mean.shape, generator=self.generator).to(mean)
            squashed = torch.tanh(mean if deterministic else normal.mean + normal.stddev * noise)
            return model.policy.unscale_action(squashed.cpu().numpy())
        policy: Any = model.policy
        features = policy.extract_features(flat, policy.pi_features_extractor)
        output = policy.action_net(policy.mlp_extractor.forward_actor(features))
        if isinstance(self.action_space, spaces.Box):
            noise = torch.randn(output.shape, generator=self.generator).to(output)
            action = output if deterministic else output + policy.log_std.exp() * noise
            return np.clip(action.cpu().numpy(), self.action_space.low, self.action_space.high)
        columns = []
        sizes = (
            [int(self.action_space.n)]
            if isinstance(self.action_space, spaces.Discrete)
            else policy.action_dist.action_dims
        )
        for logits in torch.split(output.cpu(), list(sizes), dim=1):
            if not deterministic:  # the Gumbel trick draws from the softmax
                uniform = torch.rand(logits.shape, generator=self.generator).clamp_min(1e-20)
                logits = logits - torch.log(-torch.log(uniform))
            columns.append(logits.argmax(dim=1))
        if isinstance(self.action_space, spaces.Discrete):
            return columns[0].numpy() + self.action_space.start
        return torch.stack(columns, dim=1).numpy()

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        """Return networks, optimisers and generator; replay memory; counters."""
        model = self.model
        tensors: dict[str, Any] = {**model.get_parameters(), "generator": self.generator.get_state()}
        _, variables = model._get_torch_save_params()
        for name in variables:
            value = getattr(model, name, None)
            if isinstance(value, torch.Tensor):
                tensors[f"variable.{name}"] = value.detach()
        counters = {
            name: getattr(model, name)
            for name in ("num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate")
            if hasattr(model, name)
        }
        counters = {name: value.item() if isinstance(value, np.generic) else value for name, value in counters.items()}
        return tensors, self._memory_arrays(), {"counters": counters}

    def load_state(self, tensors: dict[str, Any], arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        tensors = dict(tensors)
        self.generator.set_state(tensors.pop("generator"))
        variables = {name: tensors.pop(name) for name in list(tensors) if name.startswith("variable.")}
        for name, value in variables.items():
            getattr(self.model, name.removeprefix("variable.")).data.copy_(value)
        self.model.set_parameters(tensors, exact_match=True, device=self.model.device)
        for name, value in metadata["counters"].items():
            setattr(self.model, name, value)
        buffer = getattr(self.model, "replay_buffer", None)
        if buffer is not None:
            filled = len(arrays["observations"])
            for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
                getattr(buffer, name)[:filled] = arrays[name]
            buffer.pos, buffer.full = int(arrays["position"]), bool(arrays["full"])

    def _memory_arrays(self) -> dict[str, np.ndarray]:
        buffer = getattr(self.model, "replay_buffer", None)
        if buffer is None:
            return {}
        filled = buffer.buffer_size if buffer.full else buffer.pos
        names = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
        return {
            **{name: getattr(buffer, name)[:filled] for name in names},
            "position": np.asarray(buffer.pos),
            "full": np.asarray(buffer.full),
        }

    def epoch_seed(self, epoch: int) -> int:
        """Return the seed of what is drawn in an epoch, counted from 0."""
        return int(np.random.SeedSequence([self.seed, epoch + 1]).generate_state(1)[0] % 1_000_000_000)


class GymnasiumVecEnv(VecEnv):
    """A Gymnasium vector environment behind Stable-Baselines3's interface, observations flattened in batch.

    Args:
        envs: with same-step autoreset, so that the last observation of an episode is in `info["final_obs"]`.
        seed: of the first reset.
        pooled: count exchangeable components.
    """

    def __init__(self, envs: VectorEnv, seed: int, *, pooled: bool = False) -> None:
        if envs.metadata.get("autoreset_mode") != AutoresetMode.SAME_STEP:
            raise ValueError("The vector environment must reset in the same step (AutoresetMode.SAME_STEP).")
        self.envs = envs
        self.flatten = BatchFlattener(envs.single_observation_space, pooled=pooled)
        super().__init__(envs.num_envs, self.flatten.space, envs.single_action_space)
        self._seed: int | None = seed
        self._actions: np.ndarray = np.zeros(0)
        self._offset = getattr(envs.single_action_space, "start", 0)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._finished: deque[tuple[float, int]] = deque(maxlen=100)
        self._reward_sum, self._steps = 0.0, 0

    def reset(self) -> np.ndarray:
        """Reset all environments, with the seed the first time."""
        observations, _ = self.envs.reset(seed=self._seed)
        self._seed = None
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return self.flatten(observations)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step; a finished environment's last observation is in its info, and whether it was only cut off."""
        actions = self._actions + self._offset if np.any(self._offset) else self._actions
        observations, rewards, terminated, truncated, info = self.envs.step(actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._returns += rewards
        self._lengths += 1
        self._reward_sum += float(rewards.mean())
        self._steps += 1
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] = self._final(info["final_obs"], int(i))
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            self._finished.append((float(self._returns[i]), int(self._lengths[i])))
            self._returns[i], self._lengths[i] = 0.0, 0
        return self.flatten(observations), np.asarray(rewards, dtype=np.float32), done, infos

    def metrics(self) -> dict[str, float]:
        """Return the mean reward of a decision, and the return and length of the latest finished episodes, if any."""
        metrics = {"rollout/reward_mean": self._reward_sum / max(self._steps, 1)}
        if self._finished:
            metrics["rollout/ep_rew_mean"] = float(np.mean([episode[0] for episode in self._finished]))
            metrics["rollout/ep_len_mean"] = float(np.mean([episode[1] for episode in self._finished]))
        return metrics

    def _final(self, final: Any, i: int) -> np.ndarray:
        """Return environment i's last observation, flat; Gymnasium gives an object array, ours may give a batch."""
        if isinstance(final, dict):
            observation: Any = {key: value[i] for key, value in final.items()}
        else:
            observation = final[i]
        return self.flatten.single(observation)

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the vector environment, once per index."""
        return [getattr(self.envs, attr_name, None) for _ in self._indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: single environments cannot be reached in a batch."""
        raise NotImplementedError("The environments of a batch have no attributes of their own.")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Refuse: single environments cannot be reached in a batch."""
        raise NotImplementedError("The environments of a batch have no methods of their own.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return that no environment is wrapped."""
        return [False for _ in self._indices(indices)]

    def _indices(self, indices: Any) -> Sequence[int]:
        if indices is None:
            return range(self.num_envs)
        return [indices] if isinstance(indices, int) else list(indices)


class _SpacesOnly(VecEnv):
    """Tells a model its spaces before there are environments."""

    def __init__(self, num_envs: int, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        super().__init__(num_envs, observation_space, action_space)

    def _absent(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("There are no environments before the first epoch.")

    reset = step_async = step_wait = set_attr = env_method = _absent

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return None, once per environment."""
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return that no environment is wrapped."""
        return [False] * self.num_envs


class _TotalSteps(BaseCallback):
    """Makes the schedules follow the whole training, not the epoch that `learn` was called for."""

    def __init__(self, total_steps: int) -> None:
        super().__init__()
        self.total_steps = total_steps

    def _on_training_start(self) -> None:
        self.model._total_timesteps = self.total_steps

    def _on_step(self) -> bool:
        return True


def _make_model(settings: SB3Settings, env: VecEnv, device: str) -> BaseAlgorithm:
    share: list[BaseAlgorithm] = []

    def learning_rate(_: float) -> float:
        # PPO hands over the progress within one call of `learn`; the counter knows the progress of the training
        done = min(share[0].num_timesteps / settings.total_steps, 1.0) if share else 0.0
        return settings.learning_rate * (1.0 + done * (settings.learning_rate_end - 1.0))

    common: dict[str, Any] = {
        "learning_rate": learning_rate,
        "gamma": settings.gamma,
        "device": device,
        "policy_kwargs": {"net_arch": list(settings.hidden)},
    }
    model: BaseAlgorithm
    names: tuple[str, ...]
    if isinstance(settings, DQNSettings):
        names = (
            "buffer_size", "learning_starts", "batch_size", "train_freq", "gradient_steps", "target_update_interval",
            "exploration_fraction", "exploration_final_eps",
        )  # fmt: skip
        model = DQN("MlpPolicy", env, **common, **{name: getattr(settings, name) for name in names})
    elif isinstance(settings, PPOSettings):
        names = (
            "n_steps",
            "batch_size",
            "n_epochs",
            "gae_lambda",
            "clip_range",
            "ent_coef",
            "vf_coef",
            "max_grad_norm",
        )
        model = PPO("MlpPolicy", env, **common, **{name: getattr(settings, name) for name in names})
    elif isinstance(settings, SACSettings):
        names = ("buffer_size", "learning_starts", "batch_size", "tau", "train_freq", "gradient_steps", "use_sde")
        ent_coef = settings.ent_coef if settings.ent_coef.startswith("auto") else float(settings.ent_coef)
        model = SAC("MlpPolicy", env, ent_coef=ent_coef, **common, **{name: getattr(settings, name) for name in names})
    else:
        raise TypeError(f"No algorithm of Stable-Baselines3 goes with {type(settings).__name__}.")
    share.append(model)
    assert isinstance(model.policy, nn.Module)
    return model


@contextmanager
def global_generators(seed: int) -> Iterator[None]:
    """Seed the global generators, which Stable-Baselines3 draws from, and give them back as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
