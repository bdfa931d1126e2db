"""Journals that were cut, replaced or filled with nonsense: the whole is read, nothing raises or hangs."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import atomic
from storage.journal import MAX_LINE_BYTES, Journal, JournalReader, read_journal
from storage.proposals import read_decision
from storage.records import MAX_DEPTH, NotAFile, decode, decode_lines, encode, read_record
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
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


def in_time(call, seconds=PATIENCE_S):
    """The result of a call that must neither raise nor hang."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it hangs, or it raised"
    return results[0]


def line(number):
    return b'{"n":%d,"text":"\xc3\xa9 \xf0\x9f\x98\x80"}\n' % number


# Cut at every byte.


def test_cut_at_any_byte_the_whole_records_are_read_the_writer_heals_and_a_reader_sees_each_once(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        for number in range(40):
            journal.append({"n": number, "text": "é 😀\n", "list": [number] * 8})
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    assert len(ends) == 40
    for cut in range(ends[-4], len(data) + 1):
        path.unlink()
        path.write_bytes(data[:cut])
        whole = list(range(sum(end <= cut for end in ends)))
        reader = JournalReader(path)
        seen = [r["n"] for r in reader.read_new()]
        assert (seen, reader.damaged, reader.offset) == (whole, 0, ends[len(whole) - 1])
        with Journal(path) as journal:
            seen += [r["n"] for r in reader.read_new()]
            journal.append({"n": 100})
            seen += [r["n"] for r in reader.read_new()]
            journal.append({"n": 101})
        seen += [r["n"] for r in reader.read_new()]
        assert seen == [*whole, 100, 101] and (reader.damaged, reader.restarts) == (0, 0)
        assert [r["n"] for r in read_journal(path)[0]] == seen


def test_a_reader_that_polls_at_every_byte_sees_each_record_once(tmp_path):
    path = tmp_path / "j"
    data = b"".join(map(line, range(6)))
    reader, seen = JournalReader(path), []
    with path.open("wb", buffering=0) as file:
        for byte in data:
            file.write(bytes([byte]))
            seen += [r["n"] for r in reader.read_new()]
    assert seen == list(range(6)) and (reader.damaged, reader.restarts) == (0, 0)


def test_a_torn_tail_without_any_newline_of_many_chunks_heals(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(line(1) + b"x" * (2 * MAX_LINE_BYTES + 17))
    with Journal(path) as journal:
        journal.append({"n": 2})
    assert [r["n"] for r in read_journal(path)[0]] == [1, 2]


# Replaced under the reader.


def replaced(path):
    path.with_name("other").write_bytes(line(7) + line(8) + line(9))
    path.with_name("other").replace(path)


def replaced_by_a_longer_one_with_the_same_inode(path):
    path.write_bytes(line(7) + line(8) + line(9))


def shrunk(path):
    path.write_bytes(line(7))


def cut_to_nothing(path):
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("how", "then"),
    [(replaced, [7, 8, 9]), (replaced_by_a_longer_one_with_the_same_inode, [7, 8, 9]), (shrunk, [7]),
     (cut_to_nothing, [])],
)  # fmt: skip
def test_another_file_is_read_from_its_start_once(tmp_path, how, then):
    path = tmp_path / "j"
    path.write_bytes(b"damage\n" + line(1) + line(2))
    reader = JournalReader(path)
    assert [r["n"] for r in reader.read_new()] == [1, 2] and reader.damaged == 1
    how(path)
    assert [r["n"] for r in reader.read_new()] == then
    assert (reader.restarts, reader.damaged) == (1, 0)
    with path.open("ab") as file:
        file.write(line(10))
    assert [r["n"] for r in reader.read_new()] == [10] and reader.restarts == 1


def test_a_file_that_vanishes_and_comes_back_goes_on_and_another_one_starts_again(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(line(1))
    reader = JournalReader(path)
    reader.read_new()
    path.rename(tmp_path / "away")
    assert reader.read_new() == [] and reader.restarts == 0
    (tmp_path / "away").rename(path)
    assert reader.read_new() == [] and reader.restarts == 0
    path.unlink()
    path.write_bytes(line(2) + line(3))  # the file system may well give it the same inode
    assert [r["n"] for r in reader.read_new()] == [2, 3] and reader.restarts == 1


def a_folder(path, _):
    path.mkdir()


def a_pipe(path, _):
    os.mkfifo(path)


def a_link_that_leaves(path, tmp_path):
    (tmp_path / "elsewhere").write_bytes(line(5))
    path.symlink_to(tmp_path / "elsewhere")


def a_link_to_itself(path, _):
    path.symlink_to(path.name)


def a_link_to_nothing(path, _):
    path.symlink_to("nothing")


def a_link_to_a_device(path, _):
    path.symlink_to("/dev/zero")


IRREGULAR = [a_folder, a_pipe, a_link_that_leaves, a_link_to_itself, a_link_to_nothing, a_link_to_a_device]


@pytest.mark.parametrize("put", IRREGULAR)
def test_what_is_no_plain_file_counts_as_damaged_and_the_file_is_read_when_it_is_back(tmp_path, put):
    path = tmp_path / "run" / "j"
    path.parent.mkdir()
    path.write_bytes(line(1) + line(2))
    reader = JournalReader(path)
    in_time(reader.read_new)
    path.rename(tmp_path / "aside")
    put(path, tmp_path)
    for _ in range(3):  # counted once, however often one looks
        assert in_time(reader.read_new) == []
        assert (reader.damaged, reader.restarts) == (1, 1)
    assert in_time(lambda: read_journal(path)) == ([], 1)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "aside").rename(path)
    assert [r["n"] for r in reader.read_new()] == [1, 2] and (reader.damaged, reader.restarts) == (0, 2)


@pytest.mark.parametrize("put", IRREGULAR)
def test_a_writer_never_writes_into_or_heals_what_is_no_plain_file(tmp_path, put):
    path = tmp_path / "run" / "j"
    path.parent.mkdir()
    put(path, tmp_path)
    (tmp_path / "elsewhere").write_bytes(b"a letter without newline")

    def attempt():
        try:
            Journal(path).close()
        except OSError as error:
            return error

    assert isinstance(in_time(attempt), OSError)
    assert (tmp_path / "elsewhere").read_bytes() == b"a letter without newline"
    assert not path.with_name("nothing").exists()


def test_a_pipe_with_a_writer_is_no_record_either(tmp_path):
    """An open pipe without data gives no bytes at all, not even empty ones."""
    os.mkfifo(tmp_path / "p")
    descriptor = os.open(tmp_path / "p", os.O_RDWR)
    try:
        assert in_time(lambda: read_record(tmp_path / "p")) is None
        os.write(descriptor, b'{"n":1}\n')
        assert in_time(lambda: read_record(tmp_path / "p")) is None
        assert in_time(lambda: read_journal(tmp_path / "p")) == ([], 1)
    finally:
        os.close(descriptor)


# Nonsense inside.


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


# In pieces.


@pytest.mark.parametrize("limit", [1, 7, 100, 4_096, 10**9])
def test_pieces_of_any_size_together_are_the_journal(tmp_path, limit):
    path = tmp_path / "j"
    path.write_bytes(b"".join(line(n) + (b"damage\n" if n % 7 == 0 else b"") for n in range(200)) + b"torn")
    reader = JournalReader(path)
    pieces = list(reader.batches(limit))
    assert [r["n"] for piece in pieces for r in piece] == list(range(200)) and all(pieces)
    assert (reader.damaged, list(reader.batches(limit))) == (29, [])


def test_a_caller_may_stop_after_any_piece_and_go_on_later(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"".join(map(line, range(50))))
    reader, seen = JournalReader(path), []
    while piece := next(reader.batches(100), None):
        seen += [r["n"] for r in piece]
    assert seen == list(range(50)) and reader.restarts == 0


def test_a_file_that_grows_without_end_does_not_hold_a_reader(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(line(0) * 3)
    reader = JournalReader(path)

    def read():
        count = 0
        for piece in reader.batches(1):
            count += len(piece)
            with path.open("ab") as file:
                file.write(line(1) * 2)
        return count

    assert in_time(read) == 3 and len(reader.read_new()) == 6


def test_a_file_that_is_overwritten_between_two_pieces_is_noticed_by_the_next_call(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"".join(map(line, range(10))))
    reader = JournalReader(path)
    pieces = reader.batches(100)
    next(pieces)
    path.write_bytes(b"".join(map(line, range(20, 40))))
    assert list(pieces) == []  # what lies before is not what was read: nothing of it is mixed in
    assert [r["n"] for r in reader.read_new()] == list(range(20, 40)) and reader.restarts == 1


def test_a_large_journal_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "j"
    record = json.dumps({"t": "2026-11-23T14:15:02.123Z", "step": 1, "hsv": [0.123456] * 400}).encode()
    block = (record + b"\n") * (1_000_000 // len(record))
    with path.open("wb") as file:
        for _ in range(60):
            file.write(block)
    program = (
        "import resource, sys; from pathlib import Path; from storage.journal import JournalReader\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, reader = peak(), JournalReader(Path(sys.argv[1]))\n"
        "print(sum(map(len, reader.batches(1_000_000))), reader.offset, peak() - before)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    count, offset, grown = map(int, child.stdout.split())
    assert count == 60 * (1_000_000 // len(record)) and offset == path.stat().st_size
    assert grown / (1024 if sys.platform == "darwin" else 1) < 30_000  # kB; the whole file takes 300,000


# Whole files.


@pytest.mark.parametrize("put", [*IRREGULAR, None])
def test_a_record_that_is_no_plain_file_is_none(tmp_path, put):
    path = tmp_path / "run" / "r"
    path.parent.mkdir()
    if put:
        put(path, tmp_path)
    assert in_time(lambda: read_record(path)) is None


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/zero").exists(), reason="only root makes devices")
def test_a_device_is_no_record(tmp_path):
    try:
        os.mknod(tmp_path / "d", 0o600 | 0o020000, os.makedev(1, 5))
    except OSError:
        pytest.skip("no devices here")
    assert in_time(lambda: read_record(tmp_path / "d")) is None
    assert in_time(lambda: read_journal(tmp_path / "d")) == ([], 1)


@pytest.mark.parametrize("put", IRREGULAR)
def test_whatever_lies_in_a_decisions_place_is_a_decision_that_makes_no_sense(paths, tmp_path, put):
    put(paths.decision(1), tmp_path)
    assert in_time(lambda: read_decision(paths, 1)).verdict == ""


def test_a_record_is_bounded_in_size_and_memory(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(b'{"n":"' + b"x" * 91 + b'"}')
    assert read_record(path, max_bytes=99) is not None and read_record(path, max_bytes=98) is None
    os.truncate(path, 10**12)  # sparse
    tracemalloc.start()
    try:
        assert in_time(lambda: read_record(path)) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_path_with_nul_is_no_record(tmp_path):
    assert read_record(tmp_path / "a\0b") is None


# The writer's promises when the disk does not keep its own.


def test_a_durable_record_whose_fsync_fails_is_not_there_and_what_waited_is(tmp_path, monkeypatch):
    path = tmp_path / "j"
    journal = Journal(path, buffer_s=60.0, clock=lambda: 0.0)
    journal.append({"n": 1})
    real = os.fsync

    def broken(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        journal.append({"n": 2}, durable=True)
    assert "Input/output" in journal.trouble and [r["n"] for r in read_journal(path)[0]] == [1]
    monkeypatch.setattr(os, "fsync", real)
    journal.append({"n": 3}, durable=True)
    assert journal.trouble is None and [r["n"] for r in read_journal(path)[0]] == [1, 3]
    journal.close()


def test_a_durable_record_that_finds_no_room_does_not_take_others_with_it(tmp_path, monkeypatch):
    path = tmp_path / "j"
    journal = Journal(path, buffer_s=60.0, clock=lambda: 0.0)
    journal.append({"n": 1})
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda d, data, at: real(d, data[: len(data) // 2], at))
    with pytest.raises(OSError, match="no space"):
        journal.append({"n": 2}, durable=True)
    assert path.read_bytes() == b""
    monkeypatch.setattr(os, "pwrite", real)
    journal.append({"n": 3}, durable=True)
    assert [r["n"] for r in read_journal(path)[0]] == [1, 3]
    journal.close()


def test_the_name_of_a_new_journal_is_made_durable(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: synced.append(os.fstat(d).st_ino) or real(d))
    with Journal(tmp_path / "j") as journal:
        assert synced == [tmp_path.stat().st_ino]
        journal.append({"n": 1}, durable=True)
    assert synced[1:] == [(tmp_path / "j").stat().st_ino]


def test_no_temporary_is_left_of_what_cannot_be_written(tmp_path):
    with pytest.raises(TypeError):
        atomic.create(tmp_path / "r", {"n": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_file_server_that_answers_a_repeated_link_does_not_make_the_winner_lose(tmp_path, monkeypatch):
    real = os.link

    def link_twice(source, target):
        real(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link_twice)
    atomic.create(tmp_path / "r", {"n": 1})
    assert read_record(tmp_path / "r") == {"n": 1}
    monkeypatch.setattr(os, "link", real)
    with pytest.raises(FileExistsError):
        atomic.create(tmp_path / "r", {"n": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_what_is_no_plain_file_has_its_own_error(tmp_path):
    with pytest.raises(NotAFile):
        os.mkfifo(tmp_path / "p")
        Journal(tmp_path / "p")
