"""log.txt: what the process of a run printed. Its beginning and its end are kept, however much that is."""

import contextlib
import os
import re
from pathlib import Path

from hankelboard.storage import atomic
from hankelboard.storage.opening import open_regular

HEAD_BYTES = 1_000_000
TAIL_BYTES = 2_000_000
"""Of the end so much is kept at least, and up to twice as much."""
MAX_BYTES = HEAD_BYTES + 2 * TAIL_BYTES
LINE_BYTES = 100
"""More than the line has that says how much was left out."""
LEFT_OUT = re.compile(rb"\.\.\. (\d+) bytes were left out here \.\.\.\n")


class Log:
    """The writing end. Never raises OSError: what cannot be written is lost.

    Atomicity: when it is full the file is replaced whole by a shorter one, so readers see its beginning and
    its end at any time. Concurrency: one writer; a file that another one replaced is opened anew.
    """

    def __init__(self, path: Path):
        self._path = path
        self._descriptor: int | None = None

    def write(self, text: bytes) -> None:
        """Append, and leave out of the middle what is too much."""
        with contextlib.suppress(OSError):
            descriptor = self._open()
            if os.fstat(descriptor).st_size + len(text) > MAX_BYTES:
                self._shorten()
                descriptor = self._open()
            text = text[-TAIL_BYTES:]
            while text:
                text = text[os.write(descriptor, text) :]

    def _open(self) -> int:
        if self._descriptor is not None and not self._is_there(self._descriptor):
            self.close()
        if self._descriptor is None:
            self._descriptor = open_regular(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return self._descriptor

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except OSError:
            return False

    def _shorten(self) -> None:
        head, tail, size = read_ends(self._path, HEAD_BYTES + LINE_BYTES, TAIL_BYTES)
        before = LEFT_OUT.search(head)
        if before:
            left_out = int(before[1]) + size - before.end() - len(tail)
            head = head[: before.start()]
        else:
            head = _whole_lines(head[:HEAD_BYTES])
            left_out = size - len(head) - len(tail)
        line = b"... %d bytes were left out here ...\n" % left_out
        atomic.replace_bytes(self._path, head + line + tail, durable=False)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_ends(path: Path, head_bytes: int, tail_bytes: int) -> tuple[bytes, bytes, int]:
    """Return whole lines of the beginning and of the end of a log, and its size. Raises OSError.

    A log that is not longer than both is the beginning alone.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size <= head_bytes + tail_bytes:
            return _read(descriptor, 0, size), b"", size
        head = _read(descriptor, 0, head_bytes)
        tail = _read(descriptor, size - tail_bytes, tail_bytes)
    finally:
        os.close(descriptor)
    return _whole_lines(head), tail[tail.find(b"\n") + 1 :], size


def _whole_lines(head: bytes) -> bytes:
    return head[: head.rfind(b"\n") + 1 or None]


def _read(descriptor: int, start: int, count: int) -> bytes:
    pieces = []
    while count > 0 and (piece := os.pread(descriptor, count, start)):
        pieces.append(piece)
        start, count = start + len(piece), count - len(piece)
    return b"".join(pieces)
