"""The command line as a user runs it: real processes, real files, exit codes, one sentence for every mistake."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from daif import cli

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
SMALL = ("--set", "n_steps=64", "batch_size=64", "n_epochs=1", "epoch_steps=64", "hidden=[8]")


def daif(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "daif", *map(str, arguments)],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def metrics(run):
    with (run / "metrics.csv").open() as file:
        return [
            {name: text for name, text in row.items() if name not in ("time/fps", "time/time_elapsed")}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    result = daif(
        "train", "--env", "CartPole-v1", "--agent", "ppo", "--preset", "none", "--steps", 192, "--seed", 3,
        "--run-dir", "run", *SMALL, cwd=folder,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder / "run", result


def test_training_leaves_a_complete_run_folder(trained):
    run, result = trained
    assert "3/3" in result.stdout
    assert "Finished after 192 decisions" in result.stdout
    names = {file.name for file in run.rglob("*") if file.is_file()}
    assert {"config.yaml", "command.txt", "metadata.json", "metrics.csv", "latest.ckpt", "best.ckpt"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["env"], config["agent"], config["seed"], config["steps"]) == ("CartPole-v1", "ppo", 3, 192)
    assert config["settings"]["n_steps"] == 64
    assert config["settings"]["gamma"] == 0.99  # defaults are written down too
    assert "train --env CartPole-v1" in (run / "command.txt").read_text()


def test_an_environment_without_a_time_limit(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text("evaluation: {every: 1, episodes: 2, max_decisions: 40}\n")
    result = daif(
        "train", "--env", "CliffWalking-v1", "--agent", "ppo", "--preset", "none", "--steps", 128, "--config", config,
        "--run-dir", "run", *SMALL, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("of 2 episodes after 40 decisions without an end") == 1  # once, not at each evaluation
    assert [float(row["eval/cut_episodes"]) for row in metrics(tmp_path / "run")] == [2.0, 2.0]
    result = daif("evaluate", "run", "--episodes", 3, "--max-decisions", 30, "--acting", "deterministic", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "3 of 3 episodes (deterministic) had no end within 30 decisions" in result.stdout
    content = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert content["results"]["deterministic"]["cut_episodes"] == 3


def test_evaluate_writes_intervals_of_both_ways_of_acting(trained):
    run, _ = trained
    result = daif("evaluate", run, "--checkpoint", "latest", "--episodes", 6, cwd=run.parent)
    assert result.returncode == 0, result.stderr
    content = json.loads((run / "evaluation.json").read_text())
    assert set(content["results"]) == {"deterministic", "stochastic"}
    for one in content["results"].values():
        assert len(one["returns"]) == 6
        assert one["mean_reward"]["low"] <= one["mean_reward"]["value"] <= one["mean_reward"]["high"]
        assert one["mean_reward"]["value"] == pytest.approx(sum(one["returns"]) / 6)
    assert content["training_seed"] == 3
    assert content["decisions"] == 192


def test_an_evaluation_that_adapts_says_so_and_leaves_the_run_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ("epochs=1", "iterations=2", "warm_up=1", "num_envs=8", "policy_steps=1", "critic_hidden=[16]")
    train = ["train", "--preset", "fast", "--run-dir", "run", "--evaluate-every", "0", "--set", *tiny]
    assert cli.main(train) == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "latest.ckpt"
    before = checkpoint.read_bytes()
    evaluate = ["evaluate", "run", "--days", "0.05", "--response-days", "0", "--replications", "3"]
    evaluate += ["--adapt", "window=5", "reference_every=2"]
    assert cli.main(evaluate) == 0
    first = json.loads((tmp_path / "run" / "evaluation_adapted.json").read_text())
    result = daif(*evaluate, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "run" / "evaluation_adapted.json").read_text())
    assert content["results"] == first["results"]
    assert content["settings"] == {"adapt": True, "window": 5, "reference_every": 2}
    for one in content["results"].values():
        assert set(one["adaptation"]) == {"decisions", "reversions", "divergence_nats"}
        assert one["adaptation"]["decisions"] > 500
    assert checkpoint.read_bytes() == before
    assert not (tmp_path / "run" / "evaluation.json").exists()
    capsys.readouterr()
    for arguments, message in (
        (("run", "--adapt", "windows=5"), "Unknown setting of --adapt 'windows'"),
        (("run", "--adapt", "window=1"), "window is 1; it must be at least 2"),
        (("run", "--adapt", "--tariff", "x.csv"), "--adapt cannot be combined with --tariff"),
        (("all-on", "--adapt"), "--adapt is for runs of daif and dqn"),
    ):
        assert cli.main(["evaluate", *arguments]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_a_killed_run_resumes_to_the_same_metrics(tmp_path):
    arguments = (
        "train",
        "--env",
        "CartPole-v1",
        "--agent",
        "ppo",
        "--preset",
        "none",
        "--steps",
        1280,
        "--evaluate-every",
        10,
        *SMALL,
    )
    straight = daif(*arguments, "--run-dir", "straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    for name, kill, code in (("interrupted", signal.SIGINT, 130), ("killed", signal.SIGKILL, -signal.SIGKILL)):
        process = subprocess.Popen(
            [sys.executable, "-m", "daif", *map(str, arguments), "--run-dir", name],
            cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (tmp_path / name / "checkpoints" / "latest.ckpt").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(kill)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == code, output
        if kill == signal.SIGINT:
            assert "finishing this epoch" in output
            assert "daif train --resume" in output
        assert len(metrics(tmp_path / name)) < 20
        resumed = daif("train", "--resume", name, cwd=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        assert metrics(tmp_path / name) == metrics(tmp_path / "straight")


def test_the_workstation_from_training_to_the_figure(tmp_path):
    result = daif(
        "train", "--agent", "ppo", "--preset", "none", "--steps", 512, "--run-dir", "run", "--evaluate-every", 0,
        *SMALL, "num_envs=8", "n_steps=16", "signal=outcomes", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    protocol = ("--days", 0.05, "--response-days", 0.02, "--replications", 3)
    for target in (("run",), ("constant", "--set", "n=4", "--output", "rules/evaluation.json")):
        result = daif("evaluate", *target, *protocol, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert content["results"]["deterministic"]["replications"] == 3
    assert content["protocol"] == {"replications": 3, "days": 0.05, "response_days": 0.02}
    for kind, name in (("tradeoff", "tradeoff.png"), ("training", "training.svg")):
        result = daif("plot", kind, "run", "rules", "--output", name, cwd=tmp_path) if kind == "tradeoff" else daif(
            "plot", kind, "run", "--output", name, cwd=tmp_path
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "training.svg").read_bytes()
    result = daif("report", "run", "rules", cwd=tmp_path)
    assert result.returncode == 0
    assert "| constant (n=4) | deterministic |" in result.stdout


MISTAKES = {
    "environment": (("train", "--env", "CartPole-v7"), "did you mean 'CartPole-v1'"),
    "agent": (("train", "--agent", "dafi"), "did you mean 'daif'"),
    "setting": (("train", "--env", "CartPole-v1", "--set", "horizn=3"), "did you mean 'horizon'"),
    "horizon": (("train", "--env", "CartPole-v1", "--preset", "none", "--set", "horizon=-5"), "horizon is -5"),
    "preset": (("train", "--agent", "dqn", "--preset", "papper"), "did you mean 'paper'"),
    "configuration file": (("train", "--config", "none.yaml"), "none.yaml cannot be read"),
    "environment argument": (("train", "--agent", "ppo", "--env-kwargs", "pland=paper"), "pland"),
    "plant": (("evaluate", "all-on", "--env-kwargs", "plant=papr"), "papr"),
    "seed": (("train", "--env", "CartPole-v1", "--agent", "ppo", "--seed", "-1"), "seed is -1"),
    "steps": (("train", "--env", "CartPole-v1", "--agent", "ppo", "--steps", "0"), "steps is 0"),
    "run folder": (("evaluate", "nothing"), "Unknown run folder or agent 'nothing'"),
    "resume": (("train", "--resume", "nothing"), "is not a run folder"),
    "untrained": (("evaluate", "ppo"), "has to be trained first"),
    "days": (("evaluate", "all-on", "--days", "-3"), "days is -3"),
    "replications": (("evaluate", "all-on", "--replications", "0"), "replications is 0"),
    "rule setting": (("evaluate", "constant", "--set", "n=9"), "n is 9"),
    "figure": (("plot", "tradeoff", "--output", "x.txt"), "must end in .png"),
    "no runs": (("plot", "training", "."), "There are no runs"),
    "report": (("report", "."), "There are no evaluations"),
    "listing": (("envs", "CartPol-v1"), "did you mean 'CartPole-v1'"),
    "agent's settings": (("agents", "sacc"), "did you mean 'sac'"),
    "weight": (("optimum", "--weights", "-3"), "weight is -3"),
    "benchmark": (("benchmark", "none.yaml"), "none.yaml cannot be read"),
    "demo": (("demo", "--budget", "2"), "budget is 2"),
}


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_mistake_gets_one_sentence_and_exit_code_2(name, tmp_path, monkeypatch, capsys):
    arguments, sentence = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    assert cli.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    text = " ".join(captured.err.split())
    assert text.startswith("Error: ")
    assert sentence in text
    assert "Traceback" not in text
    assert not (tmp_path / "runs").exists()  # nothing is left behind


def test_a_mistake_in_a_real_process(tmp_path):
    result = daif("train", "--agent", "dafi", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip() == "Error: Unknown agent 'dafi'; did you mean 'daif'?"


def test_a_mistyped_flag_or_command(tmp_path):
    for arguments in (("train", "--sed", "3"), ("trian",)):
        result = daif(*arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("damage", ["truncated", "altered", "text"])
def test_an_unreadable_checkpoint_is_refused_and_nothing_is_lost(trained, tmp_path, damage, capsys):
    run, _ = trained
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", run, copy], check=True)
    file = copy / "checkpoints" / "latest.ckpt"
    content = file.read_bytes()
    middle = len(content) // 2
    altered = {
        "truncated": content[:middle],
        "altered": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
        "text": b"not a checkpoint",
    }[damage]
    file.write_bytes(altered)
    before = metrics(copy)
    for arguments in (["train", "--resume", str(copy)], ["evaluate", str(copy), "--checkpoint", "latest"]):
        assert cli.main(arguments) == 2
        error = " ".join(capsys.readouterr().err.split())
        assert error.startswith("Error: Checkpoint ")
    assert metrics(copy) == before
    assert file.read_bytes() == altered


def test_a_checkpoint_of_another_environment_is_refused(trained, tmp_path, capsys):
    run, _ = trained
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", run, copy], check=True)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["env"] = "Acrobot-v1"
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["train", "--resume", str(copy)]) == 2
    assert "is for the environment 'CartPole-v1', not for 'Acrobot-v1'" in " ".join(capsys.readouterr().err.split())


def test_a_run_is_never_overwritten(trained, capsys):
    run, _ = trained
    assert cli.main(["train", "--env", "CartPole-v1", "--agent", "ppo", "--run-dir", str(run)]) == 2
    assert "already holds a run" in " ".join(capsys.readouterr().err.split())


def test_settings_of_a_resumed_run_are_kept(trained, capsys):
    run, _ = trained
    assert cli.main(["train", "--resume", str(run), "--set", "gamma=0.5"]) == 2
    assert "--set cannot be changed when a run resumes" in " ".join(capsys.readouterr().err.split())


def test_configuration_file_and_several_seeds(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "env: CartPole-v1\nagent: ppo\npreset: none\nsteps: 64\nevaluation: {every: 0}\n"
        "settings: {n_steps: 64, batch_size: 64, n_epochs: 1, epoch_steps: 64, gamma: 0.5}\n"
    )
    result = daif("train", "--config", "mine.yaml", "--seed", 1, 2, "--set", "gamma=0.6", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    configs = [yaml.safe_load(file.read_text()) for file in sorted((tmp_path / "runs").rglob("config.yaml"))]
    assert sorted(config["seed"] for config in configs) == [1, 2]
    assert all(config["settings"]["gamma"] == 0.6 for config in configs)


def test_a_module_is_imported_for_its_environment(tmp_path):
    (tmp_path / "my_envs.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('mine/Cart-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=20)\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    result = subprocess.run(
        [sys.executable, "-m", "daif", "evaluate", "random", "--env", "my_envs:mine/Cart-v0", "--episodes", "4"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_listings(capsys):
    for arguments, expected in (
        (["envs"], ["daif/EnergyControl-v0", "CartPole-v1"]),
        (["envs", "daif/EnergyControl-v0"], ["buffer", "machines", "scores"]),
        (["agents"], ["daif", "dqn", "ppo", "sac", "hysteresis", "optimal"]),
        (["agents", "ppo"], ["n_steps", "Decisions of each environment in a rollout."]),
        (["world-models"], ["overshooting_vae"]),
    ):
        assert cli.main(arguments) == 0
        output = " ".join(capsys.readouterr().out.split())
        for text in expected:
            assert text in output


def test_optimum_writes_the_exact_front(tmp_path, capsys):
    file = tmp_path / "front.csv"
    assert cli.main(["optimum", "--weights", "8000", "3000", "--output", str(file)]) == 0
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    with (ROOT / "tests/reference/optimum.csv").open() as lines:
        reference = {float(row["weight_kj_per_part"]): row for row in csv.DictReader(lines)}
    for row in rows:
        for name in ("production_loss_pct", "energy_saving_pct"):
            assert float(row[name]) == pytest.approx(float(reference[float(row["weight_kj_per_part"])][name]), abs=0.01)


def test_the_optimum_of_a_plant_that_is_not_markovian_is_refused(tmp_path, capsys):
    plant = yaml.safe_load((ROOT / "envs/energy_control/plants/paper.yaml").read_text())
    plant["stations"][0]["processing"] = {"kind": "deterministic", "mean_s": 83.7}
    file = tmp_path / "plant.yaml"
    file.write_text(yaml.safe_dump(plant))
    assert cli.main(["optimum", "--env-kwargs", f"plant={file}"]) == 2
    assert "exponential" in " ".join(capsys.readouterr().err.split())


def test_a_film(tmp_path):
    film = tmp_path / "film.gif"
    arguments = [
        "evaluate",
        "constant",
        "--days",
        "0.01",
        "--replications",
        "2",
        "--video",
        str(film),
        "--video-frames",
        "3",
    ]
    assert cli.main(arguments) == 0
    assert film.read_bytes().startswith(b"GIF8")


def test_doctor(capsys):
    assert cli.main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "smoke run" in output
    assert "256 decisions" in output


def test_help_names_every_command(tmp_path):
    result = daif("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in (
        "train",
        "evaluate",
        "plot",
        "report",
        "benchmark",
        "envs",
        "agents",
        "world-models",
        "optimum",
        "doctor",
        "demo",
    ):
        assert command in result.stdout
