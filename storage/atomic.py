"""Whole files: published by temporary, fsync and rename (or link), never written in place."""

import contextlib
import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hankelboard.storage import opening
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
    with opening.folder(path.parent) as place:
        temporary = _write_temporary(place, content, durable, mode)
        try:
            os.replace(temporary, path.name, src_dir_fd=place, dst_dir_fd=place)
        except OSError:
            _remove(temporary, place)
            raise
        if durable:
            _sync(place)


def overwrite(path: Path, record: Mapping[str, object], *, fill: int) -> None:
    """Write over a file that `replace` filled, when the disk has no room for another one.

    Atomicity: none; a reader in between may find no record. Raises OSError when it does not fit.
    """
    descriptor = opening.open_regular(path, os.O_WRONLY)
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
    with opening.folder(path.parent) as place:
        temporary = _write_temporary(place, content, durable=True, mode=mode)
        try:
            _publish(place, temporary, path.name, content, unique, mode)
        finally:
            _remove(temporary, place)
        _sync(place)


NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EMLINK}
)
"""What file systems say that have no hard links, or no more of them."""


def _publish(place: int, temporary: str, name: str, content: bytes, unique: bool, mode: int) -> None:
    """Give a file its name, by a link; where there are none by a rename; else write it once more."""
    try:
        os.link(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except FileExistsError:
        if not _same_file(temporary, name, place):
            raise  # else it was us: a file server that answers a repeated request
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if not _rename_to_free_name(place, temporary, name):
            _publish_without_links(place, temporary, name, content, unique, mode)


def _publish_without_links(
    place: int, temporary: str, name: str, content: bytes, unique: bool, mode: int
) -> None:
    if not unique:
        _write_in_place(place, name, content, mode)
    elif _is_there(name, place):
        raise FileExistsError(errno.EEXIST, "File exists", name)
    else:
        os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)


_RENAME_NOREPLACE, _RENAME_EXCL = 1, 4


def _rename_to_free_name(place: int, source: str, target: str) -> bool:
    """Rename a file if nothing has the new name; return False where the system cannot do that.

    Raises FileExistsError when something has it.
    """
    import ctypes  # only where there are no hard links

    names = (place, os.fsencode(source), place, os.fsencode(target))
    try:
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = system.renameatx_np(*names, _RENAME_EXCL)
        else:
            failed = system.renameat2(*names, _RENAME_NOREPLACE)
    except (AttributeError, OSError):  # no such function in this C library
        return False
    number = ctypes.get_errno() if failed else 0
    if number == errno.EEXIST:
        raise FileExistsError(number, os.strerror(number), target)
    if number and number not in NO_LINKS:
        raise OSError(number, os.strerror(number), target)
    return not number


def _write_in_place(place: int, name: str, content: bytes, mode: int) -> None:
    """Create a file and write it at once."""
    descriptor = _create_in(place, name, mode)
    try:
        if os.write(descriptor, content) != len(content):
            raise OSError(errno.ENOSPC, "no space left on device", name)
        os.fsync(descriptor)
    except OSError:
        _remove(name, place)
        raise
    finally:
        os.close(descriptor)


def _create_in(place: int, name: str, mode: int = 0o666) -> int:
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=place)


def is_unfinished(path: Path) -> bool:
    """Return whether a file has its name and no content yet: it is being written, or its writer died."""
    return opening.is_plain_file(path) and opening.size_of(path) == 0


def _line(record: Mapping[str, object], fill: int = 0) -> bytes:
    return encode(record).encode().ljust(fill - 1) + b"\n"


def _write_temporary(place: int, content: bytes, durable: bool, mode: int) -> str:
    """Write a new file into a folder and return its name."""
    temporary = f"{STRAY_PREFIX}{new_ulid()}"
    try:
        with os.fdopen(_create_in(place, temporary, mode), "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError:
        _remove(temporary, place)
        raise
    return temporary


def _remove(temporary: str, place: int) -> None:
    with contextlib.suppress(OSError):  # it stays behind as a stray
        os.unlink(temporary, dir_fd=place)


def _is_there(name: str, place: int) -> bool:
    try:
        os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _same_file(one: str, other: str, place: int) -> bool:
    try:
        return os.path.samestat(
            os.stat(one, dir_fd=place, follow_symlinks=False),
            os.stat(other, dir_fd=place, follow_symlinks=False),
        )
    except OSError:
        return False


def copy_start(source: int, size: int, path: Path) -> None:
    """Create a file of the first `size` bytes of an open one.

    Atomicity: none; it belongs into a folder that is being built. Durability: on disk when this returns.
    """
    with opening.folder(path.parent) as place, os.fdopen(_create_in(place, path.name), "wb") as file:
        for start in range(0, size, _PIECE):
            file.write(os.pread(source, min(_PIECE, size - start), start))
        file.flush()
        os.fsync(file.fileno())


_PIECE = 4 * 1024 * 1024


def sync_folder(folder: Path) -> None:
    """Make names in `folder` survive a crash of the machine, where the file system can."""
    with opening.folder(folder) as place:
        _sync(place)


def _sync(place: int) -> None:
    try:
        os.fsync(place)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync no folders
            raise


def sync_file(path: Path) -> None:
    """Make the contents of a file survive a crash of the machine."""
    descriptor = opening.open_regular(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
