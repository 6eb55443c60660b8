"""Why adversarial training fails: lessons that take a minute and leave a figure, `python -m generative.lessons`."""

from __future__ import annotations

from generative.lessons.game_dynamics import METHODS, spiral
from generative.lessons.mode_collapse import Snapshot, mode_collapse
from generative.lessons.vae_and_gan import Comparison, compare
from generative.lessons.vanishing_gradients import generator_slopes

__all__ = ["METHODS", "Comparison", "Snapshot", "compare", "generator_slopes", "mode_collapse", "spiral"]
