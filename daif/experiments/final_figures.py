"""The figures that TensorBoard gets at the end of a training: what the agent does and what its world model knows."""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from daif.experiments.config import RunConfig
from daif.experiments.environments import is_plant
from daif.experiments.model_figure import compare, draw_models, has_trained_model, title_of
from daif.experiments.plots import draw_policy
from daif.experiments.protocol import Agent
from envs.energy_control.config import load_plant

MOST_MACHINES = 8
"""Machines up to which the exact optimum takes no more than seconds; `daif plot policy` has no such bound."""


def final_figures(agent: Agent, config: RunConfig) -> Mapping[str, Callable[[], Figure]]:
    """Return what draws the figures of a trained agent, by their names; those that it can't have are left out."""
    figures: dict[str, Callable[[], Figure]] = {}
    if is_plant(config.env):
        plant = load_plant(config.full_env_kwargs.get("plant", "paper"))
        if sum(station.machines for station in plant.stations) <= MOST_MACHINES:
            figures["figures/policy"] = lambda: draw_policy(agent, config)
    if has_trained_model(agent):
        figures["figures/model"] = lambda: draw_models([(title_of(config), compare(agent, config))])
    return figures


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as an image (height, width, 3) of bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
