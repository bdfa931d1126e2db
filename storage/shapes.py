"""What does not fit: the types of storage/schema.py as checks of what was read from disk.

A check is made once for each type. It looks at what JSON gives (dict, list, str, int, float, bool, None),
asks for exactly that, and names the first key that does not fit and what was expected there. `true` is no
number. Keys that a type does not have are ignored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Check = Callable[[Any], str]
"""Returns what does not fit ("layers[0].rank: must be a whole number"), empty when all does."""

WORDS: dict[type, str] = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null",
    list: "a list", dict: "an object",
}  # fmt: skip


@dataclass(frozen=True)
class Range:
    """Numbers that a key may hold: both ends are allowed."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"from {self.least:,} to {self.most:,}"


@dataclass(frozen=True)
class Should:
    """Marks a key that readers can do without, and that a good writer writes."""


SHOULD = Should()


@dataclass(frozen=True)
class Shape:
    """Which types a value may have, each with a closer look where one is needed."""

    looks: Mapping[type, Check | None]
    words: str
    """What is expected, for people."""

    def misfit(self, value: Any) -> str:
        """Return what does not fit; empty when all does."""
        look = self.looks.get(type(value), self.refuse)
        return look(value) if look else ""

    def refuse(self, value: Any) -> str:
        """Return what is expected instead of a value of another type."""
        return f"must be {self.words}"


ANYTHING = Shape(dict.fromkeys(WORDS), "anything")


@cache
def shape_of(hint: Any) -> Shape:
    """Return the shape of a type: a TypedDict, or what one holds."""
    hint = bare(hint)
    if hint is Any:
        return ANYTHING
    if is_typeddict(hint):
        return Shape({dict: _record_check(hint)}, WORDS[dict])
    origin = get_origin(hint)
    if origin is Annotated:
        return _annotated(*get_args(hint))
    if origin in (Union, UnionType):
        return _either([shape_of(part) for part in get_args(hint)])
    if origin is list:
        items = shape_of(get_args(hint)[0])
        return Shape({list: _list_check(items)}, f"a list of {_many(items.words)}")
    if origin is dict:
        return Shape({dict: _values_check(shape_of(get_args(hint)[1]))}, WORDS[dict])
    if hint is float:
        return Shape({float: None, int: None}, WORDS[float])
    kind = NoneType if hint is None else hint
    return Shape({kind: None}, WORDS[kind])


def bare(hint: Any) -> Any:
    """Return a type without Required or NotRequired around it."""
    return get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint


def hints_of(record: Any) -> dict[str, Any]:
    """Return the types of a TypedDict's keys, with what is noted on them."""
    return {key: bare(hint) for key, hint in get_type_hints(record, include_extras=True).items()}


def notes_on(hint: Any) -> tuple[Any, ...]:
    """Return what is noted on a type: a Range, a vocabulary, SHOULD."""
    return getattr(hint, "__metadata__", ())


def range_on(hint: Any) -> Range | None:
    """Return the numbers that a type is noted to allow, if it says."""
    return next((note for note in notes_on(hint) if isinstance(note, Range)), None)


def _annotated(hint: Any, *notes: object) -> Shape:
    shape = shape_of(hint)
    allowed = next((note for note in notes if isinstance(note, Range)), None)
    if allowed is None:
        return shape
    plain, null, _ = shape.words.partition(" or null")
    words = f"{plain} {allowed}{null}"

    def look(value: float) -> str:
        return "" if allowed.least <= value <= allowed.most else f"must be {words}"

    return Shape({kind: look if kind in (int, float) else None for kind in shape.looks}, words)


def _either(shapes: list[Shape]) -> Shape:
    looks = {kind: look for shape in shapes for kind, look in shape.looks.items()}
    return Shape(looks, " or ".join(shape.words for shape in shapes))


def _list_check(items: Shape) -> Check:
    kinds, plain = frozenset(items.looks), not any(items.looks.values())

    def check(values: list[Any]) -> str:
        if plain and kinds.issuperset(map(type, values)):
            return ""
        problems = ((place, items.misfit(value)) for place, value in enumerate(values))
        return next((_inside(f"[{place}]", problem) for place, problem in problems if problem), "")

    return check


def _values_check(items: Shape) -> Check:
    def check(values: dict[str, Any]) -> str:
        problems = ((key, items.misfit(value)) for key, value in values.items())
        return next((_inside(key, problem) for key, problem in problems if problem), "")

    return check


_ABSENT = object()
"""Stands for a key that is not there: no value of JSON has its type."""


def _missing(value: Any) -> str:
    return "is missing"


def _record_check(record: Any) -> Check:
    shapes = {key: shape_of(hint) for key, hint in hints_of(record).items()}
    rows = [
        (key, {**shape.looks, object: _missing if key in record.__required_keys__ else None}, shape.refuse)
        for key, shape in shapes.items()
    ]

    def check(values: dict[str, Any]) -> str:
        get = values.get
        for key, looks, refuse in rows:
            value = get(key, _ABSENT)
            look = looks.get(type(value), refuse)
            if look is not None and (problem := look(value)):
                return _inside(key, problem)
        return ""

    return check


def _inside(place: str, problem: str) -> str:
    """Return a problem with where it is before it.

    >>> _inside("layers", _inside("[0]", _inside("rank", "must be text")))
    'layers[0].rank: must be text'
    """
    inner, colon, expected = problem.partition(": ")
    if not colon or problem.startswith(("must ", "is ")):
        return f"{place}: {problem}"
    return f"{place}{'' if inner.startswith('[') else '.'}{inner}: {expected}"


def _many(words: str) -> str:
    """Return words for several things.

    >>> _many("a whole number from 0 to 9"), _many("text"), _many("a number or null")
    ('whole numbers from 0 to 9', 'texts', 'numbers or null')
    """
    if words.startswith("text"):
        return f"texts{words.removeprefix('text')}"
    for one in ("a whole number", "a number", "an object", "a list"):
        if words.startswith(one):
            return f"{one.split(' ', 1)[1]}s{words.removeprefix(one)}"
    return words


def types_in(hint: Any) -> list[Any]:
    """Return the TypedDicts that a type is, or is a list or an alternative of."""
    hint = bare(hint)
    if is_typeddict(hint):
        return [hint]
    parts = get_args(hint) if get_origin(hint) in (Annotated, Union, UnionType, list) else ()
    return [found for part in parts for found in types_in(part)]


def vocabulary_on(hint: Any) -> type[StrEnum] | None:
    """Return the list of words that a type is noted to be of, if any."""
    notes = (note for note in notes_on(hint) if isinstance(note, type) and issubclass(note, StrEnum))
    return next(notes, None)
