"""Tables that leave the house: nothing that a person typed is computed, and our own reader gets it back."""

import csv
import io

import pandas as pd
import pytest

from hankelboard.comparison import frames
from hankelboard.comparison.cells import csv_rows, csv_text, for_markdown, for_spreadsheet, from_spreadsheet

TYPED = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1",
    "＝1+1", "'=1+1", "''=1", "'tis", "'",
    "''", "plain", "", "a,b", 'say "x"', "two\nlines", "two\r\nlines", "two\rlines", "=LINK(1,2)",
    "林黛玉", "−1",
]  # fmt: skip
COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n", "＝")


@pytest.mark.parametrize("text", TYPED)
def test_a_typed_text_is_no_formula_and_comes_back(text):
    written = csv_text([{"name": text, "=head": 1}])
    head, cells = csv.reader(io.StringIO(written, newline=""))
    assert not [cell for cell in (*head, *cells) if cell.lstrip(" ").startswith(COMPUTED)]
    assert csv_rows(written) == [{"name": text, "=head": "1"}]
    assert from_spreadsheet(for_spreadsheet(text)) == text


def test_numbers_stay_numbers():
    assert csv_text([{"a": -1.5, "b": 1e-7, "c": None, "d": -3}]) == "a,b,c,d\r\n-1.5,1e-07,,-3\r\n"


def test_no_rows_are_read_back_as_none():
    assert csv_rows(csv_text([])) == []


def test_exported_metrics_hold_no_formula(tmp_path):
    frame = pd.DataFrame({"step": [1], "loss": [-0.5], "=cmd": ["@x"], "t": ["2026-11-30T00:00:00Z"]})
    frames.write(frame, tmp_path / "m.csv")
    text = (tmp_path / "m.csv").read_text(encoding="utf-8")
    assert text.splitlines() == ["step,loss,'=cmd,t", "1,-0.5,'@x,2026-11-30T00:00:00Z"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", r"a \| b"), ("**bold**", r"\*\*bold\*\*"), ("_x_ __y__", r"\_x\_ \_\_y\_\_"),
        ("val_loss", "val_loss"), ("[a](javascript:x)", r"[a]\(javascript:x)"), ("<b>", r"\<b>"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"), ("a & b", "a & b"), ("`x` $x$ ~~x~~", r"\`x\` \$x\$ \~\~x\~\~"),
        ("two\nlines", "two lines"), ("# head", r"\# head"), ("- item", r"\- item"),
        ("+1.69 [−1, 2]", "+1.69 [−1, 2]"),        ("\\", r"\\"),
    ],
)  # fmt: skip
def test_markdown_shows_a_typed_text_letter_by_letter(text, shown):
    assert for_markdown(text) == shown
