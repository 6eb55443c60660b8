"""One sentence for a name that is mistyped."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin, get_type_hints


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """Return a sentence that says that a name is unknown, which allowed name is nearest, and every allowed one.

    Args:
        what: what is looked up, such as "activation".
        name: what was asked for.
        allowed: the names that exist, in the order in which they are to be listed.
    """
    names = list(allowed)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {what} {name!r}{hint} Allowed: {', '.join(names)}"


def check_choices(config: Any) -> None:
    """Refuse a dataclass with a field whose value its `Literal` type does not allow; ValueError."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        hint, value = hints[field.name], getattr(config, field.name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise ValueError(unknown(field.name, str(value), map(str, get_args(hint))))
