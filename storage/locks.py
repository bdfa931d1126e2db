"""Locks of files: three answers, because a file system may have none and a folder may not allow one."""

import contextlib
import errno
import fcntl
import os
import time
from enum import Enum
from pathlib import Path

from hankelboard.storage import opening
from hankelboard.storage.errors import NotWritable

RETRY_S = 0.05
NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""What file systems say that have none: FUSE, NFS without its lock daemon, some clusters."""
HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})  # the last one: file servers of Windows
PERMISSION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Answer(Enum):
    """What a file system says when it is asked for a lock."""

    OURS = "ours"
    """Nobody else has it."""
    HELD = "held"
    """Another process has it."""
    NONE = "none"
    """Locks are not to be had here."""


class LockFile:
    """A file that is open so that its lock can be asked for. Closing it gives the lock back.

    The kernel releases the lock when the last process that has the file open ends. So a child that this
    process forks closes it at once: the lock dies with the process that took it.
    """

    def __init__(self, path: Path, *, mode: int = 0o644):
        """Open the file for writing, as network file systems demand it, and create it if it is missing.

        Raises
        ------
        NotWritable
            If permission for that is missing.
        """
        try:
            self.descriptor = opening.open_regular(path, os.O_RDWR | os.O_CREAT, mode)
        except OSError as error:
            if error.errno not in PERMISSION:
                raise
            raise NotWritable(f"{path}: cannot be written: {error.strerror}") from None
        self._path = path
        _open.add(self.descriptor)

    def wait(self, patience_s: float) -> Answer:
        """Ask for the lock until it is ours, or it was held by another for so long."""
        deadline = time.monotonic() + patience_s
        try:
            while (answer := ask(self.descriptor)) is Answer.HELD and time.monotonic() < deadline:
                time.sleep(RETRY_S)
        except NotWritable as error:
            raise NotWritable(f"{self._path}: {error}") from None
        return answer

    def close(self) -> None:
        if self.descriptor in _open:  # not in a forked child, where it is closed already
            _open.discard(self.descriptor)
            os.close(self.descriptor)


def ask(descriptor: int) -> Answer:
    """Ask for the lock of an open file, without waiting for it.

    Raises
    ------
    NotWritable
        If permission is missing.
    OSError
        If the file system says something else than yes, no, or that it has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return Answer.HELD
        if error.errno in NO_LOCKS:
            return Answer.NONE
        if error.errno in PERMISSION:
            raise NotWritable(f"a lock is not allowed here: {error.strerror}") from None
        if error.errno == errno.EINTR:
            return ask(descriptor)
        raise
    return Answer.OURS


def look(path: Path) -> Answer:
    """Return what the lock of a file says now. Writes nothing; one that is free is taken for a moment.

    NONE, too, where one may only read and the file system wants more (EBADF of NFS), or nothing can be known.
    """
    descriptor = _opened(path)
    if descriptor is None:
        return Answer.NONE if os.path.lexists(path) else Answer.OURS
    _open.add(descriptor)
    try:
        return ask(descriptor)
    except (OSError, NotWritable):
        return Answer.NONE
    finally:
        _open.discard(descriptor)
        os.close(descriptor)


def _opened(path: Path) -> int | None:
    """Open for writing where that is allowed, else for reading."""
    for access in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(OSError):
            return opening.open_regular(path, access)
    return None


_open: set[int] = set()
"""Descriptors of locks in this process."""


def _close_in_child() -> None:
    for descriptor in _open:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)
