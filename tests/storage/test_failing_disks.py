"""The writer's promises when the disk does not keep its own."""

import errno
import os

import pytest

from hankelboard.storage import atomic
from hankelboard.storage.journal import Journal, read_journal
from hankelboard.storage.records import read_record


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

    def link_twice(source, target, **where):
        real(source, target, **where)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link_twice)
    atomic.create(tmp_path / "r", {"n": 1})
    assert read_record(tmp_path / "r") == {"n": 1}
    monkeypatch.setattr(os, "link", real)
    with pytest.raises(FileExistsError):
        atomic.create(tmp_path / "r", {"n": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
