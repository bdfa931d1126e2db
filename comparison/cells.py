"""Cells of tables that leave the house, in CSV and Markdown: what a person typed does nothing there.

A spreadsheet computes what begins with =, +, - or @, behind a tab or a line end, too. Such a text gets an
apostrophe in front, which spreadsheets take as the mark of a text and our own reader takes away. Numbers stay
as they are.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

_COMPUTED = re.compile(r"'*[\s\0]*[=+\-@\t\r\n＝＋－＠]")
"""Apostrophes as well: one more is written before those that a text has, so that one can be taken away."""
_MARKDOWN = re.compile(r"[\\|<*`~$]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|^[#+-](?=#*(?:\s|$))")


def for_spreadsheet(value: Any) -> Any:
    """Return what a cell of CSV holds, so that no spreadsheet computes it.

    >>> for_spreadsheet("=1+1"), for_spreadsheet("'=1"), for_spreadsheet("a-b"), for_spreadsheet(-1.5)
    ("'=1+1", "''=1", 'a-b', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and _COMPUTED.match(value) else value


def from_spreadsheet(text: str) -> str:
    """Return the text that `for_spreadsheet` was given.

    >>> from_spreadsheet("'=1+1"), from_spreadsheet("'tis")
    ('=1+1', "'tis")
    """
    return text[1:] if text.startswith("'") and _COMPUTED.match(text) else text


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with the same keys as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(map(for_spreadsheet, rows[0] if rows else []))
    writer.writerows(map(for_spreadsheet, row.values()) for row in rows)
    return text.getvalue()


def csv_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of CSV that `csv_text` made. Raise csv.Error or ValueError where it is none."""
    head, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = list(map(from_spreadsheet, head))
    return [dict(zip(names, map(from_spreadsheet, line), strict=True)) for line in lines if line]


def for_markdown(text: str) -> str:
    """Return text for a cell or a line of Markdown: no cell, emphasis, link, formula or HTML begins in it."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))
