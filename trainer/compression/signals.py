"""What the operating system asks of a process that trains: to end."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a request to end, a terminal that is closed."""


class AskedToEnd(BaseException):
    """The process was asked to end before training began; no error, and no code of people's catches it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def heard() -> list[signal.Signals]:
    """Return the signals of ENDING to listen to: SIGHUP not where nohup said so."""
    return [number for number in ENDING if number != signal.SIGHUP or not _ignored(number)]


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


class Signals:
    """Listens while a block runs; afterwards who listened before does so again.

    Until `hold` a signal raises AskedToEnd at once: nobody waits until data are loaded. From then on it is
    kept for the one who calls `listen`. Outside of the main thread Python hears no signals.
    """

    def __init__(self) -> None:
        self._raises = True
        self._number: int | None = None
        self._listener: Callable[[int], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in heard()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raises = False
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def hold(self) -> None:
        """Keep signals from now on. Raises AskedToEnd for one whose exception people's code swallowed."""
        self._raises = False
        if self._number is not None:
            raise AskedToEnd(self._number)

    def listen(self, listener: Callable[[int], None]) -> None:
        """Call `listener` for each signal from now on, and at once for one that was kept."""
        self._listener = listener
        if self._number is not None:
            listener(self._number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        if self._listener is not None:
            self._listener(number)
        elif self._raises:
            self._raises = False  # once: what leads out of here is not to be disturbed
            raise AskedToEnd(number)
