"""Settings from plain data: types, close matches, layers."""

import re
from dataclasses import dataclass
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daif.experiments import config as config_module
from daif.experiments.config import default_preset, load_preset, preset_names, resolve
from daif.experiments.registry import AGENTS
from daif.experiments.settings import SettingsError, apply_assignments, build, convert, read_yaml, to_plain


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Outer:
    rate: float = 0.1
    count: int = 3
    name: str = "a"
    on: bool = True
    limit: int | None = None
    hidden: tuple[int, ...] = (64,)
    pair: tuple[int, str] = (1, "x")
    kind: Literal["mean", "sum"] = "mean"
    inner: Inner = Inner()


def test_values_become_their_declared_types():
    outer = build(
        Outer,
        {"rate": "1e-3", "count": "1e6", "hidden": [8, 8.0], "pair": [2, "y"], "limit": 4, "inner": {"depth": 2}},
    )
    assert outer == Outer(rate=1e-3, count=1_000_000, hidden=(8, 8), pair=(2, "y"), limit=4, inner=Inner(2))
    assert isinstance(outer.rate, float)
    assert isinstance(build(Outer, {"rate": 1}).rate, float)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"cuont": 1}, "did you mean 'count'"),
        ({"count": 1.5}, "count is 1.5; it must be a whole number"),
        ({"count": True}, "count is True; it must be a whole number"),
        ({"on": 1}, "on is 1; it must be true or false"),
        ({"name": 3}, "name is 3; it must be a text"),
        ({"rate": "fast"}, "rate is 'fast'; it must be a number"),
        ({"limit": "x"}, "limit is 'x'; it must be a whole number or null"),
        ({"hidden": 3}, "hidden is 3; it must be a list"),
        ({"kind": "max"}, "allowed are 'mean', 'sum'"),
        ({"inner": {"dept": 2}}, "did you mean 'depth'"),
    ],
)
def test_mistakes_get_one_sentence(values, sentence):
    with pytest.raises(SettingsError) as caught:
        build(Outer, values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner),
    max_leaves=5,
)


@given(_PLAIN)
def test_any_value_is_converted_or_refused(value):
    for hint in (int, float, str, bool, int | None, tuple[int, ...], Literal["a", "b"]):
        try:
            converted = convert(value, hint, "field")
        except SettingsError:
            continue
        if isinstance(hint, type):
            assert type(converted) is hint


def test_plain_data_survives_yaml():
    outer = Outer(hidden=(1, 2), limit=None, inner=Inner(5))
    assert build(Outer, yaml.safe_load(yaml.safe_dump(to_plain(outer)))) == outer


def test_assignments_are_yaml_and_reach_into_mappings():
    before = {"a": {"b": 1}}
    assert apply_assignments(before, ("a.c=[1, 2]", "d=1e-3", "e=text", "f=null")) == {
        "a": {"b": 1, "c": [1, 2]}, "d": "1e-3", "e": "text", "f": None,
    }  # fmt: skip
    assert before == {"a": {"b": 1}}


@pytest.mark.parametrize("assignment", ["novalue", "=3", "a=[1", "a=!!python/object/apply:os.getcwd []"])
def test_bad_assignments_are_refused(assignment):
    with pytest.raises(SettingsError):
        apply_assignments({}, (assignment,))


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "3: 4", "!!python/object/apply:os.getcwd []", "{" * 10_000])
def test_bad_files_are_refused(tmp_path, text):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_yaml(file)
    assert "\n" not in str(caught.value)


def test_layers(monkeypatch, tmp_path):
    (tmp_path / "ppo").mkdir()
    (tmp_path / "ppo" / "mine.yaml").write_text(
        "description: x\ndefault: true\nenv: CartPole-v1\nsteps: 100\nthreads: 2\n"
        "settings: {gamma: 0.9, n_steps: 16, batch_size: 8}\n"
    )
    monkeypatch.setattr(config_module, "PRESETS_FOLDER", tmp_path)
    assert resolve(agent="ppo", env="Acrobot-v1").agent_settings().gamma == 0.99  # defaults
    run = resolve(agent="ppo", env="CartPole-v1")
    assert (run.preset, run.steps, run.agent_settings().gamma) == ("mine", 100, 0.9)  # preset
    run = resolve(agent="ppo", env="CartPole-v1", config={"steps": 200, "settings": {"gamma": 0.8}})
    assert (run.steps, run.agent_settings().gamma, run.agent_settings().n_steps) == (200, 0.8, 16)  # file
    run = resolve(
        agent="ppo", env="CartPole-v1", config={"settings": {"gamma": 0.8}}, settings={"gamma": 0.7}, steps=300
    )
    assert (run.steps, run.agent_settings().gamma, run.threads) == (300, 0.7, 2)  # flags
    assert resolve(agent="ppo", env="CartPole-v1", preset="none").steps is None


def test_resolved_settings_give_the_same_run():
    run = resolve(agent="dqn", env="CartPole-v1", seed=4, settings={"gamma": 0.9})
    again = build(config_module.RunConfig, yaml.safe_load(yaml.safe_dump(run.resolved())))
    assert again.agent_settings() == run.agent_settings()
    assert again.resolved() == run.resolved()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"agent": "pppo"}, "did you mean 'ppo'"),
        ({"env": "CartPole-v11"}, "did you mean 'CartPole-v1'"),
        ({"env": "no_such_module:A-v0"}, "cannot be imported"),
        ({"agent": "dqn", "preset": "papr"}, "did you mean 'paper'"),
        ({"agent": "dqn", "preset": "paper", "env": "CartPole-v1"}, "is for daif/EnergyControl-v0"),
        ({"config": {"envv": "x"}}, "did you mean 'env'"),
        ({"config": {"settings": 3}}, "must be a mapping"),
        ({"seed": -1}, "must not be negative"),
        ({"agent": "ppo", "settings": {"gamma": 2.0}}, "gamma is 2.0"),
        ({"agent": "daif", "env": "CartPole-v1", "preset": "none", "settings": {"horizon": -1}}, "horizon is -1"),
    ],
)
def test_mistyped_names_get_the_closest(arguments, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        resolve(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("agent", "preset"), [(agent, preset) for agent in AGENTS for preset in preset_names(agent)])
def test_shipped_presets_resolve(agent, preset):
    run = resolve(agent=agent, preset=preset)
    assert run.env == load_preset(agent, preset).get("env", run.env)


@pytest.mark.parametrize("agent", ["daif", "dqn", "ppo", "sac"])
def test_at_most_one_default_preset_for_an_environment(agent):
    envs = [load_preset(agent, name).get("env") for name in preset_names(agent)]
    for env in filter(None, set(envs)):
        marked = [
            name
            for name in preset_names(agent)
            if read_yaml(config_module.PRESETS_FOLDER / agent / f"{name}.yaml").get("default")
            and load_preset(agent, name).get("env") == env
        ]
        assert len(marked) <= 1
        without = default_preset(agent, "an environment without presets")
        assert default_preset(agent, env) == (marked[0] if marked else without)
