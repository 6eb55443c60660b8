"""Checks of settings: one clear sentence for each bad value, with the closest allowed name where there is one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np


class SettingError(ValueError):
    """A setting is wrong; the message says in one sentence what, and what is allowed."""


def number(value: object, what: str, low: float, high: float, *, above: bool = False) -> float:
    """`value` as a float in [low, high], or in (low, high] with `above`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise SettingError(f"{what} must be a number, not {value!r}.")
    found = float(value)
    if not (low < found if above else low <= found) or not found <= high:
        allowed = f"above {low:g}" if above else f"at least {low:g}"
        raise SettingError(f"{what} is {found:g}; it must be {allowed} and at most {high:g}.")
    return found


def whole(value: object, what: str, low: int, high: int) -> int:
    """`value` as an int in low..high."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise SettingError(f"{what} must be a whole number, not {value!r}.")
    if not low <= value <= high:
        raise SettingError(f"{what} is {int(value)}; it must be from {low} to {high}.")
    return int(value)


def choice(value: object, what: str, allowed: Sequence[str]) -> str:
    """`value`, which has to be one of `allowed`."""
    if isinstance(value, str) and value in allowed:
        return value
    raise SettingError(f"{what} {value!r} is unknown{closest(value, allowed)}; allowed: {', '.join(allowed)}.")


def closest(value: object, allowed: Sequence[str]) -> str:
    """A hint at the allowed name that is closest to `value`, or nothing."""
    matches = difflib.get_close_matches(str(value), allowed, n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
