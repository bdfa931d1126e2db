"""A summary as plain data has the fields of a summary."""

from dataclasses import fields
from typing import get_type_hints

from hankelboard.storage.layout import RunPaths
from hankelboard.storage.summary import Summary, SummaryRow, row_of, summarise


def test_a_row_has_the_fields_of_a_summary_and_their_types():
    assert get_type_hints(SummaryRow) == get_type_hints(Summary)


def test_a_row_holds_what_the_summary_says(tmp_path):
    summary = summarise(RunPaths(tmp_path / "20261130-120000-gone-aaaa"))
    assert row_of(summary) == {field.name: getattr(summary, field.name) for field in fields(summary)}
