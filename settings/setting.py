"""One setting: its default, help and limits, and what is said of a value or name that is wrong."""

import dataclasses
import difflib
import math
import operator
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from typing import Any

from hankelboard.storage.errors import ConfigError


def setting(default: Any, help: str | Callable[[], str], **limits: Any) -> Any:
    """Return a field with its help and limits: minimum, maximum, above, below, choices.

    Help and choices may be functions, where they follow from what is registered.
    """
    metadata = {"help": help, **limits}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _allowed_types(item: dataclasses.Field[Any]) -> tuple[type, ...]:
    kinds = typing.get_args(item.type) if isinstance(item.type, types.UnionType) else (item.type,)
    return tuple(typing.get_origin(kind) or kind for kind in kinds)


def _type_name(item: dataclasses.Field[Any]) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table"}
    return " or ".join(names.get(kind, "a list") for kind in _allowed_types(item))


def check_value(key: str, value: Any, item: dataclasses.Field[Any]) -> None:
    """Raise ConfigError, naming key and value, when the value is of another type or outside the limits."""
    kinds = _allowed_types(item)
    allowed = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
        raise ConfigError(f"{key} = {value!r}: must be {_type_name(item)}")
    values = value if isinstance(value, list) else [value]
    element = (int, float) if "list[float]" in str(item.type) else int
    if isinstance(value, list) and any(isinstance(v, bool) or not isinstance(v, element) for v in value):
        raise ConfigError(f"{key} = {value!r}: must be a list of numbers")
    for each in values:
        problem = limit_problem(each, item.metadata)
        if problem:
            raise ConfigError(f"{key} = {value!r}: {problem}")


BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least", operator.ge),
    "maximum": ("at most", operator.le),
    "above": ("above", operator.gt),
    "below": ("below", operator.lt),
}
LIMITS = (*BOUNDS, "choices")


def limit_problem(value: Any, limits: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, or nothing; limits that are None do not count.

    >>> limit_problem(0, {"minimum": 1}), limit_problem(2, {"minimum": 1, "maximum": None})
    ('must be at least 1', '')
    """
    choices = _now(limits.get("choices"))
    if choices is not None and value not in choices:
        return f"must be one of {', '.join(choices)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be finite"
    for name, (words, holds) in BOUNDS.items():
        limit = limits.get(name)
        if limit is not None and not holds(value, limit):
            return f"must be {words} {limit}"
    return ""


def _now(value: Any) -> Any:
    """Return what a function gives now, and anything else as it is."""
    return value() if callable(value) else value


def suggest(name: str, known: Collection[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, else all.

    >>> suggest("stepz", ["steps", "seed"])
    '; did you mean steps?'
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def describe_fields(config: Any) -> list[dict[str, Any]]:
    """Return every key with type, default, limits and help: for `hankelboard presets --fields`."""
    return [
        {
            "key": f"{section.name}.{item.name}",
            "type": getattr(item.type, "__name__", str(item.type)),
            "default": getattr(part, item.name),
            **{name: _now(item.metadata.get(name)) for name in LIMITS},
            "help": _now(item.metadata["help"]),
        }
        for section in dataclasses.fields(config)
        for part in [getattr(config, section.name)]
        for item in dataclasses.fields(part)
    ]
