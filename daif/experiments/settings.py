"""Settings: frozen dataclasses built from plain mappings, with a clear sentence for every mistake."""

import dataclasses
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from daif.experiments.names import unknown

T = TypeVar("T")


class SettingsError(ValueError):
    """Settings that cannot be used; the message is one sentence."""


def build(cls: type[T], values: Mapping[str, Any], *, what: str = "setting") -> T:
    """Return the dataclass `cls` with the given fields, converted to their declared types.

    Args:
        cls: a dataclass.
        values: fields by name; those not given keep their defaults.
        what: what a field is called in messages.

    Raises:
        SettingsError: an unknown field (with the closest known one) or a value of the wrong type.
        ValueError: from the dataclass's own checks.
    """
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise SettingsError(unknown(what, str(name), fields))
    return cls(**{name: convert(value, hints[name], name) for name, value in values.items()})


def convert(value: Any, hint: Any, name: str) -> Any:
    """Return `value` as the type `hint`, or raise a sentence that names the field."""
    if hint is Any:
        return value
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, hint, name)
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise SettingsError(f"{name} is {value!r}; allowed are {', '.join(repr(choice) for choice in get_args(hint))}.")
    if origin is tuple and isinstance(value, list | tuple):
        items = get_args(hint)
        if len(items) == 2 and items[1] is Ellipsis:
            return tuple(convert(item, items[0], name) for item in value)
        if len(items) == len(value):
            return tuple(convert(item, kind, name) for item, kind in zip(value, items, strict=True))
    elif (origin is dict or hint is dict) and isinstance(value, Mapping):
        return dict(value)
    elif origin is list and isinstance(value, list | tuple):
        return [convert(item, get_args(hint)[0], name) for item in value]
    elif isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(hint, value, what=f"field of {name}")
    elif isinstance(hint, type):
        converted = _convert_plain(value, hint)
        if converted is not None:
            return converted
    raise SettingsError(f"{name} is {value!r}; it must be {_describe(hint)}.")


def apply_assignments(values: dict[str, Any], assignments: tuple[str, ...]) -> dict[str, Any]:
    """Return `values` with `field=value` assignments applied; values are YAML, dots reach into nested mappings."""
    result = dict(values)
    for assignment in assignments:
        field, separator, text = assignment.partition("=")
        if not separator or not field:
            raise SettingsError(f"{assignment!r} is not of the form field=value.")
        target = result
        *path, last = field.strip().split(".")
        for part in path:
            nested = target.get(part)
            target[part] = dict(nested) if isinstance(nested, Mapping) else {}
            target = target[part]
        try:
            target[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(f"The value of {assignment!r} is not valid YAML.") from None
    return result


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file (`yaml.safe_load` only), or raise one sentence."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not a text file.") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise SettingsError(f"{path} is not valid YAML{where}.") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SettingsError(f"{path} must hold a mapping of names to values.")
    return content


def to_plain(value: Any) -> Any:
    """Return dataclasses, tuples, paths and numpy scalars as what YAML and JSON can write."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        return value.item()
    return value


def _convert_union(value: Any, hint: Any, name: str) -> Any:
    kinds = get_args(hint)
    if value is None and type(None) in kinds:
        return None
    for exact in (True, False):  # an exact type wins over a conversion: 1 stays an int in `int | float`
        for kind in kinds:
            if exact and not (isinstance(kind, type) and type(value) is kind):
                continue
            try:
                return convert(value, kind, name)
            except SettingsError:
                continue
    raise SettingsError(f"{name} is {value!r}; it must be {_describe(hint)}.")


def _convert_plain(value: Any, hint: type) -> Any:
    """Return the converted value, or None where it does not fit."""
    if hint is bool or isinstance(value, bool):
        return value if hint is bool and isinstance(value, bool) else None
    if isinstance(value, hint):
        return value
    if hint is float:
        try:  # YAML 1.1 reads 1e-3 as a string
            return float(value)
        except (TypeError, ValueError):
            return None
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is int and isinstance(value, str):
        try:  # and 1e6 too
            number = float(value)
        except ValueError:
            return None
        return int(number) if number.is_integer() else None
    if hint is Path and isinstance(value, str):
        return Path(value)
    return None


def _describe(hint: Any) -> str:
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    origin = get_origin(hint)
    if hint in plain:
        return plain[hint]
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(kind) for kind in get_args(hint))
    if origin in (tuple, list):
        return "a list"
    if origin is dict or hint is dict or dataclasses.is_dataclass(hint):
        return "a mapping"
    if origin is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    return getattr(hint, "__name__", str(hint))
