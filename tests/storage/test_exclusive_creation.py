"""One creator wins, the file is whole, nothing stays behind: on file systems without hard links, too."""

import errno
import os
import threading

import pytest

from hankelboard.storage import atomic
from hankelboard.storage.records import read_record

RECORD = {"by": "ada", "reason": "é" * 300}
WITHOUT_LINKS = [errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EMLINK]


def link_says(monkeypatch, number):
    def refuse(source, target, **places):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


@pytest.fixture(params=["a rename that replaces nothing", "neither"])
def what_is_left(request, monkeypatch):
    if request.param == "neither":
        monkeypatch.setattr(atomic, "_rename_to_free_name", lambda place, source, target: False)


@pytest.mark.usefixtures("what_is_left")
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("name", sorted(set(errno.errorcode.values())))
def test_each_error_of_a_link_ends_whole_or_with_nothing(tmp_path, monkeypatch, name, unique):
    number = getattr(errno, name)
    link_says(monkeypatch, number)
    path = tmp_path / "r"
    if number in WITHOUT_LINKS:
        atomic.create(path, RECORD, unique=unique)
        assert read_record(path) == RECORD and list(tmp_path.iterdir()) == [path]
        with pytest.raises(FileExistsError):
            atomic.create(path, {"by": "bob"}, unique=unique)
        assert read_record(path) == RECORD
    else:
        with pytest.raises(OSError) as refused:
            atomic.create(path, RECORD, unique=unique)
        assert refused.value.errno == number
    assert [left for left in tmp_path.iterdir() if left != path] == []


@pytest.mark.usefixtures("what_is_left")
def test_of_many_creators_one_wins_and_no_reader_sees_a_part(tmp_path, monkeypatch):
    link_says(monkeypatch, errno.EPERM)
    seen, won = set(), []

    def create(path, number):
        try:
            atomic.create(path, {"n": number, "text": "x" * 3000})
        except FileExistsError:
            return
        won.append(number)

    for round_ in range(20):
        path = tmp_path / str(round_)
        threads = [threading.Thread(target=create, args=(path, n)) for n in range(6)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            seen.add(path.stat().st_size if path.exists() else -1)
        assert read_record(path)["n"] == won[-1] and len(won) == round_ + 1
    assert len(seen - {-1, 0}) == 1
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_a_file_that_could_not_be_written_in_place_is_gone(tmp_path, monkeypatch, fails):
    link_says(monkeypatch, errno.EPERM)
    monkeypatch.setattr(atomic, "_rename_to_free_name", lambda place, source, target: False)
    real, in_place = getattr(os, fails), []

    def full(descriptor, *more):
        if in_place and fails == "fsync":
            raise OSError(errno.ENOSPC, "No space left on device")
        return 3 if fails == "write" else real(descriptor, *more)

    publish = atomic._write_in_place
    monkeypatch.setattr(atomic, "_write_in_place", lambda *args: in_place.append(1) or publish(*args))
    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="o space left"):
        atomic.create(tmp_path / "r", RECORD)
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_that_rename_is_no_error(tmp_path, monkeypatch):
    link_says(monkeypatch, errno.EPERM)
    monkeypatch.setattr("ctypes.CDLL", lambda *more, **options: object())
    atomic.create(tmp_path / "r", RECORD)
    assert read_record(tmp_path / "r") == RECORD and len(list(tmp_path.iterdir())) == 1
