"""The training loop: resumption, determinism, what is written, bad numbers, interruption."""

import dataclasses
import json
import math
import os
import signal

import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from daif.experiments import train as train_module
from daif.experiments.checkpoint import load_checkpoint
from daif.experiments.config import resolve
from daif.experiments.registry import AGENTS
from daif.experiments.runs import MetricsFile, RunFolder, read_metrics
from daif.experiments.settings import SettingsError
from daif.experiments.train import load_agent, train

QUIET = Console(quiet=True)
PPO = {"n_steps": 50, "batch_size": 50, "n_epochs": 1, "hidden": [8], "epoch_steps": 100}
DAIF = {
    "epochs": 3, "iterations": 2, "horizon": 4, "memory": 4, "model_batch": 4, "policy_batch": 4, "samples": 2,
    "inner_samples": 2, "hidden": [8], "actor_hidden": [8], "latent_dim": 3,
}  # fmt: skip
CASES = {
    "ppo": {"agent": "ppo", "env": "CartPole-v1", "steps": 400, "settings": PPO},
    "dqn": {
        "agent": "dqn", "env": "CartPole-v1", "steps": 400,
        "settings": {"learning_starts": 20, "batch_size": 8, "hidden": [8], "epoch_steps": 100},
    },
    "sac": {
        "agent": "sac", "env": "Pendulum-v1", "steps": 200,
        "settings": {"learning_starts": 20, "batch_size": 8, "hidden": [8], "epoch_steps": 50},
    },
    "ppo on the workstation": {
        "agent": "ppo", "env": "daif/EnergyControl-v0", "steps": 400, "settings": {**PPO, "signal": "outcomes"},
    },
    "daif": {"agent": "daif", "env": "CartPole-v1", "settings": DAIF},
    "daif on the workstation": {"agent": "daif", "env": "daif/EnergyControl-v0", "settings": DAIF},
    "daif on Pendulum": {"agent": "daif", "env": "Pendulum-v1", "settings": DAIF},
}  # fmt: skip


def configuration(name, **changes):
    evaluation = {"every": 1, "episodes": 2, "replications": 2, "days": 0.02, "response_days": 0.01}
    return resolve(preset="none", evaluation=evaluation, **{**CASES[name], **changes})


def metrics_of(run):
    """All metrics but those of the clock, as they were written."""
    return [
        {name: text for name, text in row.items() if name not in ("time/fps", "time/time_elapsed")}
        for row in read_metrics(run.metrics_file)
    ]


def change_epochs(monkeypatch, change):
    """Let the agent "ppo" have `change(learn_epoch)` in the place of its `learn_epoch`."""
    original = AGENTS["ppo"].create

    def create(context, settings):
        learner = original(context, settings)
        learner.learn_epoch = change(learner.learn_epoch)
        return learner

    monkeypatch.setitem(AGENTS, "ppo", dataclasses.replace(AGENTS["ppo"], create=create))


def start(config, path):
    run = RunFolder(path)
    run.write_config(config.resolved())
    return run


class _StopAfter:
    """Asks for the end after some epochs, as Ctrl-C does, by the real signal."""

    def __init__(self, monkeypatch, epochs):
        self.left = epochs
        original = MetricsFile.append

        def append(this, metrics):
            original(this, metrics)
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(MetricsFile, "append", append)


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_interrupted_run_resumes_to_the_same_metrics_and_weights(name, tmp_path, monkeypatch):
    config = configuration(name)
    straight = start(config, tmp_path / "straight")
    assert train(config, straight, QUIET).outcome == "finished"
    stopped = start(config, tmp_path / "stopped")
    with monkeypatch.context() as patch:
        _StopAfter(patch, 2)
        result = train(config, stopped, QUIET)
    assert (result.outcome, result.epoch) == ("interrupted", 2)
    assert train(config, stopped, QUIET, resume=True).outcome == "finished"
    assert metrics_of(stopped) == metrics_of(straight)
    a, b = (load_checkpoint(run.checkpoint("latest")) for run in (straight, stopped))
    assert equal(a.tensors, b.tensors)
    assert equal(a.arrays, b.arrays)
    assert a.metadata == b.metadata


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "shape"):
        return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")
    return a == b


