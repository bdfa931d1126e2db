"""The only cache: every session reads runs through here, and gets plain data (rule 9).

Nothing here imports the trainer or torch. A second request within `PATIENCE_S`, of any tab, is answered from
memory.
"""

import math
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Required, TypedDict

import numpy as np

from hankelboard.app.data import columns
from hankelboard.app.data.prefetch import Prefetch
from hankelboard.app.data.run_cache import CommandRow, RunCache, RunRow
from hankelboard.app.data.run_index import RunIndex
from hankelboard.app.data.run_list import RunList
from hankelboard.app.words import events
from hankelboard.storage import checkpoints as checkpoint_files
from hankelboard.storage import log, opening
from hankelboard.storage import workers as worker_files
from hankelboard.storage.errors import RunNotFound
from hankelboard.storage.layout import CheckpointName, RunPaths, run_paths, runs_directory
from hankelboard.storage.schema import Event, Place, WorkerRecord
from hankelboard.storage.scores import PRIMARY_METRIC
from hankelboard.storage.status import BeatWatch
from hankelboard.storage.vocabulary import EventKind, ProposalState

PATIENCE_S = 0.15
READ_AHEAD_S = 0.5
"""Length of one piece of prefetch; in between sparklines have their turn."""
LOG_BYTES = 16_000
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_lock = threading.Lock()
_caches: dict[Path, RunCache] = {}
_refreshed: dict[Path, float] = {}
_worker_watches: dict[str, BeatWatch] = {}
_prefetch = Prefetch()
_list = RunList()
_present: dict[str, RunPaths] = {}


class TimelineEvent(Event):
    """An event as the timeline shows it."""

    words: Required[str]
    live: Required[bool]
    """Whether it lies on the live path."""


class CheckpointRow(Place):
    """A published checkpoint in short."""

    name: str
    t: str
    cause: str
    pinned: bool
    state_dims: list[int]
    bytes: int
    metrics: dict[str, Any]
    live: bool
    undoes: list[int]
    """Numbers of the proposals whose cuts a rollback to it undoes."""


class BranchRow(TypedDict):
    """A branch, and how much of it is on the live path."""

    number: int
    parent: int | None
    from_step: int
    checkpoint: str | None
    state_dims: list[int]
    """Where it began."""
    last_step: int
    live: bool
    live_until: int | None
    """Last step on the live path; None: to its end."""


def paths_of(run_id: str) -> RunPaths:
    """Return the run's paths. Raises RunNotFound for what is no run id or no run."""
    return run_paths(runs_directory(), run_id)


def _unrefreshed(paths: RunPaths) -> RunCache:
    """Return the run's cache, as it is."""
    cache = _caches.get(paths.root)
    return cache or _caches.setdefault(paths.root, RunCache(paths, _state_of))


def _cache(paths: RunPaths, patience_s: float | None = None) -> RunCache:
    with _lock:
        cache = _unrefreshed(paths)
        patience_s = PATIENCE_S if patience_s is None else patience_s
        fresh = time.monotonic() - _refreshed.get(paths.root, -math.inf) < patience_s
        _refreshed[paths.root] = _refreshed[paths.root] if fresh else time.monotonic()
    if not fresh:
        cache.refresh()
    return cache


def _state_of(run_id: str) -> str | None:
    """Return the state of a run that another one waits for; None when there is no such run."""
    try:
        return _unrefreshed(paths_of(run_id)).state_now()
    except RunNotFound:
        return None


index = RunIndex(lambda paths: _cache(paths, 0.0))  # however short the last look lies behind
"""The watch reports to it what changed."""


def cache_of(run_id: str) -> RunCache:
    """Return the run's cache, refreshed: for the modules that make plain data of it."""
    return _cache(paths_of(run_id))


def _listed() -> dict[str, RunPaths]:
    """Return all runs, newest first. Caches of runs that are gone are dropped."""
    global _present
    listed = _list.of(runs_directory())
    if listed is not _present:
        _present = listed
        _drop_absent({paths.root for paths in listed.values()})
    return listed


def rows_within(budget_s: float) -> tuple[list[RunRow], int]:
    """Return the summaries of all runs, newest first, and how many runs are left out.

    No run is read for the first time once the budget is spent; those are prefetched.
    """
    rows, left_out = index.rows(_listed(), budget_s)
    if left_out:
        read_ahead()
    return rows, left_out


