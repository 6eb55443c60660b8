"""Trained policies on the exact chain agree with their simulation; the figure shows what they do."""

import numpy as np
import pytest
import torch
from rich.console import Console

from daif.experiments import plots
from daif.experiments.config import resolve
from daif.experiments.evaluate import PlantEvaluator, PlantProtocol, Policy
from daif.experiments.exact import chain_actions
from daif.experiments.run_time_preference import prefer
from daif.experiments.runs import RunFolder
from daif.experiments.settings import SettingsError
from daif.experiments.train import build_agent, train
from envs.energy_control.optimal import Optimiser, solve

TINY = {"epochs": 1, "iterations": 2, "warm_up": 1, "num_envs": 8, "policy_steps": 1, "critic_hidden": [16]}


@pytest.fixture(scope="module")
def paper() -> Optimiser:
    return Optimiser("paper")


def test_the_optimal_agent_gives_the_optimal_actions(paper):
    agent = build_agent(resolve(agent="optimal", preset="none", settings={"weight": 8000.0}))
    exact = solve("paper", 8000.0)
    assert paper.loss_and_saving_pct(chain_actions(agent, paper.chain)) == (
        pytest.approx(exact.loss_pct, abs=1e-6),
        pytest.approx(exact.saving_pct, abs=1e-6),
    )


def test_exact_figures_of_an_untrained_agent_agree_with_its_simulation(paper):
    config = resolve(agent="daif", preset="fast", seed=3)
    agent = build_agent(config)
    loss, saving = paper.loss_and_saving_pct(chain_actions(agent, paper.chain))
    evaluator = PlantEvaluator(config.full_env_kwargs, PlantProtocol(48, days=1.0, response_days=0.2, seed=7))
    simulated = evaluator.evaluate({"daif": Policy(agent)})["daif"]
    for exact, sample in ((loss, simulated.loss_pct), (saving, simulated.saving_pct)):
        assert sample.mean() == pytest.approx(exact, abs=4.0 * sample.std(ddof=1) / np.sqrt(len(sample)))


def test_another_weight_is_another_policy_at_once():
    config = resolve(agent="daif", preset="fast", seed=0)
    agent = build_agent(config)
    flat = torch.zeros(1, agent.codec.size)

    def policy() -> torch.Tensor:
        return agent.actor(agent.features(flat, agent.run_time_weights.expand(1, -1))).probs

    before = policy()
    assert policy().equal(before)
    prefer(agent, {"weight": 2000.0}, config.full_env_kwargs)
    assert not policy().equal(before)


def test_an_agent_that_sees_the_scores_is_refused(paper):
    agent = build_agent(resolve(agent="ppo", preset="workstation", seed=0))
    weights = agent.model.policy.action_net.weight
    weights.data.mul_(1000.0)  # an untrained policy hardly looks at anything
    with pytest.raises(SettingsError, match="sees more than parts, machines"):
        chain_actions(agent, paper.chain)


def test_visits_are_the_rate_of_decisions(paper):
    solution = solve("paper", 8000.0)
    visits = paper.visits(solution.policy.act(paper.chain.observations()))
    arrivals = len(paper.chain.arrival_keys)
    assert visits[:arrivals].sum() == pytest.approx(paper.chain.rates.arrival)
    assert 60.0 * visits[arrivals:].sum() == pytest.approx(solution.parts_per_min)


def test_the_figure_of_a_policy(tmp_path):
    config = resolve(agent="daif", preset="fast", seed=0, settings=TINY, evaluation={"every": 0})
    run = RunFolder(tmp_path / "run")
    run.write_config(config.resolved())
    run.write_metadata(0, "test")
    train(config, run, Console(quiet=True))
    plots.plot("policy", [run.path], tmp_path / "policy.png", preference={"weight": 3000.0})
    assert (tmp_path / "policy.png").read_bytes().startswith(b"\x89PNG")
    other = RunFolder(tmp_path / "other")
    other.write_config(config.resolved())
    with pytest.raises(SettingsError, match="is of one run; 2 were given"):
        plots.plot("policy", [tmp_path], tmp_path / "policy.png")
