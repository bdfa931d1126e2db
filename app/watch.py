"""Notices that runs changed and tells whoever listens. One watchdog observer per process.

The observer asks the kernel only for changes, not for reads: with watchdog's default mask a few thousand
run directories overflow the queue. A slow scan of marks beside it finds what inotify does not see
(network file systems, lost events, a folder of runs that appears later).
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from app.run_cache import Mark, mark
from storage.layout import RUN_ID
from storage.runs import list_runs

DEBOUNCE_S = 0.1
SCAN_S = 3.0
CHANGES: list[type[FileSystemEvent]] = [
    FileModifiedEvent, FileCreatedEvent, FileMovedEvent, FileDeletedEvent,
    DirCreatedEvent, DirMovedEvent, DirDeletedEvent,
]  # fmt: skip
Subscriber = tuple[asyncio.AbstractEventLoop, asyncio.Event, str | None]


class Watch(FileSystemEventHandler):
    """Watches a folder of runs and wakes those who subscribed to a run, or to all of them."""

    def __init__(self, runs: Path, *, debounce_s: float = DEBOUNCE_S, scan_s: float = SCAN_S):
        self._runs = runs.resolve()
        self._debounce_s = debounce_s
        self._scan_s = scan_s
        self._lock = threading.Lock()
        self._subscribers: set[Subscriber] = set()
        self._pending: set[str] = set()
        self._timer: threading.Timer | None = None
        self._ending = threading.Event()
        self._observer: BaseObserver | None = None
        self._scanner = threading.Thread(target=self._scan, name="scan of runs", daemon=True)

    def start(self) -> None:
        self._scanner.start()

    def stop(self) -> None:
        self._ending.set()
        self._scanner.join()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    @contextlib.contextmanager
    def subscribe(self, run_id: str | None) -> Iterator[asyncio.Event]:
        """An event that is set whenever the run (or, with None, any run) changed."""
        subscriber = (asyncio.get_running_loop(), asyncio.Event(), run_id)
        with self._lock:
            self._subscribers.add(subscriber)
        try:
            yield subscriber[1]
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog's thread for every change below the folder of runs."""
        for path in (event.src_path, event.dest_path):
            name = self._run_of(str(path)) if path else None
            if name:
                self.notice(name)

    def _run_of(self, path: str) -> str | None:
        """The run that a path belongs to; None for workers' heartbeats, strays and the folder itself."""
        try:
            parts = Path(path).relative_to(self._runs).parts
        except ValueError:
            return None
        return parts[0] if parts and RUN_ID.fullmatch(parts[0]) else None

    def notice(self, run_id: str) -> None:
        """Something of this run changed; subscribers hear of it after the debounce."""
        with self._lock:
            self._pending.add(run_id)
            if self._timer is None and not self._ending.is_set():
                self._timer = threading.Timer(self._debounce_s, self._tell)
                self._timer.daemon = True
                self._timer.start()

    def _tell(self) -> None:
        with self._lock:
            changed, self._pending, self._timer = self._pending, set(), None
            listening = [s for s in self._subscribers if s[2] is None or s[2] in changed]
        for loop, event, _ in listening:
            with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
                loop.call_soon_threadsafe(event.set)

    # The safety net.

    def _scan(self) -> None:
        marks = self._marks()
        while True:
            self._observe()
            if self._ending.wait(self._scan_s):
                return
            found = self._marks()
            for path in {*found, *marks}:
                if found.get(path) != marks.get(path):
                    self.notice(self._run_of(str(path)) or "workers")
            marks = found

    def _observe(self) -> None:
        """Start the observer once the folder is there. Without one (no inotify left) the scan remains."""
        if self._observer is not None or not self._runs.is_dir():
            return
        observer = Observer()
        try:
            observer.schedule(self, str(self._runs), recursive=True, event_filter=CHANGES)
            observer.start()
        except OSError:
            return
        self._observer = observer

    def _marks(self) -> dict[Path, Mark]:
        """Marks of what changes while a run lives. Of workers only the names: their files beat."""
        marks: dict[Path, Mark] = {}
        for paths in list_runs(self._runs):
            for path in (paths.root, paths.status, paths.events, paths.metrics, paths.proposals,
                         paths.decisions, paths.inbox, paths.notes):  # fmt: skip
                marks[path] = mark(path)
        return marks
