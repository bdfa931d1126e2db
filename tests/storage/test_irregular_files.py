"""Folders, pipes, links and devices in the place of a file: no record, no journal, nobody waits for them."""

import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from hankelboard.storage.journal import Journal, JournalReader, read_journal
from hankelboard.storage.opening import NotAFile
from hankelboard.storage.proposals import read_decision
from hankelboard.storage.records import read_record
from tests.storage.odd_files import IRREGULAR, in_time, line


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


def test_what_is_no_plain_file_has_its_own_error(tmp_path):
    with pytest.raises(NotAFile):
        os.mkfifo(tmp_path / "p")
        Journal(tmp_path / "p")