def caches_within(budget_s: float) -> tuple[list[RunCache], int]:
    """Return the caches of the runs that `rows_within` lists, and how many runs are left out."""
    _, left_out = rows_within(budget_s)
    return index.caches(_listed()), left_out


def read_ahead() -> None:
    """Prefetch the runs that nobody looked at yet."""
    _prefetch.request("all runs", lambda: index.rows(_listed(), READ_AHEAD_S)[1] > 0)


def run_ids() -> list[str]:
    """Return the ids of all runs, newest first."""
    return list(_listed())


def known_names() -> dict[str, str]:
    """Return the names of the runs that were read already, by id."""
    folder = runs_directory()
    with _lock:
        read = [cache for root, cache in _caches.items() if root.parent == folder]
    return {cache.paths.run_id: name for cache in read if (name := cache.name())}


def forget(run_id: str) -> None:
    """Have the run read anew at the next request, however soon: after an action of this page."""
    with _lock:
        _refreshed.pop(runs_directory() / run_id, None)
    index.changed(run_id)


def notify_when_prefetched(notify: Callable[[str], None]) -> None:
    """Set who is notified when metrics of a run were prefetched, so that pages look again."""
    _prefetch.notify = notify


def summaries() -> list[RunRow]:
    """Return all runs in short, newest first. Rows are shared by all sessions: do not change them."""
    return index.rows(_listed())[0]


def _drop_absent(present: set[Path]) -> None:
    folder = runs_directory()
    with _lock:
        for root in [root for root in _caches if root.parent == folder and root not in present]:
            _caches.pop(root)
            _refreshed.pop(root, None)


def sparkline(run_id: str) -> list[float]:
    """Return validation accuracy in 32 points; empty until the metrics of the run are prefetched."""
    cache = _caches.get(runs_directory() / run_id)
    if cache is None or not cache.has_open("metrics"):
        if cache is not None:
            _prefetch.request(run_id, lambda: cache.columns is None)
        return []

    def compute() -> list[float]:
        lines = cache.columns.lines(PRIMARY_METRIC, cache.history.on_path)
        live = next((line for line in lines if line.live), None)
        if live is None:
            return []
        _, values = columns.decimate(live.steps, live.values, 32)
        return [float(value) for value in values[~np.isnan(values)]]

    return cache.derived("sparkline", compute, "metrics", "events")


def summary(run_id: str) -> RunRow:
    """Return one run in short."""
    return cache_of(run_id).summary()


def whole_summary(run_id: str) -> RunRow:
    """Return the summary with all journals read, so that damage in them is counted."""
    cache = cache_of(run_id)
    if not (cache.has_open("metrics") and cache.has_open("spectra")):
        _ = cache.columns, cache.spectra
        index.changed(run_id)  # damage in them belongs into its row
    return cache.summary()


def config(run_id: str) -> dict[str, Any]:
    return cache_of(run_id).config()


def commands(run_id: str) -> list[CommandRow]:
    """Return the latest commands, newest first, each with the trainer's answer: state, step, reason."""
    return cache_of(run_id).commands()


def was_cut_after(run_id: str, step: int) -> bool:
    """Return whether the live path has a cut at `step` or later; validation at that step comes before it."""
    history = cache_of(run_id).history
    return any(
        event.get("kind") == EventKind.REDUCTION_APPLIED
        and event.get("step", -1) >= step
        and history.on_path(event)
        for event in history.interventions
    )


def timeline(run_id: str, limit: int = 200) -> list[TimelineEvent]:
    """Return the events that a person needs, newest first."""
    cache = cache_of(run_id)

    def compute() -> list[TimelineEvent]:
        shown = [event for event in cache.events if not events.is_quiet(event)][-limit:]
        return [_timeline_event(cache, event) for event in reversed(shown)]

    return cache.derived("timeline", compute, "events")


def _timeline_event(cache: RunCache, event: Event) -> TimelineEvent:
    return {**event, "words": events.describe(event), "live": cache.history.on_path(event)}


