"""Whole files: published by temporary, fsync and rename (or link), never written in place."""

import contextlib
import ctypes
import errno
import functools
import os
import sys
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


def create(path: Path, record: Mapping[str, object], *, unique: bool = False) -> None:
    """Put `record` at `path` if nothing is there.

    Atomicity: the file appears whole or not at all. Durability: on disk when this returns.
    Concurrency: any number of creators; exactly one succeeds. `unique`: nobody else can want this name.

    On a file system that has neither hard links nor a rename that replaces nothing, a file whose name others
    may want, too, appears empty and then whole. A death in between leaves it empty: see `is_unfinished`.

    Raises
    ------
    FileExistsError
        If somebody else was first.
    """
    create_bytes(path, _line(record), unique=unique)


def create_bytes(path: Path, content: bytes, *, unique: bool = False, mode: int = 0o666) -> None:
    """Put bytes at `path` if nothing is there, as `create` does, with this mode less the umask."""
    temporary = _write_temporary(path, content, durable=True, mode=mode)
    try:
        _publish(temporary, path, content, unique, mode)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EMLINK}
)
"""What file systems say that have no hard links, or no more of them."""


def _publish(temporary: Path, path: Path, content: bytes, unique: bool, mode: int) -> None:
    """Give a file its name, by a link; where there are none by a rename; else write it once more."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if not _same_file(temporary, path):
            raise  # else it was us: a file server that answers a repeated request
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if not _rename_to_free_name(temporary, path):
            _publish_without_links(temporary, path, content, unique, mode)


def _publish_without_links(temporary: Path, path: Path, content: bytes, unique: bool, mode: int) -> None:
    if not unique:
        _write_in_place(path, content, mode)
    elif os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "File exists", str(path))
    else:
        temporary.rename(path)


_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCL = -100, 1, 4


def _rename_to_free_name(source: Path, target: Path) -> bool:
    """Rename a file if nothing has the new name; return False where the system cannot do that.

    Raises FileExistsError when something has it.
    """
    try:
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = system.renamex_np(os.fsencode(source), os.fsencode(target), _RENAME_EXCL)
        else:
            failed = system.renameat2(
                _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE
            )
    except (AttributeError, OSError):  # no such function in this C library
        return False
    number = ctypes.get_errno() if failed else 0
    if number == errno.EEXIST:
        raise FileExistsError(number, os.strerror(number), str(target))
    if number and number not in NO_LINKS:
        raise OSError(number, os.strerror(number), str(target))
    return not number


def _write_in_place(path: Path, content: bytes, mode: int) -> None:
    """Create a file and write it at once."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        if os.write(descriptor, content) != len(content):
            raise OSError(errno.ENOSPC, "no space left on device", str(path))
        os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def is_unfinished(path: Path) -> bool:
    """Return whether a file has its name and no content yet: it is being written, or its writer died."""
    try:
        return path.lstat().st_size == 0
    except OSError:
        return False


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


def copy_start(source: int, size: int, path: Path) -> None:
    """Create a file of the first `size` bytes of an open one.

    Atomicity: none; it belongs into a folder that is being built. Durability: on disk when this returns.
    """
    with path.open("xb") as file:
        for start in range(0, size, _PIECE):
            file.write(os.pread(source, min(_PIECE, size - start), start))
        file.flush()
        os.fsync(file.fileno())


_PIECE = 4 * 1024 * 1024


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