def test_two_trainings_with_one_seed_are_equal_and_another_seed_differs(tmp_path):
    runs = []
    for number, seed in enumerate((5, 5, 6)):
        config = configuration("ppo", seed=seed)
        runs.append(start(config, tmp_path / str(number)))
        train(config, runs[-1], QUIET)
    assert metrics_of(runs[0]) == metrics_of(runs[1])
    assert metrics_of(runs[0]) != metrics_of(runs[2])


def test_a_second_interrupt_stops_at_once_and_leaves_the_last_boundary(tmp_path, monkeypatch):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")
    epochs = []

    def change(learn):
        def learn_epoch(make_envs, epoch):
            if epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            epochs.append(epoch)
            return learn(make_envs, epoch)

        return learn_epoch

    change_epochs(monkeypatch, change)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(config, run, QUIET)
    assert signal.getsignal(signal.SIGINT) is before
    assert epochs == [0, 1]
    assert load_checkpoint(run.checkpoint("latest")).epoch == 2


def test_a_finished_run_stays_as_it_is(tmp_path):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")
    train(config, run, QUIET)
    before = metrics_of(run)
    result = train(config, run, QUIET, resume=True)
    assert (result.outcome, result.epoch) == ("finished", 4)
    assert metrics_of(run) == before


def test_more_steps_continue_a_finished_run(tmp_path):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")
    train(config, run, QUIET)
    result = train(dataclasses.replace(config, steps=600), run, QUIET, resume=True)
    assert (result.epoch, result.decisions) == (6, 600)


def test_tensorboard_and_csv_hold_the_same_metrics(tmp_path):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")
    train(config, run, QUIET)
    events = EventAccumulator(str(run.path))
    events.Reload()
    rows = read_metrics(run.metrics_file)
    names = [name for name in rows[0] if rows[0][name]]
    assert set(names) == set(events.Tags()["scalars"])
    assert {"rollout/ep_rew_mean", "eval/mean_reward", "time/fps", "train/loss"} <= set(names)
    for name in names:
        written = [(event.step, np.float32(event.value)) for event in events.Scalars(name)]
        assert written == [(int(row["time/total_timesteps"]), np.float32(row[name])) for row in rows if row[name]]


def test_the_best_checkpoint_is_that_of_the_best_evaluation(tmp_path):
    config = configuration("dqn")
    run = start(config, tmp_path / "run")
    result = train(config, run, QUIET)
    scores = [float(row["eval/mean_reward"]) for row in read_metrics(run.metrics_file)]
    assert result.best_score == max(scores)
    assert load_checkpoint(run.checkpoint("best")).epoch == 1 + scores.index(max(scores))
    assert load_checkpoint(run.checkpoint("latest")).epoch == len(scores)


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")
    with run.training(), pytest.raises(SettingsError, match="Another process is training"):
        train(config, run, QUIET)
    assert train(config, run, QUIET).outcome == "finished"


def test_numbered_checkpoints(tmp_path):
    config = configuration("ppo", checkpoint_every=2)
    run = start(config, tmp_path / "run")
    train(config, run, QUIET)
    assert run.checkpoint_names() == ["best", "latest", "step-200", "step-400"]
    _, agent = load_agent(run, "step-200")
    assert agent.decisions == 200


