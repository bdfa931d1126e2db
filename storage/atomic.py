"""Whole files: published by temporary, fsync and rename (or link), never written in place."""

import contextlib
import errno
import functools
import os
from collections.abc import Mapping
from pathlib import Path

from hankelboard.storage.layout import STRAY_PREFIX
from hankelboard.storage.records import encode, new_ulid


def replace(path: Path, record: Mapping[str, object], *, durable: bool = True, fill: int = 0) -> None:
    """Put `record` at `path`, whatever was there.

    Atomicity: readers see the old file or the new one, whole. Durability: on disk when this returns,
    unless `durable` is false (a crash of the machine may then bring back the old file).
    Concurrency: one writer. The file is filled with spaces up to `fill` bytes.
    """
    replace_bytes(path, _line(record, fill), durable=durable)


def replace_bytes(path: Path, content: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Put bytes at `path`, as `replace` does, with this mode less the umask."""
    temporary = _write_temporary(path, content, durable, mode)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def overwrite(path: Path, record: Mapping[str, object], *, fill: int) -> None:
    """Write over a file that `replace` filled, when the disk has no room for another one.

    Atomicity: none; a reader in between may find no record. Raises OSError when it does not fit.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        content = _line(record, max(fill, size))  # nothing of a longer record may stay behind it
        if len(content) > size:
            raise OSError(errno.ENOSPC, "no space left on device", str(path))
        os.pwrite(descriptor, content, 0)
    finally:
        os.close(descriptor)


def create(path: Path, record: Mapping[str, object]) -> None:
    """Put `record` at `path` if nothing is there.

    Atomicity: the file appears whole or not at all. Durability: on disk when this returns.
    Concurrency: any number of creators; exactly one succeeds.

    Raises
    ------
    FileExistsError
        If somebody else was first.
    """
    create_bytes(path, _line(record))


def create_bytes(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Put bytes at `path` if nothing is there, as `create` does, with this mode less the umask."""
    temporary = _write_temporary(path, content, durable=True, mode=mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        if not _same_file(temporary, path):
            raise  # else it was us: a file server that answers a repeated request
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _line(record: Mapping[str, object], fill: int = 0) -> bytes:
    return encode(record).encode().ljust(fill - 1) + b"\n"


def _write_temporary(path: Path, content: bytes, durable: bool, mode: int = 0o666) -> Path:
    temporary = path.with_name(f"{STRAY_PREFIX}{new_ulid()}")
    try:
        with open(temporary, "xb", opener=functools.partial(os.open, mode=mode)) as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def _same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """Make names in `folder` survive a crash of the machine, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync no folders
            raise
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the contents of a file survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
