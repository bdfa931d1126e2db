"""Whole files: published by temporary, fsync and rename (or link), never written in place."""

import contextlib
import errno
import os
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
    with opening.folder(path.parent) as place:
        temporary = _write_temporary(place, content, durable=True, mode=mode)
        try:
            os.link(temporary, path.name, src_dir_fd=place, dst_dir_fd=place)
        except FileExistsError:
            if not _same_file(temporary, path.name, place):
                raise  # else it was us: a file server that answers a repeated request
        finally:
            _remove(temporary, place)
        _sync(place)


def _line(record: Mapping[str, object], fill: int = 0) -> bytes:
    return encode(record).encode().ljust(fill - 1) + b"\n"


def _write_temporary(place: int, content: bytes, durable: bool, mode: int) -> str:
    """Write a new file into a folder and return its name."""
    temporary = f"{STRAY_PREFIX}{new_ulid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, mode, dir_fd=place), "wb") as file:
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


def _same_file(one: str, other: str, place: int) -> bool:
    try:
        return os.path.samestat(
            os.stat(one, dir_fd=place, follow_symlinks=False),
            os.stat(other, dir_fd=place, follow_symlinks=False),
        )
    except OSError:
        return False


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
