"""Whole files: published by temporary, fsync and rename (or link), never written in place."""

import contextlib
import os
from pathlib import Path

from storage.layout import STRAY_PREFIX
from storage.records import Record, encode, new_ulid


def replace(path: Path, record: Record, *, durable: bool = True) -> None:
    """Put `record` at `path`, whatever was there.

    Atomicity: readers see the old file or the new one, whole. Durability: on disk when this returns,
    unless `durable` is false (a crash of the machine may then bring back the old file).
    Concurrency: one writer.
    """
    temporary = _write_temporary(path, record, durable)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def create(path: Path, record: Record) -> None:
    """Put `record` at `path` if nothing is there.

    Atomicity: the file appears whole or not at all. Durability: on disk when this returns.
    Concurrency: any number of creators; exactly one succeeds.

    Raises
    ------
    FileExistsError
        If somebody else was first.
    """
    temporary = _write_temporary(path, record, durable=True)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write_temporary(path: Path, record: Record, durable: bool) -> Path:
    temporary = path.with_name(f"{STRAY_PREFIX}{new_ulid()}")
    try:
        with temporary.open("xb") as file:
            file.write(encode(record).encode() + b"\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def sync_folder(folder: Path) -> None:
    """Make names in `folder` survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the contents of a file survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
