"""Which workers watch a folder of runs: one small file each, replaced every few seconds."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from hankelboard.storage import atomic
from hankelboard.storage.decoding import decode_worker
from hankelboard.storage.records import now, read_record
from hankelboard.storage.schema import WorkerRecord
from hankelboard.storage.status import BeatWatch, process_identity, process_is_gone


def _folder(runs: Path) -> Path:
    return runs / ".workers"


def _file(runs: Path) -> Path:
    return _folder(runs) / f"{socket.gethostname()}-{os.getpid()}.json"


def announce(
    runs: Path,
    beat: int,
    children: list[str],
    expect_next_s: float,
    troubles: Mapping[str, str] | None = None,
) -> None:
    """Say that this process is a worker here, and with which runs it has trouble. Not fsynced."""
    _folder(runs).mkdir(parents=True, exist_ok=True)
    record: WorkerRecord = {
        "t": now(),
        "beat": beat,
        "expect_next_s": expect_next_s,
        "runs": children,
        "troubles": {**(troubles or {})},
        **process_identity(),
    }
    atomic.replace(_file(runs), record, durable=False)


def withdraw(runs: Path) -> None:
    """Say that this worker ends."""
    _file(runs).unlink(missing_ok=True)


def present(runs: Path, watches: dict[str, BeatWatch] | None = None) -> list[WorkerRecord]:
    """Return the workers that are not known to be gone: alive on this host, or of another and still beating.

    `watches` is the viewer's memory between calls; without one a worker of another host counts as present.
    """
    living = []
    for path in sorted(_folder(runs).glob("*.json")):
        record = decode_worker(read_record(path))
        if record is None or process_is_gone(record):
            continue
        watch = None if watches is None else watches.setdefault(path.name, BeatWatch())
        if watch is None or not watch.is_stale(record):
            living.append(record)
    return living
