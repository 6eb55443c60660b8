"""Baselines: Stable-Baselines3 agents, rules and the exact optimum, all behind one interface."""
