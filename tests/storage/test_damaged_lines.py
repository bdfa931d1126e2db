"""Lines of nonsense, of any length and depth: they are counted, their neighbours are read, nothing hangs."""

import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hankelboard.storage.journal import MAX_LINE_BYTES, Journal, JournalReader, read_journal
from hankelboard.storage.records import MAX_DEPTH, decode, decode_lines, encode, read_record
from tests.storage.odd_files import in_time, line

DAMAGED_LINES = {
    "NUL bytes": b"\0" * 4096,
    "NUL inside": b'{"n":1,"a":\0}',
    "invalid UTF-8": b'{"n":"\xff\xfe"}',
    "surrogate in UTF-8": b'{"n":"\xed\xa0\x80"}',
    "surrogate as escape": b'{"n":"\\ud800"}',
    "surrogate as a key": b'{"\\uDFFF":1}',
    "UTF-16": '{"n":1}'.encode("utf-16-le"),
    "byte order mark": b'\xef\xbb\xbf{"n":1}',
    "deep lists": b'{"n":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": b'{"n":' * 100_000 + b"1" + b"}" * 100_000,
    "rather deep": b'{"n":' + b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH + b"}",
    "unclosed depth": b"[" * 1_000_000,
    "integer of 5,000 digits": b'{"n":' + b"9" * 5_000 + b"}",
    "integer beyond a double": b'{"n":' + b"9" * 310 + b"}",
    "fraction beyond a double": b'{"n":' + b"9" * 310 + b".5}",
    "exponent beyond a double": b'{"n":1e999}',
    "negative, with a plus": b'{"n":[-1.5E+400]}',
    "NaN": b'{"n":NaN}',
    "Infinity": b'{"n":[Infinity]}',
    "minus Infinity": b'{"n":{"m":-Infinity}}',
    "a key twice": b'{"n":1,"n":2}',
    "a key twice inside": b'{"n":{"m":1,"\\u006d":2}}',
    "no object": b"[1,2]",
    "a number": b"12",
    "two objects": b'{"n":1}{"n":2}',
    "nothing": b"",
    "spaces": b"   ",
    "half an object": b'{"n":1',
}
WHOLE_LINES = {
    "large but finite": (b'{"n":1e300}', {"n": 1e300}),
    "tiny": (b'{"n":1e-999}', {"n": 0.0}),
    "200 digits": (b'{"n":' + b"1" * 200 + b"}", {"n": int("1" * 200)}),
    "escaped pair": (b'{"n":"\\ud83d\\ude00"}', {"n": "😀"}),
    "escaped backslash": (b'{"n":"\\\\ud800"}', {"n": "\\ud800"}),
    "deep enough": (b'{"n":' + b"[" * 60 + b"]" * 60 + b"}", None),
    "many lists, not deep": (b'{"n":[' + b"[1]," * 5_000 + b"[1]]}", {"n": [[1]] * 5_001}),
    "brackets in a text": (b'{"n":"' + b"[{" * 5_000 + b'"}', {"n": "[{" * 5_000}),
    "the same key at two levels": (b'{"n":{"n":1}}', {"n": {"n": 1}}),
    "carriage return": (b'{"n":1}\r', {"n": 1}),
}


@pytest.mark.parametrize("what", DAMAGED_LINES)
def test_a_damaged_line_is_counted_and_its_neighbours_are_read(tmp_path, what):
    path = tmp_path / "j"
    path.write_bytes(line(1) + DAMAGED_LINES[what] + b"\n" + line(2))
    records, damaged = in_time(lambda: read_journal(path))
    assert [r["n"] for r in records] == [1, 2] and damaged == 1
    path.write_bytes(DAMAGED_LINES[what])
    assert in_time(lambda: read_record(path)) is None


@pytest.mark.parametrize("what", WHOLE_LINES)
def test_an_unusual_but_whole_line_is_a_record_that_can_be_written_again(what):
    given, expected = WHOLE_LINES[what]
    record = decode(given)
    assert record is not None and (expected is None or record == expected)
    assert decode(encode(record)) == record


PARTS = [
    *DAMAGED_LINES.values(), *(given for given, _ in WHOLE_LINES.values()), b"", b" {} ", b'{"a":1}\r', b"{}",
    b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":1e400}', b'{"a":"\xff"}', b'{"a":"\xc2\x85\xe2\x80\xa8"}', b"[1]",
    b"{" * 70, b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", b'{"a":"\\u00e9\\ud800"}',
    b'{"a":' + b"9" * 400 + b"}",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS) | st.binary(max_size=12), min_size=1, max_size=6))
def test_many_lines_are_read_as_each_alone(parts):
    lines = b"\n".join(parts)
    assert decode_lines(lines) == [decode(part) for part in lines.split(b"\n")]


def test_what_is_written_can_always_be_read():
    text = "half \ud800 a character"  # what a terminal hands over for bytes that are no UTF-8
    assert decode(encode({"reason": text, "é": [float("nan"), -0.0]})) == {
        "reason": "half ? a character",
        "é": [None, 0.0],
    }


@pytest.mark.parametrize("newline", [False, True])
def test_an_endless_line_is_skipped_in_bounded_memory_and_looked_through_once(tmp_path, newline, monkeypatch):
    path = tmp_path / "j"
    with path.open("wb") as file:
        file.write(line(1))
        for _ in range(50):
            file.write(b"x" * 1_000_000)
        file.write(b"\n" + line(2) if newline else b"")
    reader, read = JournalReader(path), []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda d, size, at: read.append(size) or real(d, size, at))
    tracemalloc.start()
    try:
        records = in_time(reader.read_new)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [r["n"] for r in records] == ([1, 2] if newline else [1])
    assert reader.damaged == (1 if newline else 0)  # else it is a torn tail: ignored, and healed
    assert peak < 4 * MAX_LINE_BYTES
    read.clear()
    assert reader.read_new() == [] and sum(read) <= 2 * MAX_LINE_BYTES + 1_000
    with Journal(path) as journal:
        journal.append({"n": 3})
    assert [r["n"] for r in reader.read_new()] == [3] and reader.restarts == 0


@pytest.mark.parametrize("length", [-2, -1, 0, 1, 2])
def test_lines_around_the_longest_that_is_allowed(tmp_path, length):
    path = tmp_path / "j"
    wanted = MAX_LINE_BYTES + length  # newline included
    text = "x" * (wanted - len('{"n":""}\n'))
    path.write_bytes(line(1) + b'{"n":"%s"}\n' % text.encode() + line(2))
    records, damaged = read_journal(path)
    assert (len(records), damaged) == ((3, 0) if length <= 0 else (2, 1))
