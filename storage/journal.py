"""Append-only journals: one record = one line = one write. The reader tolerates, the writer heals."""

import contextlib
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from hankelboard.storage.atomic import sync_folder
from hankelboard.storage.decoding import (
    Misfit,
    misfit_of_event,
    misfit_of_metrics,
    misfit_of_spectrum,
)
from hankelboard.storage.errors import Superseded
from hankelboard.storage.layout import EVENTS, METRICS, SPECTRA, RunPaths
from hankelboard.storage.opening import NotAFile, open_regular
from hankelboard.storage.records import Record, decode_lines, encode, now
from hankelboard.storage.schema import Event

READ_CHUNK = 4 * 1024 * 1024
MAX_LINE_BYTES = READ_CHUNK  # a spectrum of 1,024 states is 8 kB; a longer line is no record
MAX_TAIL_BYTES = 16 * MAX_LINE_BYTES
SEARCHED_AT_ONCE = MAX_TAIL_BYTES
_REMEMBERED = 128  # bytes before the offset by which a reader knows a file again


class Journal:
    """The writing end. One writer per file.

    Atomicity: a record is one write(2); a crash leaves at most one torn line at the end, which the next
    writer removes and readers ignore. Durability: `append(…, durable=True)` returns after fsync; other
    records wait at most `buffer_s` in memory. On a full disk the file is left as it was, the records
    are kept and written later; `trouble` says so meanwhile. A link, a pipe or a folder in the file's place
    is an OSError: nothing outside the run directory is ever written or healed.
    """

    def __init__(
        self,
        path: Path,
        *,
        buffer_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        guard: Callable[[], None] = lambda: None,
    ):
        """Open the file, and heal it. `guard` is called before each writing: it raises where none may be.

        It is asked after the file was opened: a file that a later attempt goes on with is never written.
        """
        self.trouble: str | None = None
        self._guard = guard
        self._waiting: deque[bytes] = deque()
        self._buffer_s = buffer_s
        self._clock = clock
        self._written_at = clock()
        self._descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            guard()
            self._size = _drop_torn_tail(self._descriptor)
            if self._size == 0:
                sync_folder(path.parent)  # the name is new: without this a durable record has none
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, record: Mapping[str, object], *, durable: bool = False) -> None:
        """Append one record; `t` is filled in.

        Raises OSError only for a durable record that could not be written; it is then not in the file and
        will not be. What waited before it is kept.
        """
        line = encode({"t": now(), **record}).encode() + b"\n"
        self._waiting.append(line)
        if durable:
            try:
                self.flush(durable=True)
            except OSError:
                self._take_back(line)
                raise
        elif self._clock() - self._written_at >= self._buffer_s:
            self.flush()

    def flush(self, *, durable: bool = False) -> None:
        """Write what waits. With `durable` on disk when this returns, else OSError."""
        try:
            if self._waiting:
                self._guard()
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
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
                raise OSError(errno.ENOSPC, "no space left on device")
        except OSError:
            with contextlib.suppress(OSError):  # what is left over is overwritten, or healed as a torn tail
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)

    def _take_back(self, line: bytes) -> None:
        """Forget the last record: its writer gets an OSError that says that it is not there."""
        if self._waiting:
            self._waiting.pop()
            return
        self._size -= len(line)
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self._size)

    def close(self) -> None:
        try:
            self.flush()
        except Superseded:
            pass  # what waited is of an attempt that is over
        finally:
            os.close(self._descriptor)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drop_torn_tail(descriptor: int) -> int:
    """Cut the bytes after the last newline: a record whose writer died. Returns the healed size."""
    size = os.fstat(descriptor).st_size
    end = end_of_last_line(descriptor, size)
    if end < size:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    return end


def end_of_last_line(descriptor: int, size: int) -> int:
    """Return where the last whole line of a file of this size ends.

    Raises OSError when what comes after it is more than a record can be: that is no journal.
    """
    end = size
    while end > 0:
        if size - end > MAX_TAIL_BYTES:
            raise NotAFile(errno.EFBIG, "ends with more than one line can be: it is no journal")
        start = max(0, end - READ_CHUNK)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


