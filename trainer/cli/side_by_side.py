"""Web and worker side by side; the one that dies does not take the other along.

Runners of Procfiles end all processes when one ends. Then a worker that the machine kills closes the pages
before their reader, and pages that fail end a night of training. Here what dies is started again.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hankelboard.storage import lifeline
from hankelboard.trainer.compression.signals import heard
from hankelboard.trainer.compression.terminal import say

LOOK_S = 0.2
START_S = 20.0
"""A process that ends earlier than this after the first start cannot work here at all. Pages whose port is
taken say so after 2 s of imports on a fast machine."""
PAUSE_S, LONG_PAUSE_S = 1.0, 30.0
"""Before the next start; the long one after a life of less than START_S."""


@dataclass(kw_only=True)
class Kept:
    """A process that is started again when it dies."""

    name: str
    command: Sequence[str]
    patience_s: float
    """How long it may take to end when asked; then it is killed."""
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    started_at: float = 0.0
    due_at: float = 0.0
    """When it is started next, by the monotonic clock."""


class SideBySide:
    """Keeps processes alive until it is stopped.

    Each has a session of its own: signals of the terminal reach only this process, which asks the others to
    end, once. When it is killed they learn it from a pipe (storage/lifeline.py).
    """

    def __init__(self, kept: Sequence[Kept], environment: Mapping[str, str]):
        self._kept = kept
        self._environment = dict(environment)
        self._stopped = False
        self._lifeline = -1
        """The end of the pipe that the others read from."""

    def stop(self) -> None:
        """End all soon. Only sets a flag: it may be called in a signal handler."""
        self._stopped = True

    def stop_at_signals(self) -> None:
        """End all at Ctrl-C, at SIGTERM and when the terminal is closed, unless nohup said not to listen."""
        for number in heard():
            signal.signal(number, lambda *_: self.stop())

    def run(self) -> int:
        """Run until `stop`, or until a process cannot even start. Return the exit code: 0, or 1."""
        self._lifeline, held = os.pipe()
        try:
            while not self._stopped:
                for one in self._kept:
                    if not self._look_after(one):
                        return 1
                time.sleep(LOOK_S)
            return 0
        finally:
            self._end()
            os.close(self._lifeline)
            os.close(held)

    def _look_after(self, one: Kept) -> bool:
        """Start it when it is due; whether it can work here."""
        now = time.monotonic()
        if one.process is None:
            if now >= one.due_at:
                self._start(one, now)
            return True
        code = one.process.poll()
        if code is None:
            return True
        one.process = None
        short = now - one.started_at < START_S
        if short and one.starts == 1:
            say(f"{one.name} ended with {code} right after its start: see what it said above")
            return False
        pause = LONG_PAUSE_S if short else PAUSE_S
        one.due_at = now + pause
        say(f"{one.name} ended with {code}; it is started again in {pause:g} s")
        return True

    def _start(self, one: Kept, now: float) -> None:
        one.process = subprocess.Popen(
            one.command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=(self._lifeline,),
            env={**self._environment, lifeline.VARIABLE: str(self._lifeline)},
        )  # fmt: skip
        one.started_at, one.starts = now, one.starts + 1

    def _end(self) -> None:
        living = [(one, one.process) for one in self._kept if one.process is not None]
        for _, process in living:
            process.terminate()
        since = time.monotonic()
        for one, process in sorted(living, key=lambda item: item[0].patience_s):
            try:
                process.wait(max(0.0, since + one.patience_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"{one.name} did not end within {one.patience_s:g} s and is killed")
                process.kill()
                process.wait()
