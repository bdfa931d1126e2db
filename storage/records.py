"""Records: JSON objects with a time, without NaN, of bounded size. And the ids of what people create."""

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hankelboard.storage import opening

Record = dict[str, Any]
"""A JSON object as it was read; storage/decoding.py gives it its type."""

MAX_FILE_BYTES = 16 * 1024 * 1024  # a proposal of 12 layers x 1,024 states is about 2 MB
MAX_PERSONS_FILE_BYTES = 64 * 1024  # what people write: decisions, commands, notes
MAX_NAME, MAX_REASON = 200, 2_000  # characters of who decided, and why
MAX_DEPTH = 64  # objects and lists inside one another; what the format describes stays below 10
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def now() -> str:
    """Return the coordinated universal time, ISO 8601 with milliseconds and Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(record: Mapping[str, object]) -> str:
    """Return one line of JSON. What is not finite becomes null, half a character becomes "?".

    Text that Python read from the terminal or the environment as bytes of no known character is UTF-8.
    """
    try:
        text = _ENCODER.encode(record)
    except ValueError:
        text = _ENCODER.encode(_finite(record))
    return text if text.isascii() else whole_characters(text)


def whole_characters(text: str) -> str:
    """Return text without half characters: bytes that Python could not read are UTF-8, else "?"."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return text.encode("utf-8", "replace").decode("utf-8")


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def decode(line: str | bytes) -> Record | None:
    """Return the record in a line, or None when it is no JSON object that every reader understands alike.

    None as well for NaN, Infinity, numbers that a double cannot hold, a key given twice, text that is not
    Unicode and nesting beyond MAX_DEPTH: what passes here can be computed with, shown and written again.
    """
    try:
        data = line.encode() if isinstance(line, str) else line
        record = (_CAREFUL if _may_overflow(data) else _STRICT).decode(data.decode("utf-8"))
        if b"\\ud" in data or b"\\uD" in data:
            json.dumps(record, ensure_ascii=False).encode()  # half a character, written as an escape
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or (_may_be_deep(data) and _is_deeper(record, MAX_DEPTH)):
        return None
    return record


def decode_lines(lines: bytes) -> list[Record | None]:
    """Decode each line, in a third less time than `decode`: all lines are first checked at once.

    A line that does not pass this check is left to `decode`.
    """
    try:
        texts = [] if _may_overflow(lines) or b"\\u" in lines else lines.decode("utf-8").split("\n")
    except ValueError:
        texts = []
    return [_at_first_sight(text) or decode(text) for text in texts] or [
        decode(line) for line in lines.split(b"\n")
    ]


def _at_first_sight(text: str) -> Record | None:
    """Return the record in a line whose numbers and characters were checked; None when in doubt."""
    try:
        value, end = _STRICT.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    plain = end == len(text) and isinstance(value, dict) and text.count("{") + text.count("[") <= MAX_DEPTH
    return value if plain else None


# Looking at every number would cost more than parsing does, so the bytes are asked first: digits become 0,
# e and E become e, plus signs go. Three digits of exponent or 200 in a row deserve a closer look.
_SHAPE = bytes(48 if byte in b"0123456789" else 101 if byte in b"eE" else 32 for byte in range(256))
_MANY_DIGITS = b"0" * 200


def _may_overflow(data: bytes) -> bool:
    shape = data.translate(_SHAPE, b"+")
    return b"e000" in shape or _MANY_DIGITS in shape


def _may_be_deep(data: bytes) -> bool:
    return data.count(b"{") + data.count(b"[") > MAX_DEPTH


def _is_deeper(value: Any, room: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return room == 0 or any(_is_deeper(item, room - 1) for item in items if isinstance(item, dict | list))


def _unique(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key is given twice")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a double cannot hold this number")
    return number


def _finite_int(text: str) -> int:
    _finite_float(text)
    return int(text)


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
_CAREFUL = json.JSONDecoder(
    parse_constant=_refuse_constant,
    object_pairs_hook=_unique,
    parse_float=_finite_float,
    parse_int=_finite_int,
)


def read_record(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Record | None:
    """Return the record in a whole file; None when it is absent, too large, no plain file or no record."""
    try:
        data = opening.read_bytes(path, max_bytes)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return None if data is None else decode(data)


_last_ulid = 0
_ulid_lock = threading.Lock()


def new_ulid() -> str:
    """Return a new ULID: 48 bits of milliseconds and 80 random bits, sortable by time, 26 characters.

    Those of one process rise, also within a millisecond.
    """
    global _last_ulid
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    with _ulid_lock:
        if number >> 80 <= _last_ulid >> 80:
            number = _last_ulid + 1
        _last_ulid = number
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))
