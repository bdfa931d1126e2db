"""A small process that writes log.txt, however much the process of a run and its native code print.

The output of a worker's child goes into a pipe, whose other end is here. So the limit of the log holds for
everything that is written to the descriptors, and goes on to hold when the worker is gone. When the child is
gone, and all that it started, this ends. When this is gone, the child starts another one.
"""

import contextlib
import io
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from hankelboard.storage.log import Log

PIECE = 65536
PAUSE_S = 1.0
"""Between two tries to start another one."""


def start(log: Path) -> subprocess.Popen[bytes]:
    """Start a keeper; what is written to its stdin goes to the log. Signals of a terminal do not reach it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "hankelboard.trainer.work.log_keeper", str(log)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def keep_output(log: Path) -> None:
    """Have what this process prints kept also when its keeper dies; printing never ends it."""
    if stat.S_ISFIFO(os.fstat(1).st_mode):
        sys.stdout, sys.stderr = _tolerant(1), _tolerant(2)
        threading.Thread(target=_replace_dead_keepers, args=(log,), name="log", daemon=True).start()


class _Pipe(io.FileIO):
    """A pipe that takes everything: what nobody reads is lost."""

    def write(self, text: Any, /) -> int:
        try:
            return super().write(text) or 0
        except BrokenPipeError:
            return len(memoryview(text).cast("B"))


def _tolerant(descriptor: int) -> io.TextIOWrapper:
    pipe = io.BufferedWriter(_Pipe(descriptor, "w", closefd=False))
    return io.TextIOWrapper(pipe, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _replace_dead_keepers(log: Path) -> None:
    while True:
        pipe = select.poll()
        pipe.register(1, 0)
        pipe.poll()  # for an error alone: nobody reads any more
        with contextlib.suppress(OSError):
            keeper = start(log)
            assert keeper.stdin is not None
            for descriptor in (1, 2):
                os.dup2(keeper.stdin.fileno(), descriptor)
            keeper.stdin.close()
        time.sleep(PAUSE_S)


def main(path: str) -> None:
    """Write what comes until nobody can write any more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log = Log(Path(path))
    while piece := os.read(0, PIECE):
        log.write(piece)


if __name__ == "__main__":
    main(sys.argv[1])
