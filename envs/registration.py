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
    gymnasium.register("daif/Identity-v0", entry_point="envs.toy:IdentityEnv")
    gymnasium.register("daif/IdentityContinuous-v0", entry_point="envs.toy:IdentityContinuousEnv")
    gymnasium.register("daif/Chain-v0", entry_point="envs.toy:ChainEnv")
