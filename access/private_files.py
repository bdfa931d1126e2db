"""Files that one account alone may read: tokens, sessions, keys. What others could read is not believed."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hankelboard.storage import atomic, records
from hankelboard.storage.errors import HankelboardError

MODE = 0o600
MOST_BYTES = 64 * 1024


class NotPrivate(HankelboardError):
    """A file that should be of one account alone is not, or holds what it cannot."""


def read(path: Path) -> bytes:
    """Return what a private file holds.

    Raises
    ------
    FileNotFoundError
        If there is none.
    NotPrivate
        If it is no regular file of this account (or root) that others may not read.
    """
    descriptor = _opened(path)
    try:
        _check(path, os.fstat(descriptor))
        return os.read(descriptor, MOST_BYTES)
    finally:
        os.close(descriptor)


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON object in a private file; raise as `read`, NotPrivate also for other contents."""
    record = records.decode(read(path))
    if record is None:
        raise NotPrivate(f"{path} is damaged; remove it")
    return record


def make_folder(folder: Path) -> None:
    """Make a folder that is missing, and those that it lies in, for this account alone."""
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def create(path: Path, content: bytes) -> None:
    """Put bytes at `path` for this account alone; raise FileExistsError if something is there."""
    make_folder(path.parent)
    atomic.create_bytes(path, content, mode=MODE)


def create_record(path: Path, record: Mapping[str, object]) -> None:
    """Put a JSON object at `path`, as `create` does."""
    create(path, records.encode(record).encode() + b"\n")


def replace(path: Path, content: bytes) -> None:
    """Put bytes at `path` for this account alone, whatever was there."""
    make_folder(path.parent)
    atomic.replace_bytes(path, content, mode=MODE)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotPrivate(f"{path}: {error.strerror}") from None


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotPrivate(f"{path} is no regular file")
    if found.st_mode & 0o077:
        raise NotPrivate(f"{path} may be read by others; chmod 600 {path}, and change what is in it")
    if found.st_uid not in (os.geteuid(), 0):
        raise NotPrivate(f"{path} belongs to another account")
