"""Append-only journals: one record = one line = one write. The reader tolerates, the writer heals."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from storage.records import Record, decode, encode, now

READ_CHUNK = 4 * 1024 * 1024


class Journal:
    """The writing end. One writer per file.

    Atomicity: a record is one write(2); a crash leaves at most one torn line at the end, which the next
    writer removes and readers ignore. Durability: `append(…, durable=True)` returns after fsync; other
    records wait at most `buffer_s` in memory. On a full disk the file is left as it was, the records
    are kept in order and written later; `trouble` says so meanwhile.
    """

    def __init__(self, path: Path, *, buffer_s: float = 0.0, clock: Callable[[], float] = time.monotonic):
        self.trouble: str | None = None
        self._waiting: list[bytes] = []
        self._buffer_s = buffer_s
        self._clock = clock
        self._written_at = clock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._size = _drop_torn_tail(self._descriptor)

    def append(self, record: Record, *, durable: bool = False) -> None:
        """Append one record; `t` is filled in."""
        self._waiting.append(encode({"t": now(), **record}).encode() + b"\n")
        if durable or self._clock() - self._written_at >= self._buffer_s:
            self.flush(durable=durable)

    def flush(self, *, durable: bool = False) -> None:
        """Write what waits. Raises OSError only when durability was asked for; the records are kept."""
        try:
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.pop(0)
            if durable:
                os.fsync(self._descriptor)
            self.trouble = None
        except OSError as error:
            self.trouble = f"cannot write: {error.strerror}"
            if durable:
                raise
        self._written_at = self._clock()

    def _write(self, line: bytes) -> None:
        try:
            written = os.pwrite(self._descriptor, line, self._size)
            if written != len(line):
                raise OSError(28, "no space left on device")
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)

    def close(self) -> None:
        self.flush()
        os.close(self._descriptor)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drop_torn_tail(descriptor: int) -> int:
    """Cut the bytes after the last newline: a record whose writer died. Returns the healed size."""
    size = end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - READ_CHUNK)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    return end


@dataclass
class JournalReader:
    """The reading end: each call returns what is new since the last one.

    Never blocks the writer and never fails on what it finds: a torn tail is left for later, a line that
    is no record is counted in `damaged`, a file that shrank or was replaced is read again from the
    start (`restarts` rises, so that a fold can begin anew).
    """

    path: Path
    damaged: int = 0
    restarts: int = 0
    offset: int = 0
    _inode: int | None = field(default=None, repr=False)

    def read_new(self) -> list[Record]:
        """New whole records, in order."""
        try:
            with self.path.open("rb") as file:
                self._notice_replacement(os.fstat(file.fileno()))
                file.seek(self.offset)
                return list(self._records(file))
        except FileNotFoundError:
            return []

    def _notice_replacement(self, stat: os.stat_result) -> None:
        if self._inode is not None and (stat.st_ino != self._inode or stat.st_size < self.offset):
            self.offset, self.damaged = 0, 0
            self.restarts += 1
        self._inode = stat.st_ino

    def _records(self, file: Iterator[bytes]) -> Iterator[Record]:
        for line in file:
            if not line.endswith(b"\n"):
                return
            self.offset += len(line)
            record = decode(line)
            if record is None:
                self.damaged += 1
            else:
                yield record


def read_journal(path: Path) -> tuple[list[Record], int]:
    """All records of a journal, and how many lines were damaged."""
    reader = JournalReader(path)
    return reader.read_new(), reader.damaged
