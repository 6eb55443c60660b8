"""Whether the five packages are this project's: `envs` and `baselines` are names that others use too."""

import importlib.util
from pathlib import Path

PACKAGES = ("daif", "envs", "baselines", "world_models", "generative")


def shadowed() -> list[tuple[str, str]]:
    """Return the packages that resolve elsewhere, each with the place they resolve to."""
    root = Path(__file__).resolve().parents[2]
    wrong = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        place = spec.origin if spec is not None and spec.origin else None
        if place is None or Path(place).resolve().parent != root / name:
            wrong.append((name, place or "nothing"))
    return wrong
