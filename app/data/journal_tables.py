"""Journal lines as Arrow tables: ten times faster than record by record, for what only charts look at."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow_json

_BLOCK_BYTES = 1 << 20
_NULL = -1.7976931348623157e308
"""Stands for null while Arrow parses: its tables cannot distinguish a null, which marks a gap, from a key
that is not there. No record holds this number but to break charts."""
_TEXT_OF_TIME = arrow_json.ParseOptions(explicit_schema=pa.schema([("t", pa.string())]))


def parse(lines: bytes) -> pa.Table | None:
    """Return one row per line and one column per key; None when these lines must be read record by record.

    That is so when a line is damaged, or a key holds numbers in one line and text in another.
    """
    marked = lines.replace(b":null", b":%r" % _NULL).replace(b",null", b",%r" % _NULL)
    for block_bytes in (_BLOCK_BYTES, len(marked)):  # the second for a line that is longer than a block
        options = arrow_json.ReadOptions(block_size=block_bytes)
        try:
            table = arrow_json.read_json(
                pa.BufferReader(marked), read_options=options, parse_options=_TEXT_OF_TIME
            )
        except (pa.ArrowException, OverflowError):
            if len(marked) <= _BLOCK_BYTES:
                return None
        else:
            return table if table.num_rows == lines.count(b"\n") else None
    return None


def numbers(table: pa.Table, key: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return values (rows,) float64 with NaN for null, and where the key was given; None for no numbers."""
    column = table.column(key)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return None
    given = ~column.is_null().to_numpy() if column.null_count else np.ones(len(column), bool)
    return _with_gaps(column.cast(pa.float64()).to_numpy()), given


def _with_gaps(values: np.ndarray) -> np.ndarray:
    nulls = values == _NULL
    return np.where(nulls, np.nan, values) if nulls.any() else values


def whole_numbers(table: pa.Table, key: str, default: int | None = None) -> np.ndarray | None:
    """Return (rows,) int64, `default` where there is no key; None when a row has no such number."""
    if key not in table.column_names:
        return None if default is None else np.full(table.num_rows, default, np.int64)
    column = table.column(key)
    if not pa.types.is_integer(column.type) or (default is None and column.null_count):
        return None
    filled = column.fill_null(default) if default is not None else column
    return np.asarray(filled.to_numpy(), np.int64)


def number_lists(table: pa.Table, key: str) -> list[np.ndarray] | None:
    """Return the lists of numbers under a key, float64 with NaN for null; None when not every row has one."""
    if key not in table.column_names or not pa.types.is_list(table.column(key).type):
        return None
    lists = table.column(key).combine_chunks()
    items = lists.values
    if lists.null_count or not (pa.types.is_integer(items.type) or pa.types.is_floating(items.type)):
        return None
    values = _with_gaps(items.cast(pa.float64()).to_numpy(zero_copy_only=False))
    ends = lists.offsets.to_numpy()
    return [values[start:end] for start, end in itertools.pairwise(ends)]


def texts(table: pa.Table, key: str, default: str) -> list[Any]:
    """Return the texts under a key, `default` where there is none."""
    if key not in table.column_names or not pa.types.is_string(table.column(key).type):
        return [default] * table.num_rows
    return [default if value is None else value for value in table.column(key).to_pylist()]
