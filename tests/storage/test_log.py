"""log.txt stays short, whole lines of its beginning and end at any time."""

import os

import pytest

from hankelboard.storage import log
from hankelboard.storage.log import LEFT_OUT, Log, read_ends


@pytest.fixture
def small(monkeypatch):
    for name, size in (("HEAD_BYTES", 1_000), ("TAIL_BYTES", 2_000), ("MAX_BYTES", 5_000)):
        monkeypatch.setattr(log, name, size)


def lines(start, stop):
    return [b"line %06d\n" % number for number in range(start, stop)]


def test_the_beginning_and_the_end_are_kept_and_what_is_left_out_is_counted(tmp_path, small):
    path, written = tmp_path / "log.txt", 0
    for restart in range(3):
        kept = Log(path)
        for piece in lines(restart * 5_000, (restart + 1) * 5_000):
            kept.write(piece)
            written += len(piece)
            assert path.stat().st_size <= log.MAX_BYTES
        kept.close()
    text = path.read_bytes()
    (left_out,) = LEFT_OUT.findall(text)
    head, tail = LEFT_OUT.split(text)[0], LEFT_OUT.split(text)[-1]
    assert head == b"".join(lines(0, len(head) // 12)) and len(head) > 900
    assert tail == b"".join(lines(15_000 - len(tail) // 12, 15_000)) and len(tail) >= 1_900
    assert len(head) + int(left_out) + len(tail) == written
    assert os.listdir(tmp_path) == ["log.txt"]


def test_a_log_that_is_too_long_already_is_shortened_and_one_endless_line_too(tmp_path, small):
    path = tmp_path / "log.txt"
    path.write_bytes(b"first\n" + b"x" * 1_000_000 + b"\nlast\n")
    Log(path).write(b"y" * 10_000 + b"\n")
    assert path.stat().st_size <= log.MAX_BYTES and path.read_bytes().startswith(b"first\n")
    assert path.read_bytes().endswith(b"y\n")


def test_a_reader_finds_a_whole_log_whenever_it_looks(tmp_path, small, monkeypatch):
    path, seen = tmp_path / "log.txt", []
    kept, replace = Log(path), os.replace

    def looked_at(*arguments, **where):
        seen.append(path.read_bytes())
        return replace(*arguments, **where)

    monkeypatch.setattr(os, "replace", looked_at)
    for piece in lines(0, 2_000):
        kept.write(piece)
    assert len(seen) > 3
    for text in seen:
        assert text.startswith(b"line 000000\n") and text.endswith(b"\n")


def test_what_cannot_be_written_is_lost_and_a_log_that_was_removed_begins_anew(tmp_path):
    path = tmp_path / "log.txt"
    kept = Log(path)
    kept.write(b"one\n")
    path.unlink()
    kept.write(b"two\n")
    assert path.read_bytes() == b"two\n"
    path.unlink()
    path.mkdir()
    kept.write(b"three\n")
    Log(tmp_path / "absent" / "log.txt").write(b"four\n")


def test_the_ends_of_a_short_log_are_all_of_it(tmp_path):
    (tmp_path / "l").write_bytes(b"".join(lines(0, 10)))
    assert read_ends(tmp_path / "l", 60, 60) == (b"".join(lines(0, 10)), b"", 120)
    assert read_ends(tmp_path / "l", 30, 30) == (b"".join(lines(0, 2)), b"".join(lines(8, 10)), 120)
