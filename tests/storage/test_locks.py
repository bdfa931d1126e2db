"""Locks that are held, that do not exist, that are not allowed: three answers, whatever the file system."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from hankelboard.storage import locks, runs
from hankelboard.storage.errors import NotWritable, RunError, RunHeld
from hankelboard.storage.layout import run_paths
from hankelboard.storage.status import process_identity

NO_LOCKS = ("ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL")
HELD, NOT_ALLOWED = ("EAGAIN", "EACCES"), ("EPERM", "EROFS")
MEMORY = Path("/dev/shm")


@pytest.fixture(params=["disk", "memory"])
def run_anywhere(request, tmp_path):
    """A fresh run, on a disk and on a tmpfs."""
    if request.param == "memory" and not MEMORY.is_dir():
        pytest.skip("no tmpfs here")
    with tempfile.TemporaryDirectory(dir=MEMORY if request.param == "memory" else tmp_path) as folder:
        yield run_paths(Path(folder), runs.create_run(Path(folder), name="a run", config={}).id)


def flock_says(monkeypatch, number):
    def refuse(descriptor, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


def take(paths):
    with runs.RunLock(paths, patience_s=0.0) as lock:
        return lock.fence.number


@pytest.mark.parametrize("name", sorted({*errno.errorcode.values()} - {"EINTR"}))  # which is asked again
def test_each_error_of_a_lock_has_its_answer(paths, monkeypatch, name):
    """Another holds it; there are no locks, then attempts decide; not allowed; else the error by its name."""
    number = getattr(errno, name)
    flock_says(monkeypatch, number)
    if number in {getattr(errno, known) for known in NO_LOCKS}:
        assert take(paths) == 0 and take(paths) == 1
        assert not runs.is_held(paths)
        return
    kinds = dict.fromkeys(HELD, RunHeld) | dict.fromkeys(NOT_ALLOWED, NotWritable)
    known = {getattr(errno, known): kind for known, kind in kinds.items()}
    with pytest.raises(RunError) as refused:
        take(paths)
    assert type(refused.value) is known.get(number, RunError)
    assert (os.strerror(number) in str(refused.value)) == (known.get(number) is not RunHeld)


def test_the_three_sentences_differ(paths, monkeypatch):
    sentences = {}
    for name in ("EAGAIN", "EPERM", "EIO"):
        flock_says(monkeypatch, getattr(errno, name))
        with pytest.raises(RunError) as refused:
            take(paths)
        sentences[name] = str(refused.value)
    assert "is being trained by another process" in sentences["EAGAIN"]
    assert "a lock is not allowed here: Operation not permitted" in sentences["EPERM"]
    assert "run.lock cannot be locked: Input/output error" in sentences["EIO"]


@pytest.mark.parametrize("name", ["EACCES", "EROFS", "EPERM"])
def test_a_lock_file_that_may_not_be_written_is_a_missing_permission(paths, monkeypatch, name):
    number, real = getattr(errno, name), os.open

    def refuse(path, *more, **options):
        if str(path) == str(paths.lock):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *more, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(NotWritable, match=f"cannot be written: {os.strerror(number)}"):
        take(paths)


def test_a_file_server_that_locks_only_what_is_open_for_writing(run_anywhere, monkeypatch):
    """NFS answers EBADF for a descriptor that is open for reading."""
    real = fcntl.flock

    def only_writable(descriptor, how):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", only_writable)
    with runs.RunLock(run_anywhere):
        assert locks.look(run_anywhere.lock) is locks.Answer.HELD and runs.is_held(run_anywhere)
        with pytest.raises(RunHeld, match=rf"another process \(pid {os.getpid()}\)"):
            take(run_anywhere)
    assert locks.look(run_anywhere.lock) is locks.Answer.OURS and not runs.is_held(run_anywhere)


@pytest.mark.parametrize("name", NO_LOCKS)
def test_without_locks_the_attempt_is_the_lock(run_anywhere, monkeypatch, name):
    flock_says(monkeypatch, getattr(errno, name))
    with runs.RunLock(run_anywhere) as first:
        assert runs.is_held(run_anywhere)
        with pytest.raises(RunHeld, match=rf"another process \(pid {os.getpid()}\)"):
            take(run_anywhere)
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        assert runs.is_held(run_anywhere)
    assert not runs.is_held(run_anywhere)
    assert take(run_anywhere) == first.fence.number + 1


def test_a_run_that_may_only_be_read_is_looked_at_all_the_same(paths, monkeypatch):
    real = os.open

    def read_only(path, flags, *more, **options):
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *more, **options)

    with runs.RunLock(paths):
        monkeypatch.setattr(os, "open", read_only)
        assert runs.is_held(paths)
        monkeypatch.undo()
    monkeypatch.setattr(os, "open", read_only)
    assert not runs.is_held(paths)


@pytest.mark.parametrize("name", ["", *NO_LOCKS])
def test_who_creates_runs_is_waited_for_but_not_for_ever_without_locks_too(tmp_path, monkeypatch, name):
    if name:
        flock_says(monkeypatch, getattr(errno, name))
    with (
        runs.creating(tmp_path),
        pytest.raises(RunError, match=r"another process has been creating runs here for 0\.1 s; try again"),
        runs.creating(tmp_path, patience_s=0.1),
    ):
        pass
    with runs.creating(tmp_path, patience_s=0.0):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".creating.lock"]


def test_who_died_while_creating_runs_is_not_waited_for(tmp_path, monkeypatch):
    flock_says(monkeypatch, errno.ENOLCK)
    (tmp_path / ".creating.json").write_text(
        str({**process_identity(), "process_started_at": "x"}).replace("'", '"')
    )
    with runs.creating(tmp_path, patience_s=5.0):
        pass


# Children of the holder.


@contextlib.contextmanager
def forked(what):
    """A child that does something and then waits to be killed."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            what()
            os.write(tell, b"x")
        finally:
            signal.pause()
    try:
        assert os.read(ready, 1) == b"x"
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)


def test_a_forked_child_holds_no_lock(paths):
    lock = runs.RunLock(paths)
    with forked(lambda: None):
        lock.release()
        assert locks.look(paths.lock) is locks.Answer.OURS
        assert take(paths) == 1


def test_a_forked_child_releases_nothing(paths):
    with runs.RunLock(paths) as lock, forked(lock.release):
        assert locks.look(paths.lock) is locks.Answer.HELD and runs.is_held(paths)
        assert not paths.ended(0).exists()


def test_a_child_that_a_library_forked_keeps_the_lock_and_stops_nobody(paths):
    """No hook of Python runs there: the lock stays, but the trainer that took it is known to be dead."""
    lock = runs.RunLock(paths)
    claim = paths.attempt(0).read_text()
    lock.release()
    paths.ended(0).unlink()
    paths.attempt(0).write_text(claim.replace(f'"pid":{os.getpid()}', '"pid":999999999'))
    descriptor = os.open(paths.lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert locks.look(paths.lock) is locks.Answer.HELD and not runs.is_held(paths)
        assert take(paths) == 1
    finally:
        os.close(descriptor)
