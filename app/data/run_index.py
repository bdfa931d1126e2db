"""The list of all runs, each row made again only when its run changed, lives, or waits for another one.

With a watch that reports what changed, ten thousand runs cost one look at their folder. Without one (a test,
a thread that died) every run is looked at each time.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping

from hankelboard.app.data.run_cache import NO_TRAINER, RunCache, RunRow
from hankelboard.storage.layout import RunPaths
from hankelboard.storage.vocabulary import RunState

TRUST_S = 60.0
"""A watch that did not report for so long is taken for dead."""


class RunIndex:
    """Rows of the runs of one folder. All methods may be called from any thread.

    A run is taken off the list of those due before it is read: what changes meanwhile makes it due again.
    """

    def __init__(self, refreshed: Callable[[RunPaths], RunCache]):
        """Take `refreshed`, which returns the cache of a run after looking at its files."""
        self._refreshed = refreshed
        self._reading = threading.Lock()
        self._marking = threading.Lock()
        self._rows: dict[str, RunRow] = {}
        self._caches: dict[str, RunCache] = {}
        self._restless: set[str] = set()
        self._resting: set[str] = set()
        self._due: set[str] = set()
        self._listed: Mapping[str, RunPaths] = {}
        self._reported_at = -math.inf

    # What the watch reports.

    def changed(self, run_id: str) -> None:
        """Note that something of this run may have changed."""
        with self._marking:
            self._due.add(run_id)

    def changed_all(self) -> None:
        """Note that anything may have changed: the watch begins only now."""
        with self._marking:
            self._due.update(self._rows)

    def watched(self) -> None:
        """Note that the watch is alive: what it does not report has not changed."""
        self._reported_at = time.monotonic()

    def is_resting(self, run_id: str) -> bool:
        """Return whether the run ended or has no trainer: it is not expected to change by itself."""
        return run_id in self._resting

    # What pages ask.

    def rows(self, listed: Mapping[str, RunPaths], budget_s: float = math.inf) -> tuple[list[RunRow], int]:
        """Return a row for each run in the order given, and how many are left out.

        No run is read for the first time once the budget is spent. Rows are shared: do not change them.
        """
        ends = time.monotonic() + budget_s
        for run_id in self._to_make(listed):
            if run_id in self._rows or time.monotonic() < ends:
                self._make(run_id, listed[run_id])
        made = [self._rows[run_id] for run_id in listed if run_id in self._rows]
        return made, len(listed) - len(made)

    def caches(self, listed: Mapping[str, RunPaths]) -> list[RunCache]:
        """Return the caches of those runs that have a row, in the order given."""
        return [self._caches[run_id] for run_id in listed if run_id in self._caches]

    def _to_make(self, listed: Mapping[str, RunPaths]) -> list[str]:
        """Return the runs whose row is absent or may be old, in the order given."""
        if time.monotonic() - self._reported_at > TRUST_S:
            self.changed_all()
        if listed is not self._listed:
            self._forget_absent(listed)
        with self._marking:
            due = self._due | self._restless
        if len(self._rows) < len(listed):
            return [run_id for run_id in listed if run_id in due or run_id not in self._rows]
        return [run_id for run_id in due if run_id in listed]

    def _forget_absent(self, listed: Mapping[str, RunPaths]) -> None:
        with self._reading, self._marking:
            for run_id in self._rows.keys() - listed.keys():
                del self._rows[run_id], self._caches[run_id]
            for names in (self._due, self._restless, self._resting):
                names.intersection_update(listed)
            self._listed = listed

    def _make(self, run_id: str, paths: RunPaths) -> None:
        """Make a row, one at a time: a second caller finds the new one."""
        with self._reading:
            with self._marking:
                due = run_id in self._due or run_id not in self._rows
                self._due.discard(run_id)
            try:
                cache = self._refreshed(paths) if due else self._caches[run_id]
            except BaseException:
                self.changed(run_id)
                raise
            row = cache.summary()
            self._caches[run_id], self._rows[run_id] = cache, row
            _put(self._restless, run_id, cache.is_restless(row))
            _put(self._resting, run_id, row["state"] in (*NO_TRAINER, RunState.STALE))


def _put(names: set[str], name: str, belongs: bool) -> None:
    if belongs:
        names.add(name)
    else:
        names.discard(name)
