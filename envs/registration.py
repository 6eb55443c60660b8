"""Registers the environments with Gymnasium; importing `envs` calls it."""

from __future__ import annotations

import gymnasium


def register_all() -> None:
    """Register every environment of the project, once."""
    if "daif/EnergyControl-v0" in gymnasium.registry:
        return
    gymnasium.register(
        "daif/EnergyControl-v0",
        entry_point="envs.factory:make_energy_control",
        vector_entry_point="envs.factory:make_energy_control_vector",
    )
