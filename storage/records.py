"""Records: JSON objects with a time, without NaN, of bounded size. And the ids of what people create."""

import json
import math
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Record = dict[str, Any]

MAX_FILE_BYTES = 16 * 1024 * 1024  # a proposal of 12 layers x 1,024 states is about 2 MB
MAX_PERSONS_FILE_BYTES = 64 * 1024  # what people write: decisions, commands, notes
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def now() -> str:
    """Coordinated universal time, ISO 8601 with milliseconds and Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(record: Record) -> str:
    """One line of JSON. What is not finite becomes null: JSON has no NaN."""
    return json.dumps(_finite(record), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def decode(line: str | bytes) -> Record | None:
    """The record in a line, or None when it is not a JSON object. NaN and Infinity do not parse."""
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_record(path: Path, max_bytes: int = MAX_FILE_BYTES) -> Record | None:
    """The record in a whole file, or None when it is absent, too large, a link or not a record."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(max_bytes + 1)
        except OSError:
            return None
    return decode(data) if len(data) <= max_bytes else None


def new_ulid() -> str:
    """A ULID: 48 bits of milliseconds and 80 random bits, sortable by time, 26 characters."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))
