"""status.json: the trainer's latest word and its heartbeat. A convenience; the journals are the truth."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hankelboard.storage import atomic
from hankelboard.storage.decoding import decode_status
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import now, read_record
from hankelboard.storage.schema import ProcessIdentity, Status

GRACE_S = 10.0
BLOCK_BYTES = 4096


def write_status(paths: RunPaths, status: Status) -> None:
    """Replace status.json whole. Not fsynced: a machine crash may lose the last second of it.

    On a full disk or in a folder that became read-only the file that is there is overwritten in place, which
    needs no new space: it always fills one block. A reader in that very moment may see no record; the next
    beat mends it.
    """
    record = {"t": now(), **status}
    try:
        atomic.replace(paths.status, record, durable=False, fill=BLOCK_BYTES)
    except OSError:
        atomic.overwrite(paths.status, record, fill=BLOCK_BYTES)


def read_status(paths: RunPaths) -> Status | None:
    """Return the latest status, or None."""
    return decode_status(read_record(paths.status))


def process_identity(pid: int | None = None) -> ProcessIdentity:
    """Return what distinguishes this process from a later one with the same pid."""
    pid = os.getpid() if pid is None else pid
    return {"host": socket.gethostname(), "pid": pid, "process_started_at": _started_at(pid)}


def _started_at(pid: int) -> str | None:
    """Return an opaque mark of when the process started, None when there is no such process."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        return None if fields[0] == "Z" else f"{boot}/{fields[19]}"
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout.strip() or None


def process_is_gone(status: Mapping[str, Any]) -> bool:
    """Return whether the process of this status is known to be dead: same host, pid or start time gone."""
    pid = status.get("pid")
    if status.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    started_at = _started_at(pid)
    return started_at is None or started_at != status.get("process_started_at")


@dataclass
class BeatWatch:
    """A viewer's watch on one run: how long since the beat changed, by the viewer's own clock."""

    beat: object = None
    changed_at: float = 0.0

    def is_stale(self, status: Mapping[str, Any], clock: float | None = None) -> bool:
        """Return whether no new beat was seen for longer than the trainer promised, plus a grace."""
        clock = time.monotonic() if clock is None else clock
        beat = (status.get("attempt"), status.get("beat"))
        if beat != self.beat:
            self.beat, self.changed_at = beat, clock
        promised = status.get("expect_next_s")
        promised = float(promised) if isinstance(promised, int | float) else 5.0
        return clock - self.changed_at > promised + GRACE_S
