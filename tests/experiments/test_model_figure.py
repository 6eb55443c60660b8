"""What the world model predicts beside what came: real trainings of seconds, figures, and the images in TensorBoard."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from daif import cli
from daif.experiments import final_figures, model_figure, plots
from daif.experiments.checkpoint import load_checkpoint
from daif.experiments.config import resolve
from daif.experiments.model_figure import AHEAD, ENVIRONMENTS, JUMPS, Comparison, _of_part, compare, draw_models
from daif.experiments.runs import RunFolder
from daif.experiments.settings import SettingsError
from daif.experiments.train import _Session, build_agent, load_agent, train
from world_models.likelihood import ObservationCodec

TINY = {"epochs": 1, "iterations": 2, "warm_up": 1, "num_envs": 8, "policy_steps": 1, "critic_hidden": [8]}
PAPER = {"epochs": 1, "iterations": 1, "horizon": 4, "samples": 2, "inner_samples": 2}
QUICK = {"every": 1, "episodes": 1, "replications": 2, "days": 0.01, "response_days": 0.0}
CASES = {
    "fast": {"preset": "fast", "settings": TINY, "evaluation": QUICK},
    "paper": {"preset": "paper", "settings": PAPER, "evaluation": {**QUICK, "every": 0}},
    "CartPole": {"preset": "general", "env": "CartPole-v1", "settings": TINY, "evaluation": QUICK},
    "Pendulum": {
        "preset": "none", "env": "Pendulum-v1", "evaluation": {**QUICK, "every": 0},
        "settings": {**PAPER, "horizon_conditioned": True, "action_conditioned": True},
    },
    "without a model": {
        "preset": "cartpole", "env": "CartPole-v1", "settings": TINY, "evaluation": {**QUICK, "every": 0},
    },
}  # fmt: skip


def start(name, path, **changes):
    config = resolve(agent="daif", seed=0, **{**CASES[name], **changes})
    run = RunFolder(path)
    run.write_config(config.resolved())
    run.write_metadata(0, "test")
    return config, run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    runs = {}
    for name in CASES:
        config, runs[name] = start(name, folder / name)
        assert train(config, runs[name], Console(quiet=True)).outcome == "finished"
    return runs


def images(run):
    events = EventAccumulator(str(run.path), size_guidance={"images": 0})
    events.Reload()
    return {name: events.Images(name) for name in events.Tags()["images"]}


@pytest.mark.parametrize(
    ("name", "shown", "loops"),
    [
        ("fast", ["lost", "wasted_kj", "scores[2]", "number of machines = 0", "buffer", "scores[0]"], True),
        ("paper", ["scores[2]", "number of machines = 0", "buffer", "scores[0]"], False),
        ("CartPole", ["cost (−reward)", *(f"observation[{i}]" for i in range(4))], True),
        ("Pendulum", ["cost (−reward)", *(f"observation[{i}]" for i in range(3))], True),
    ],
)
def test_predictions_are_compared_with_what_came(trained, name, shown, loops):
    config, agent = load_agent(trained[name], "latest")
    before = agent.random.state()
    jumps, *rest = compare(agent, config)
    assert agent.random.state()[1] == before[1]
    assert torch.equal(agent.random.state()[0]["cpu"], before[0]["cpu"])
    assert list(jumps.names[: len(shown)]) == shown
    assert jumps.came.shape == jumps.mean.shape == jumps.std.shape
    assert 0 < len(jumps.came) <= JUMPS
    assert np.isfinite(jumps.mean).all()
    assert (jumps.std >= 0.0).all()
    assert len(rest) == loops
    for loop in rest:
        assert loop.came.shape == loop.mean.shape == (AHEAD, ENVIRONMENTS, len(jumps.names))
        ended = np.isnan(loop.came[..., 0])
        assert (ended == np.maximum.accumulate(ended)).all()  # nothing comes behind an end
        assert ended.any() == (name == "CartPole")


def test_jumps_longer_than_every_episode_are_refused(monkeypatch):
    monkeypatch.setattr(model_figure, "ENVIRONMENTS", 2)
    monkeypatch.setattr(model_figure, "JUMPS", 2)
    settings = {**PAPER, "horizon": 201}
    config = resolve(agent="daif", preset="none", env="Pendulum-v1", settings=settings)
    with pytest.raises(SettingsError, match="No jump of 201 decisions"):
        compare(build_agent(config), config)


def test_a_figure_of_several_runs(trained, tmp_path):
    plots.plot("model", [trained["paper"].path, trained["Pendulum"].path], tmp_path / "model.png")
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_shows_the_figures_at_the_end(trained):
    agent = load_agent(trained["fast"], "latest")[1]
    shown = images(trained["fast"])
    assert set(shown) == {"figures/model", "figures/policy"}
    for (image,) in shown.values():
        assert image.step == agent.decisions
        assert image.encoded_image_string.startswith(b"\x89PNG")
        assert image.width > image.height > 100
    assert set(images(trained["CartPole"])) == {"figures/model"}
    assert images(trained["paper"]) == images(trained["without a model"]) == {}


def test_figures_change_nothing_and_fail_no_training(trained, tmp_path, monkeypatch, capsys):
    config, plain = start("CartPole", tmp_path / "plain")
    with monkeypatch.context() as patch:
        patch.setattr(_Session, "_draw", lambda *_: None)
        train(config, plain, Console(quiet=True))
    a, b = (load_checkpoint(run.checkpoint("latest")) for run in (plain, trained["CartPole"]))
    assert torch.equal(a.tensors["random"]["cpu"], b.tensors["random"]["cpu"])
    assert a.metadata == b.metadata

    def fail():
        raise RuntimeError("[/no] paper")

    monkeypatch.setattr(final_figures, "final_figures", lambda *_: {"figures/none": fail})
    config, run = start("CartPole", tmp_path / "failing")
    assert train(config, run, Console()).outcome == "finished"
    assert "No figure figures/none in TensorBoard: [/no] paper" in capsys.readouterr().out
    assert images(run) == {}


def test_a_plant_without_an_exact_optimum_has_no_figure_of_a_policy():
    config = resolve(agent="daif", preset="fast", settings=TINY, env_kwargs={"plant": "jump"})
    with pytest.raises(ValueError, match="optimum"):
        plots.draw_policy(build_agent(config), config)
    large = dataclasses.replace(config, env_kwargs={**config.env_kwargs, "plant": "large"})
    assert final_figures.final_figures(build_agent(config), large) == {}


def test_what_has_no_model_is_refused(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ppo = RunFolder(tmp_path / "ppo")
    ppo.write_config(resolve(agent="ppo", env="CartPole-v1", preset="none").resolved())
    for run, sentence in ((trained["without a model"], "was never trained"), (ppo, "is of runs of daif")):
        assert cli.main(["plot", "model", str(run.path)]) == 2
        text = " ".join(capsys.readouterr().err.split())
        assert text.startswith("Error: ")
        assert sentence in text
    assert cli.main(["plot", "model", str(trained["CartPole"].path), "--output", "model.svg"]) == 0
    assert b"<svg" in (tmp_path / "model.svg").read_bytes()


def test_errors_by_hand():
    came = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [np.nan, np.nan]])
    mean = np.array([[1.0, 1.5], [2.0, 1.0], [3.0, 1.0], [9.0, 9.0]])
    comparison = Comparison(("varies", "constant"), came, mean, np.ones_like(mean))
    assert comparison.error(0) == pytest.approx(2.0 / 3.0)
    assert comparison.r_squared(0) == pytest.approx(1.0 - 2.0 / 8.0)
    assert comparison.error(1) == pytest.approx(0.5 / 3.0)
    assert np.isnan(comparison.r_squared(1))
    titles = [axes.get_title() for axes in draw_models([("run", (comparison,))]).subfigs[0].axes]
    assert titles == ["varies\nR² 0.75, MAE 0.667", "constant\nMAE 0.167"]


def test_quantities_of_every_kind_of_part():
    space = spaces.Dict(
        {
            "level": spaces.Discrete(4, start=2), "modes": spaces.MultiDiscrete([3, 3, 3]),
            "pair": spaces.MultiDiscrete([2, 3]), "picture": spaces.Box(0, 255, (2, 2, 1), np.uint8),
            "bits": spaces.MultiBinary(2), "x": spaces.Box(-9.0, 9.0, (2,)),
        }
    )  # fmt: skip
    codec = ObservationCodec(space)
    picture = np.array([10, 20, 30, 40], np.uint8).reshape(1, 2, 2, 1)
    flat = codec.flatten(
        {
            "level": np.array([5]), "modes": np.array([[2, 0, 2]]), "pair": np.array([[1, 2]]), "picture": picture,
            "bits": np.array([[0, 1]]), "x": np.array([[-4.0, 7.0]]),
        }
    )[0]  # fmt: skip
    found = {
        name: float(flat[columns] @ np.array(weights))
        for part in codec.parts
        for name, columns, weights in _of_part(part)
    }
    assert found == pytest.approx(
        {
            "level": 5.0, "number of modes = 0": 1.0, "number of modes = 1": 0.0, "number of modes = 2": 2.0,
            "pair[0]": 1.0, "pair[1]": 2.0, "picture, mean": 25.0, "bits[0]": 0.0, "bits[1]": 1.0, "x[0]": -4.0,
            "x[1]": 7.0,
        }
    )  # fmt: skip