def test_bad_numbers_are_named_and_the_good_checkpoints_kept(tmp_path, monkeypatch):
    config = configuration("ppo", steps=1000)
    run = start(config, tmp_path / "run")

    def change(learn):
        def learn_epoch(make_envs, epoch):
            metrics = learn(make_envs, epoch)
            return {**metrics, "train/loss": math.nan, "train/value_loss": math.inf} if epoch >= 2 else metrics

        return learn_epoch

    change_epochs(monkeypatch, change)
    console = Console(record=True, width=200, file=open(os.devnull, "w"))  # noqa: SIM115
    result = train(config, run, console)
    assert (result.outcome, result.epoch) == ("diverged", 5)
    assert "Epoch 3: not finite: train/loss, train/value_loss" in console.export_text()
    assert load_checkpoint(run.checkpoint("latest")).epoch == 2
    assert load_checkpoint(run.checkpoint("best")).epoch <= 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, about the very numbers
def test_an_epoch_that_bad_numbers_break_is_named(tmp_path):
    config = configuration("ppo", settings={**PPO, "learning_rate": 1e36})
    run = start(config, tmp_path / "run")
    console = Console(record=True, width=300, file=open(os.devnull, "w"))  # noqa: SIM115
    assert train(config, run, console).outcome == "diverged"
    first, second = (line for line in console.export_text().splitlines() if "not finite" in line)
    assert first.startswith("Epoch 1: not finite: train/explained_variance")
    assert "state is not saved" in first
    assert second.startswith("Epoch 2: not finite: policy/")
    assert "the epoch is not finished" in second
    assert not run.checkpoint("latest").exists()


def test_an_error_of_another_kind_ends_a_training(tmp_path, monkeypatch):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")

    def learn_epoch(make_envs, epoch):
        raise ValueError("another kind")

    change_epochs(monkeypatch, lambda learn: learn_epoch)
    with pytest.raises(ValueError, match="another kind"):
        train(config, run, QUIET)


def test_signs_of_a_training_that_goes_wrong_are_named_once(tmp_path, monkeypatch):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")
    change_epochs(
        monkeypatch, lambda learn: lambda make_envs, epoch: {**learn(make_envs, epoch), "policy/entropy": 0.0}
    )
    console = Console(record=True, width=200, file=open(os.devnull, "w"))  # noqa: SIM115
    assert train(config, run, console).outcome == "finished"
    assert console.export_text().count("the policy has collapsed") == 1


def test_evaluations_use_other_seeds_than_training(tmp_path, monkeypatch):
    seeds = []

    def change(learn):
        def learn_epoch(make_envs, epoch):
            def make(num_envs, seed):
                seeds.append(seed)
                return make_envs(num_envs, seed)

            return learn(make, epoch)

        return learn_epoch

    change_epochs(monkeypatch, change)
    config = configuration("ppo")
    train(config, start(config, tmp_path / "run"), QUIET)
    assert len(set(seeds)) == 4
    assert max(seeds) < train_module.PERIODIC_SEED


def test_agents_that_do_not_learn_are_refused(tmp_path):
    config = resolve(agent="random", env="CartPole-v1")
    with pytest.raises(SettingsError, match="does not learn"):
        train(config, RunFolder(tmp_path), QUIET)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")
    train(config, run, QUIET)
    other = configuration("ppo", settings={**PPO, "hidden": [16]})
    with pytest.raises(SettingsError, match="does not fit the run's settings"):
        train(other, run, QUIET, resume=True)


@pytest.mark.parametrize("device", ["cude", "cuda:99", "meta"])
def test_devices_that_are_not_there_are_refused(device, tmp_path):
    with pytest.raises(SettingsError, match=r"[Dd]evice"):
        train(configuration("ppo", device=device), RunFolder(tmp_path), QUIET)


def test_the_run_says_what_it_was_made_with(tmp_path):
    config = configuration("ppo")
    run = start(config, tmp_path / "run")
    run.write_metadata(config.seed, "daif train")
    train(config, run, QUIET)
    assert train_module.run_config(run) == train_module.run_config(
        start(train_module.run_config(run), tmp_path / "again")
    )
    assert json.loads(run.metadata_file.read_text())["seed"] == 0
