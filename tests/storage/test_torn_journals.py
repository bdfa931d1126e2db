"""Journals that were cut, replaced or grow while they are read: the whole is read, each record once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hankelboard.storage.journal import MAX_LINE_BYTES, Journal, JournalReader, read_journal
from tests.storage.odd_files import in_time, line

ROOT = Path(__file__).parents[2]


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
        "import resource, sys; from pathlib import Path\n"
        "from hankelboard.storage.journal import JournalReader\n"
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
