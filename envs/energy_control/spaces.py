"""Observation and action spaces of a plant, for every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.energy_control.config import EVENTS, STATES, Plant


def observation_space(plant: Plant, observe_event: bool = False) -> spaces.Dict:
    """One station: buffer, [event], machines, scores; a line has buffer_1, buffer_2, ... and machines_1, ... instead.

    Machines of a station with another one downstream have a sixth state, blocked.
    """
    parts: dict[str, spaces.Space[Any]] = {"scores": spaces.Box(0.0, 1.0, (3,), np.float32)}
    last = len(plant.stations) - 1
    for i, station in enumerate(plant.stations):
        suffix = f"_{i + 1}" if last else ""
        parts[f"buffer{suffix}"] = spaces.Discrete(station.buffer + 1)
        parts[f"machines{suffix}"] = spaces.MultiDiscrete([len(STATES) + (i < last)] * station.machines)
    if observe_event:
        parts["event"] = spaces.Discrete(len(EVENTS))
    return spaces.Dict(dict(sorted(parts.items())))


def action_space(plant: Plant) -> spaces.Discrete | spaces.MultiDiscrete:
    """Machines to be on: one number, or one for each station of a line."""
    counts = [station.machines + 1 for station in plant.stations]
    return spaces.Discrete(counts[0]) if len(counts) == 1 else spaces.MultiDiscrete(counts)
