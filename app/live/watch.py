"""Notices that runs changed and notifies subscribers. One watchdog observer per process.

The observer asks the kernel only for changes, not for reads: with watchdog's default mask a few thousand
run directories overflow the queue. A slow scan in turn beside it (app/live/safety_scan.py) finds what inotify
does not see. A change that only the scan saw says that events do not reach this process (a network file
system): from then on every living run is looked at in every round.

How late a change may be noticed, with SCAN_S between rounds: by events 0.1 s. Without events a living run
and a new one one round (3 s), or the second one of a hundred living runs the first time; any other run
one round for each hundred of such runs (10,000 runs: 5 minutes).
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

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

from hankelboard.app.live.safety_scan import RoundResult, SafetyScan
from hankelboard.storage.layout import RUN_ID, STRAY_PREFIX, RunPaths

DEBOUNCE_S = 0.1
SCAN_S = 3.0
CHANGES: list[type[FileSystemEvent]] = [
    FileModifiedEvent, FileCreatedEvent, FileMovedEvent, FileDeletedEvent,
    DirCreatedEvent, DirMovedEvent, DirDeletedEvent,
]  # fmt: skip
_IN_RUN = RunPaths(Path())
HEARTBEAT, METRICS, LOG = _IN_RUN.status.name, _IN_RUN.metrics.name, _IN_RUN.log.name
SPECTRA, ATTEMPTS = _IN_RUN.spectra.name, _IN_RUN.attempts.name
"""What changes every few seconds while a run lives, and more often."""
ANYTHING = ""
"""In the place of a file's name: it is not known what changed."""


class Subscriber(NamedTuple):
    loop: asyncio.AbstractEventLoop
    woken: asyncio.Event
    run_id: str | None
    ignored: frozenset[str]

    def wants(self, changed: Mapping[str, set[str]]) -> bool:
        """Return whether to notify of these changes: names of files by run."""
        runs = changed if self.run_id is None else changed.keys() & {self.run_id}
        return any(changed[run_id] - self.ignored for run_id in runs)


class Follower(Protocol):
    """Notified of every change at once, before subscribers: RunIndex."""

    def changed(self, run_id: str) -> None: ...
    def changed_all(self) -> None: ...
    def watched(self) -> None: ...
    def is_resting(self, run_id: str) -> bool: ...


class Nobody:
    """A follower that ignores changes and takes no run for resting."""

    def changed(self, run_id: str) -> None:
        """Ignore it."""

    def changed_all(self) -> None:
        """Ignore it."""

    def watched(self) -> None:
        """Ignore it."""

    def is_resting(self, run_id: str) -> bool:
        return False


class Watch(FileSystemEventHandler):
    """Watches a folder of runs and wakes those who subscribed to a run, or to all of them."""

    def __init__(
        self,
        runs: Path,
        follower: Follower | None = None,
        *,
        debounce_s: float = DEBOUNCE_S,
        scan_s: float = SCAN_S,
    ):
        self._runs = runs.resolve()
        self._follower = follower or Nobody()
        self._debounce_s = debounce_s
        self._scan_s = scan_s
        self._safety = SafetyScan(self._runs, self._follower.is_resting)
        self._heard: dict[str, float] = {}
        self._unheard: dict[str, float] = {}
        self._observed_at = 0.0
        self.hears_all = True
        """Whether every change so far came with an event; once one did not, living runs are polled."""
        self._lock = threading.Lock()
        self._subscribers: set[Subscriber] = set()
        self._pending: dict[str, set[str]] = {}
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
    def subscribe(self, run_id: str | None, ignored: frozenset[str] = frozenset()) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the run (or, with None, any run) changed.

        Changes of files and folders of the ignored names alone (HEARTBEAT, …) do not count.
        """
        subscriber = Subscriber(asyncio.get_running_loop(), asyncio.Event(), run_id, ignored)
        with self._lock:
            self._subscribers.add(subscriber)
        try:
            yield subscriber.woken
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take a change below the folder of runs; called by watchdog's thread."""
        for path in (event.src_path, event.dest_path):
            place = self._place_of(str(path)) if path else None
            if place:
                self._heard[place[0]] = time.monotonic()
                if not place[1].startswith(STRAY_PREFIX):  # counts when it gets its name
                    self.notice(*place)

    def _place_of(self, path: str) -> tuple[str, str] | None:
        """Return the run that a path belongs to, and the name of what lies in it.

        None for heartbeats of workers, strays and the folder itself.
        """
        try:
            parts = Path(path).relative_to(self._runs).parts
        except ValueError:
            return None
        if not parts or not RUN_ID.fullmatch(parts[0]):
            return None
        if len(parts) == 4 and parts[1] == ATTEMPTS:  # a journal that an attempt took over
            return parts[0], parts[3]
        return parts[0], parts[1] if len(parts) > 1 else ANYTHING

    def notice(self, run_id: str, name: str = ANYTHING) -> None:
        """Take note that something of this run changed; subscribers are notified after the debounce."""
        self._follower.changed(run_id)
        with self._lock:
            self._pending.setdefault(run_id, set()).add(name)
            if self._timer is None and not self._ending.is_set():
                self._timer = threading.Timer(self._debounce_s, self._notify)
                self._timer.daemon = True
                self._timer.start()

    def _notify(self) -> None:
        with self._lock:
            changed, self._pending, self._timer = self._pending, {}, None
            listening = [subscriber for subscriber in self._subscribers if subscriber.wants(changed)]
        for subscriber in listening:
            with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
                subscriber.loop.call_soon_threadsafe(subscriber.woken.set)

    # The safety net.

    def _scan(self) -> None:
        self._follower.changed_all()
        while True:
            self._observe()
            with contextlib.suppress(OSError):  # a file server that does not answer now: the next round
                self._round()
            if self._ending.wait(self._scan_s):
                return

    def _round(self) -> None:
        now = time.monotonic()
        polls = self._observer is None or not self.hears_all
        result = self._safety.round(now, all_living=polls)
        for run_id in result.first_seen:
            self._follower.changed(run_id)
        for run_id, since in result.changed.items():
            if not polls and self._heard.get(run_id, 0.0) > since:
                self._follower.changed(run_id)  # subscribers heard of it by an event
            else:
                self.notice(run_id)
        self._judge(result)
        self._follower.watched()

    def _judge(self, result: RoundResult) -> None:
        """Check whether events came for what the scan found. They may be later, so the next round judges."""
        if any(self._heard.get(run_id, 0.0) < since for run_id, since in self._unheard.items()):
            self.hears_all = False
        self._unheard = {
            run_id: since for run_id, since in result.changed.items() if since > self._observed_at
        }

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
        self._observer, self._observed_at = observer, time.monotonic()
        self._follower.changed_all()
