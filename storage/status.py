"""status.json: the trainer's latest word and its heartbeat. A convenience; the journals are the truth."""

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hankelboard.storage import atomic
from hankelboard.storage.decoding import decode_status
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.records import now, read_record
from hankelboard.storage.schema import ProcessIdentity, Status

GRACE_S = 10.0
LONGEST_PROMISE_S = 3600.0
"""No trainer needs longer to its next beat, whatever its status says."""
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


class Life(Enum):
    """What is known of a process from here."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """Of another host, of another PID namespace, of nobody: its beat alone says whether it lives."""


def process_identity(pid: int | None = None) -> ProcessIdentity:
    """Return what distinguishes this process from a later one with the same pid."""
    pid = os.getpid() if pid is None else pid
    return {
        "host": socket.gethostname(), "pid": pid, "process_started_at": _started_at(pid),
        "pid_namespace": _pid_namespace(pid),
    }  # fmt: skip


def _started_at(pid: int) -> str | None:
    """Return an opaque mark of when the process started, None when there is no such process."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
        except OSError:
            return None
        return None if fields[0] == "Z" else f"{_boot()}/{fields[19]}"
    import subprocess  # only on other systems

    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout.strip() or None


def _boot() -> str:
    """Return what changes whenever this machine starts; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


INITIAL_PID_NAMESPACE = 0xEFFFFFFC


def _pid_namespace(pid: int | str) -> int | None:
    """Return the number of the namespace in which the pid means something; None where there are none."""
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return None


def life_of(identity: Mapping[str, Any]) -> Life:
    """Return what is known of the process of this identity (a status, an attempt, a worker).

    Gone is only what would be seen here: a process of this host and this PID namespace, whose pid nobody has,
    or another process. Of one that does not say when it started, a pid that is there proves nothing.
    """
    pid, started_at = identity.get("pid"), identity.get("process_started_at")
    if identity.get("host") != socket.gethostname() or not isinstance(pid, int) or not _same_pids(identity):
        return Life.UNKNOWN
    if _is_hidden(pid):
        return Life.UNKNOWN
    found = _started_at(pid)
    if not isinstance(started_at, str) or not started_at:
        return Life.GONE if found is None and "pid_namespace" in identity else Life.UNKNOWN
    return Life.ALIVE if found == started_at else Life.GONE


def _same_pids(identity: Mapping[str, Any]) -> bool:
    """Return whether pids mean here what they mean to this process. Older programs did not say where."""
    here = _pid_namespace("self")
    if "pid_namespace" in identity:
        return bool(identity["pid_namespace"] == here)
    return here in (None, INITIAL_PID_NAMESPACE)


def _is_hidden(pid: int) -> bool:
    """Return whether the process is there and /proc does not show it (hidepid)."""
    if sys.platform != "linux" or Path(f"/proc/{pid}/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return pid > 0
    except (OSError, OverflowError):
        return False
    return False


def process_is_gone(identity: Mapping[str, Any]) -> bool:
    """Return whether the process of this identity is known to be dead."""
    return life_of(identity) is Life.GONE


def is_of_this_boot(identity: Mapping[str, Any]) -> bool:
    """Return whether the process ran, or runs, on this machine since it started last."""
    boot, started_at = _boot(), identity.get("process_started_at")
    if not boot:
        return identity.get("host") == socket.gethostname()
    return isinstance(started_at, str) and started_at.partition("/")[0] == boot


@dataclass
class BeatWatch:
    """A viewer's watch on one run: how long since the beat changed, by the viewer's own clock."""

    beat: object = None
    changed_at: float = 0.0
    advanced: bool = False
    """Whether a beat came after the first one that was seen."""
    _gone_at: object = None

    def is_stale(self, status: Mapping[str, Any], clock: float | None = None) -> bool:
        """Return whether no new beat was seen for longer than the trainer promised, plus a grace."""
        clock = time.monotonic() if clock is None else clock
        beat = (status.get("attempt"), status.get("beat"))
        if beat != self.beat:
            self.advanced = self.beat is not None
            self.beat, self.changed_at = beat, clock
        promised = status.get("expect_next_s")
        promised = min(float(promised), LONGEST_PROMISE_S) if isinstance(promised, int | float) else 5.0
        return clock - self.changed_at > promised + GRACE_S

    def outlives(self, status: Mapping[str, Any]) -> bool:
        """Return whether beats come from a process that is not seen: ask only while it is not seen.

        Its host has the same name as this one, for example. The beat that is there first proves nothing.
        """
        beat, before = (status.get("attempt"), status.get("beat")), self._gone_at
        if not isinstance(before, tuple) or before[0] != beat[0]:
            self._gone_at = before = beat
        return before != beat
