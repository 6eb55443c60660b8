"""Makes environments by id, with a clear sentence where that fails."""

import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import envs  # noqa: F401 (registers the project's environments)
from daif.experiments.names import unknown
from daif.experiments.protocol import MakeEnvs
from daif.experiments.settings import SettingsError

PLANT_ENV = "daif/EnergyControl-v0"
MAX_DECISIONS = 10_000
"""Bound on the length of an evaluated episode, for environments without a time limit."""
_EPISODE_LIMITS = ("episode_decisions", "episode_s")


def find_env(env_id: str) -> gymnasium.envs.registration.EnvSpec:
    """Return the specification of a registered id, such as `CartPole-v1` or `module:namespace/Name-v0`."""
    module, separator, name = env_id.rpartition(":")
    if separator:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise SettingsError(f"The module {module!r} of {env_id!r} cannot be imported: {error}.") from None
    if name not in gymnasium.registry:
        raise SettingsError(unknown("environment", name, gymnasium.registry, list_all=False))
    return gymnasium.registry[name]


def is_plant(env_id: str) -> bool:
    """Return whether the workstation protocol applies: loss and saving against all machines on."""
    return find_env(env_id).id == PLANT_ENV


def make_env(env_id: str, env_kwargs: Mapping[str, Any], *, render_mode: str | None = None) -> gymnasium.Env:
    """Return a single environment with Gymnasium's default wrappers."""
    spec = find_env(env_id)
    try:
        rendering: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
        return gymnasium.make(spec, **rendering, **env_kwargs)
    except (gymnasium.error.Error, TypeError) as error:
        raise SettingsError(f"{spec.id} cannot be made: {_one_line(error)}") from error


def make_vector(
    env_id: str,
    env_kwargs: Mapping[str, Any],
    num_envs: int,
    autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
) -> VectorEnv:
    """Return `num_envs` environments: the project's own vector engines where there is one, else one after another."""
    spec = find_env(env_id)
    try:
        if spec.id.startswith("daif/") and spec.vector_entry_point is not None:
            return gymnasium.make_vec(
                spec.id, num_envs, vectorization_mode="vector_entry_point", autoreset_mode=autoreset_mode, **env_kwargs
            )
        return SyncVectorEnv([partial(gymnasium.make, spec, **env_kwargs)] * num_envs, autoreset_mode=autoreset_mode)
    except (gymnasium.error.Error, TypeError) as error:
        raise SettingsError(f"{spec.id} cannot be made: {_one_line(error)}") from error


def maker(env_id: str, env_kwargs: Mapping[str, Any]) -> MakeEnvs:
    """Return what a learner makes its training environments with."""

    def make(num_envs: int, seed: int) -> VectorEnv:
        return make_vector(env_id, env_kwargs, num_envs)

    return make


def endless(env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments without the episode limits of training, for an evaluation that sets its own length."""
    return {name: value for name, value in env_kwargs.items() if name not in _EPISODE_LIMITS}


def spaces_of(env_id: str, env_kwargs: Mapping[str, Any]) -> tuple[spaces.Space, spaces.Space]:
    """Return the observation and action space of a single environment."""
    env = make_vector(env_id, env_kwargs, 1)
    try:
        return env.single_observation_space, env.single_action_space
    finally:
        env.close()


def describe_spaces(observation_space: spaces.Space, action_space: spaces.Space) -> str:
    """Return the spaces in words, the same for equal spaces."""
    return f"{observation_space} -> {action_space}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
