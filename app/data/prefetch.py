"""Prefetch: a list of many runs is shown at once, what takes longer as soon as it is read."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

NOTIFY_EVERY_S = 1.0
HEAD_START_S = 0.5
"""The page that asks is drawn first."""


class Prefetch:
    """One thread, as long as there is something to read. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.notify: Callable[[str], None] = lambda name: None
        """Called with the name of what was read, about once a second while more is to come and once at the
        end."""
        self._lock = threading.Lock()
        self._wanted: deque[tuple[str, Callable[[], bool]]] = deque()
        self._requested: set[str] = set()
        self._thread: threading.Thread | None = None

    def request(self, name: str, read: Callable[[], bool]) -> None:
        """Call `read` soon, and again as long as it returns that there is more to read.

        A second request under the same name changes nothing.
        """
        with self._lock:
            if name in self._requested:
                return
            self._requested.add(name)
            self._wanted.append((name, read))
            if self._thread is None:
                self._thread = threading.Thread(target=self._read_all, name="reading ahead", daemon=True)
                self._thread.start()

    def is_idle(self) -> bool:
        """Return whether every request was read."""
        with self._lock:
            return self._thread is None

    def _next(self) -> tuple[str, Callable[[], bool]] | None:
        with self._lock:
            if self._wanted:
                return self._wanted.popleft()
            self._thread = None
            self._requested.clear()
            return None

    def _read_all(self) -> None:
        time.sleep(HEAD_START_S)
        notified_at = time.monotonic()
        last = ""
        while (item := self._next()) is not None:
            last, read = item
            with contextlib.suppress(OSError):
                if read():
                    self._wanted.append(item)
            if time.monotonic() - notified_at > NOTIFY_EVERY_S:
                notified_at = time.monotonic()
                self.notify(last)
        if last:
            self.notify(last)
