"""Lookup of names with a helpful sentence when one is mistyped."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str], *, list_all: bool = True) -> str:
    """Return one sentence that says that `name` is unknown and which known names come closest.

    Args:
        kind: what is looked up, such as "agent".
        name: what was asked for.
        known: the names that exist.
        list_all: name them all where none is close (off for long registries).
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.55)
    if not close:
        lower = {known_name.lower(): known_name for known_name in names}
        close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.55)]
    if close:
        return f"Unknown {kind} {name!r}; did you mean {' or '.join(repr(match) for match in close)}?"
    if list_all and names:
        return f"Unknown {kind} {name!r}; known are {', '.join(names)}."
    return f"Unknown {kind} {name!r}" + ("." if names else "; there is none.")
