"""One sentence for a name that is mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