def log_ends(run_id: str, first: int = 20, last: int = 80) -> str:
    """Return the first and last lines of log.txt: a bounded read, control sequences of terminals removed."""
    try:
        head, tail, _ = log.read_ends(paths_of(run_id).log, LOG_BYTES // 4, LOG_BYTES)
    except OSError:
        return ""
    begins, ends = _plain_lines(head), _plain_lines(tail)
    if not ends and len(begins) <= first + last:
        return "\n".join(begins)
    return "\n".join([*begins[:first], "…", *(ends or begins)[-last:]])


def _plain_lines(text: bytes) -> list[str]:
    return _ANSI.sub("", text.decode("utf-8", "replace")).splitlines()


def worker_troubles(run_id: str) -> list[str]:
    """Return what went wrong when a worker looked after this run."""
    troubles = (worker.get("troubles", {}).get(run_id) for worker in workers())
    return [trouble for trouble in troubles if trouble]


def checkpoints(run_id: str) -> tuple[list[CheckpointRow], list[str]]:
    """Return published checkpoints, newest first, and a message for each damaged one."""
    cache = cache_of(run_id)

    def compute() -> tuple[list[CheckpointRow], list[str]]:
        good, damaged = checkpoint_files.list_checkpoints(cache.paths)
        return [_checkpoint_row(cache, item) for item in reversed(good)], damaged

    return cache.derived("checkpoints", compute, "checkpoints", "events")


def _checkpoint_row(cache: RunCache, item: checkpoint_files.Checkpoint) -> CheckpointRow:
    name = item.name
    place: Place = {"branch": name.branch, "step": name.step, "attempt": name.attempt}
    applied = [o for o in cache.history.proposals.values() if o.state == ProposalState.APPLIED]
    return {
        **place,
        "name": str(name),
        "t": item.t,
        "cause": item.cause,
        "pinned": item.pinned,
        "state_dims": item.state_dims,
        "bytes": item.bytes,
        "metrics": item.metrics,
        "live": cache.history.on_path({**place, "state_dims": item.state_dims}),
        "undoes": [o.number for o in applied if o.number not in item.reductions],
    }


def verify(run_id: str, checkpoint: str) -> list[str]:
    """Return what is wrong with a checkpoint, in words; empty when every file has its size and hash."""
    name = CheckpointName.parse(checkpoint)
    if name is None:
        return [f"{checkpoint} is not a checkpoint's name"]
    return list(checkpoint_files.problems(paths_of(run_id), name))


def branches(run_id: str) -> list[BranchRow]:
    """Return the branches, by number: where each began, how far it went, what of it is on the live path."""
    cache = cache_of(run_id)
    return cache.derived("branches", lambda: _branch_rows(cache), "events", "metrics")


def _branch_rows(cache: RunCache) -> list[BranchRow]:
    history = cache.history
    last = dict.fromkeys(history.branches, 0)
    for event in cache.events:
        branch, step = event.get("branch"), event.get("step")
        if branch in last and isinstance(step, int) and event.get("kind") != EventKind.BRANCH_STARTED:
            last[branch] = max(last[branch], step)
    for key in ("train/loss", PRIMARY_METRIC):
        for line in cache.columns.lines(key, lambda record: False):
            if line.branch in last and len(line.steps):
                last[line.branch] = max(last[line.branch], int(line.steps[-1]))
    path = history.segments()
    return [
        {"number": number, "parent": branch.parent, "from_step": branch.from_step,
         "checkpoint": branch.checkpoint, "state_dims": list(branch.state_dims),
         "last_step": max(last[number], branch.from_step), "live": number in path,
         "live_until": path.get(number)}
        for number, branch in sorted(history.branches.items())
    ]  # fmt: skip


def workers() -> list[WorkerRecord]:
    """Return the workers that watch the folder of runs: host, pid and the runs they train."""
    with _lock:
        return worker_files.present(runs_directory(), _worker_watches)


def is_writable(run_id: str) -> bool:
    """Return whether decisions and commands can be left here (a mounted copy may be read-only).

    A folder that is not there yet is made by who writes into it first.
    """
    paths = paths_of(run_id)
    if opening.is_there(paths.inbox):
        return opening.is_real_folder(paths.inbox) and os.access(paths.inbox, os.W_OK)
    return os.access(paths.root, os.W_OK)
