"""Reading metrics ahead: a list of many runs is shown at once, its sparklines as soon as they are read."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from app.run_cache import RunCache

TELL_EVERY_S = 1.0
HEAD_START_S = 0.5
"""The page that asks is drawn first."""


class Warming:
    """One thread, as long as there is something to read. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = lambda run_id: None
        """Called with the id of a run, about once a second while runs become ready and once at the end."""
        self._lock = threading.Lock()
        self._wanted: deque[RunCache] = deque()
        self._known: set[RunCache] = set()
        self._thread: threading.Thread | None = None

    def want(self, cache: RunCache) -> None:
        """Read the metrics of this run soon."""
        with self._lock:
            if cache in self._known:
                return
            self._known.add(cache)
            self._wanted.append(cache)
            if self._thread is None:
                self._thread = threading.Thread(target=self._read_all, name="reading metrics", daemon=True)
                self._thread.start()

    def _next(self) -> RunCache | None:
        with self._lock:
            if self._wanted:
                return self._wanted.popleft()
            self._thread = None
            self._known.clear()
            return None

    def _read_all(self) -> None:
        time.sleep(HEAD_START_S)
        told = time.monotonic()
        last = ""
        while (cache := self._next()) is not None:
            with contextlib.suppress(OSError):
                if not cache.was_read:
                    cache.refresh()
                _ = cache.columns
            last = cache.paths.run_id
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                self.tell(last)
        if last:
            self.tell(last)