@dataclass
class JournalReader:
    """The reading end: each call returns what is new since the last one.

    Never blocks the writer and never fails on what it reads: a torn tail is left for later, a line that
    is no record, or does not fit (`misfit` says what), is counted in `damaged` and named in `described`. A
    file that shrank or was replaced is read again from the start (`restarts` rises, so that a fold can begin
    anew). What is no plain file (a link, a folder, a pipe) counts as one damaged line. OSError only when the
    system refuses to read what is there.
    """

    path: Path
    misfit: Misfit | None = None
    damaged: int = 0
    first_damage: str = ""
    """Where the first damaged line is, and what is wrong with it."""
    restarts: int = 0
    offset: int = 0
    _inode: int | None = field(default=None, repr=False)
    _before: bytes = field(default=b"", repr=False)
    """The last bytes before the offset: a file that differs there is another one, whatever its inode."""
    _searched: int = field(default=0, repr=False)
    """From the offset to here there is no newline: an endless line is looked through once."""
    _lines: int = field(default=0, repr=False)
    """Lines before the offset."""
    _line: int = field(default=1, repr=False)
    """Number of the first line of the last piece."""

    @property
    def described(self) -> str:
        """The damage in words, the same for all who show it; empty without any."""
        if not self.damaged:
            return ""
        lines = "1 damaged line" if self.damaged == 1 else f"{self.damaged} damaged lines, the first"
        return f"{lines}: {self.first_damage}"

    def read_new(self) -> list[Record]:
        """Return new whole records, in order, all at once: ten times the size of the file in memory."""
        return [record for batch in self.batches() for record in batch]

    def batches(self, limit_bytes: int = READ_CHUNK) -> Iterator[list[Record]]:
        """Yield new whole records, in order, in pieces of at most about `limit_bytes` of the file.

        Ends where the file ended when the first piece was read. `restarts` can rise before the first piece
        only, and rises also when nothing is left to read: look at it at the first piece and after the last.
        A caller may stop after any piece; the next call goes on there.
        """
        for lines in self.pieces(limit_bytes):
            if records := self.decode(lines):
                yield records

    def pieces(self, limit_bytes: int = READ_CHUNK) -> Iterator[bytes]:
        """Yield whole lines as they lie in the file, in pieces as `batches`: for another parser.

        What that parser does not understand goes to `decode`, which counts the damage.
        """
        try:
            descriptor = open_regular(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except NotAFile:
            self._notice_no_file()
            return
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            end = self._notice_replacement(file)
            while lines := self._next_lines(file, min(limit_bytes, MAX_LINE_BYTES), end):
                self.offset += len(lines)
                self._line, self._lines = self._lines + 1, self._lines + lines.count(b"\n")
                self._before, self._searched = lines[-_REMEMBERED:], 0
                yield lines

    def _notice_no_file(self) -> None:
        if self._inode != _NO_FILE:
            self._start_again()
            self._inode, self.damaged, self.first_damage = _NO_FILE, 1, "it is no plain file"

    def _notice_replacement(self, file: BinaryIO) -> int:
        """Start again when this is another file than last time. Returns how far it reaches now."""
        stat_now = os.fstat(file.fileno())
        before = os.pread(file.fileno(), len(self._before), self.offset - len(self._before))
        if stat_now.st_ino != self._inode or stat_now.st_size < self.offset or before != self._before:
            self._start_again()
        if stat_now.st_size < self._searched:
            self._searched = 0
        self._inode = stat_now.st_ino
        return stat_now.st_size

    def _start_again(self) -> None:
        if self._inode is not None:
            self.restarts += 1
        self.offset, self.damaged, self._before, self._searched = 0, 0, b"", 0
        self._lines, self._line, self.first_damage = 0, 1, ""

    def _next_lines(self, file: BinaryIO, limit: int, end: int) -> bytes:
        """Return the next whole lines, as many as fit into `limit`, or one longer one. Empty at the end."""
        size = max(1, limit)
        while self.offset < end:
            data = self._read(file, min(size, end - self.offset))
            whole = data.rfind(b"\n") + 1 if size <= limit else data.find(b"\n") + 1
            if whole:
                return data[:whole]
            if len(data) < size:
                break  # a torn tail
            if size < MAX_LINE_BYTES:
                size = min(8 * size, MAX_LINE_BYTES)
            elif not self._skip_endless_line(file, end):
                break
        return b""

    def _read(self, file: BinaryIO, size: int) -> bytes:
        """Return bytes from the offset on; none when what lies before it is no longer what was read."""
        before = len(self._before)
        data = os.pread(file.fileno(), before + size, self.offset - before)
        return data[before:] if data.startswith(self._before) else b""

    def _skip_endless_line(self, file: BinaryIO, end: int) -> bool:
        """Go beyond a line that is longer than any record; False while its end is not there yet.

        Of a file that is all one line so much is searched at a time that nobody waits for it.
        """
        position = max(self._searched, self.offset + MAX_LINE_BYTES)
        end = min(end, position + SEARCHED_AT_ONCE)
        while position < end:
            data = os.pread(file.fileno(), min(READ_CHUNK, end - position), position)
            newline = data.find(b"\n")
            if newline >= 0:
                self.offset, self._before, self._searched = position + newline + 1, b"\n", 0
                self._lines += 1
                self._note_damage(self._lines, f"is longer than {MAX_LINE_BYTES:,} bytes")
                return True
            if not data:
                break
            position += len(data)
        self._searched = position
        return False

    def decode(self, lines: bytes) -> list[Record]:
        """Decode whole lines that this reader read last; those that are no records count as damaged."""
        records, misfit = [], self.misfit or _anything
        for number, record in enumerate(decode_lines(lines[:-1]), self._line):
            problem = "is no JSON object" if record is None else misfit(record)
            if problem:
                self._note_damage(number, problem)
            elif record is not None:
                records.append(record)
        return records

    def _note_damage(self, line: int, problem: str) -> None:
        self.damaged += 1
        self.first_damage = self.first_damage or f"line {line} {_in_line(problem)}"


def _anything(record: Record) -> str:
    return ""


def _in_line(problem: str) -> str:
    return problem if problem.startswith("is ") else f"at {problem}"


_NO_FILE = -1


def events_reader(paths: RunPaths, journals: Path | None = None) -> JournalReader:
    """Return the reader of a run's events; give the folder of its journals where that is known."""
    return JournalReader((journals or paths.journals) / EVENTS, misfit_of_event)


def metrics_reader(paths: RunPaths, journals: Path | None = None) -> JournalReader:
    """Return the reader of a run's metrics."""
    return JournalReader((journals or paths.journals) / METRICS, misfit_of_metrics)


def spectra_reader(paths: RunPaths, journals: Path | None = None) -> JournalReader:
    """Return the reader of a run's spectra."""
    return JournalReader((journals or paths.journals) / SPECTRA, misfit_of_spectrum)


def read_events(paths: RunPaths) -> list[Event]:
    """Return all events of a run, without damaged lines."""
    return cast(list[Event], events_reader(paths).read_new())


def read_journal(path: Path) -> tuple[list[Record], int]:
    """Return all records of a journal of any kind, and how many lines were damaged."""
    reader = JournalReader(path)
    return reader.read_new(), reader.damaged
