"""The only cache: every session reads runs through here, and gets plain data (rule 9).

Nothing here imports the trainer or torch. What is asked again within `PATIENCE_S`, by whatever tab, is
answered from memory.
"""

import math
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hankelboard.app.data import columns
from hankelboard.app.data.prefetch import Warming
from hankelboard.app.data.run_cache import RunCache
from hankelboard.app.data.run_index import RunIndex
from hankelboard.app.data.run_list import RunList
from hankelboard.app.words import events
from hankelboard.storage import checkpoints as checkpoint_files
from hankelboard.storage import workers as worker_files
from hankelboard.storage.errors import RunNotFound
from hankelboard.storage.layout import CheckpointName, RunPaths, run_paths, runs_directory
from hankelboard.storage.records import Record
from hankelboard.storage.status import BeatWatch
from hankelboard.storage.summary import PRIMARY_METRIC

PATIENCE_S = 0.15
READ_AHEAD_S = 0.5
"""Runs are read ahead in pieces of so long; in between sparklines have their turn."""
LOG_BYTES = 16_000
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_lock = threading.Lock()
_caches: dict[Path, RunCache] = {}
_refreshed: dict[Path, float] = {}
_worker_watches: dict[str, BeatWatch] = {}
_warming = Warming()
_list = RunList()
_present: dict[str, RunPaths] = {}


def paths_of(run_id: str) -> RunPaths:
    """The run's paths. Raises RunNotFound for what is no run id or no run."""
    return run_paths(runs_directory(), run_id)


def _known(paths: RunPaths) -> RunCache:
    """The run's cache, as it is."""
    cache = _caches.get(paths.root)
    return cache or _caches.setdefault(paths.root, RunCache(paths, _state_of))


def _cache(paths: RunPaths, patience_s: float | None = None) -> RunCache:
    with _lock:
        cache = _known(paths)
        patience_s = PATIENCE_S if patience_s is None else patience_s
        fresh = time.monotonic() - _refreshed.get(paths.root, -math.inf) < patience_s
        _refreshed[paths.root] = _refreshed[paths.root] if fresh else time.monotonic()
    if not fresh:
        cache.refresh()
    return cache


def _state_of(run_id: str) -> str | None:
    """The state of a run that another one waits for; None when there is no such run."""
    try:
        return _known(paths_of(run_id)).state_now()
    except RunNotFound:
        return None


index = RunIndex(lambda paths: _cache(paths, 0.0))  # however short the last look lies behind
"""Told by the watch what changed."""


def cache_of(run_id: str) -> RunCache:
    """The run's cache, refreshed: for the modules that make plain data of it."""
    return _cache(paths_of(run_id))


def _listed() -> dict[str, RunPaths]:
    """All runs, newest first. What is remembered of runs that are no more is forgotten."""
    global _present
    listed = _list.of(runs_directory())
    if listed is not _present:
        _present = listed
        _drop_absent({paths.root for paths in listed.values()})
    return listed


def rows_within(budget_s: float) -> tuple[list[dict[str, Any]], int]:
    """The summaries of all runs, newest first, and how many runs this leaves out.

    No run is read for the first time once the budget is spent; those are read ahead meanwhile.
    """
    rows, left_out = index.rows(_listed(), budget_s)
    if left_out:
        read_ahead()
    return rows, left_out


def caches_within(budget_s: float) -> tuple[list[RunCache], int]:
    """As `rows_within`, for what is made of more than a summary."""
    _, left_out = rows_within(budget_s)
    return index.caches(_listed()), left_out


def read_ahead() -> None:
    """Read the runs that nobody looked at yet, in the background."""
    _warming.want("all runs", lambda: index.rows(_listed(), READ_AHEAD_S)[1] > 0)


def run_ids() -> list[str]:
    """All runs, newest first."""
    return list(_listed())


def known_names() -> dict[str, str]:
    """Names of the runs that were read already, by id."""
    folder = runs_directory()
    with _lock:
        known = [cache for root, cache in _caches.items() if root.parent == folder]
    return {cache.paths.run_id: name for cache in known if (name := cache.name())}


def forget(run_id: str) -> None:
    """Read the run anew at the next question, whatever the clock says: after one's own action."""
    with _lock:
        _refreshed.pop(runs_directory() / run_id, None)
    index.changed(run_id)


def tell_when_warm(tell: Callable[[str], None]) -> None:
    """Whom to tell that the metrics of a run were read meanwhile: the pages that show it look again."""
    _warming.tell = tell


def summaries() -> list[dict[str, Any]]:
    """All runs in short, newest first. Rows are shared by all sessions: do not change them."""
    return index.rows(_listed())[0]


def _drop_absent(present: set[Path]) -> None:
    folder = runs_directory()
    with _lock:
        for root in [root for root in _caches if root.parent == folder and root not in present]:
            _caches.pop(root)
            _refreshed.pop(root, None)


def sparkline(run_id: str) -> list[float]:
    """Validation accuracy in 32 points; empty until the metrics of the run were read, which begins here."""
    cache = _caches.get(runs_directory() / run_id)
    if cache is None or not cache.has_open("metrics"):
        if cache is not None:
            _warming.want(run_id, lambda: cache.columns is None)
        return []

    def compute() -> list[float]:
        lines = cache.columns.lines(PRIMARY_METRIC, cache.history.on_path)
        live = next((line for line in lines if line.live), None)
        if live is None:
            return []
        _, values = columns.decimate(live.steps, live.values, 32)
        return [float(value) for value in values[~np.isnan(values)]]

    return cache.derived("sparkline", compute, "metrics", "events")


def summary(run_id: str) -> dict[str, Any]:
    """One run in short: hankelboard.storage.summary.Summary and living, trouble, damaged, unknown_events."""
    return cache_of(run_id).summary()


def whole_summary(run_id: str) -> dict[str, Any]:
    """As `summary`, with all journals read: what is damaged in them is known then."""
    cache = cache_of(run_id)
    if not (cache.has_open("metrics") and cache.has_open("spectra")):
        _ = cache.columns, cache.spectra
        index.changed(run_id)  # damage in them belongs into its row
    return cache.summary()


def config(run_id: str) -> dict[str, Any]:
    return cache_of(run_id).config()


def commands(run_id: str) -> list[dict[str, Any]]:
    """The latest commands, newest first, each with the trainer's answer: state, step, reason."""
    return cache_of(run_id).commands()


def was_cut_after(run_id: str, step: int) -> bool:
    """Whether the live path has a cut at `step` or later: validation at the step of a cut comes before it."""
    history = cache_of(run_id).history
    return any(
        event.get("kind") == "reduction_applied" and event.get("step", -1) >= step and history.on_path(event)
        for event in history.interventions
    )


def layer_count(run_id: str) -> int:
    cache = cache_of(run_id)
    return len(cache.history.initial_state_dims)


def timeline(run_id: str, limit: int = 200) -> list[Record]:
    """Events worth telling, newest first, each with `words` and `live` (whether on the live path)."""
    cache = cache_of(run_id)

    def compute() -> list[Record]:
        told = [event for event in cache.events if event.get("kind") not in events.QUIET][-limit:]
        return [
            {**event, "words": events.describe(event), "live": cache.history.on_path(event)}
            for event in reversed(told)
        ]

    return cache.derived("timeline", compute, "events")


def log_tail(run_id: str, lines: int = 80) -> str:
    """The last lines of log.txt: a bounded read, control sequences of terminals removed."""
    try:
        with paths_of(run_id).log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            text = file.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    cut = text.split("\n", 1)[-1] if size > LOG_BYTES else text
    return "\n".join(_ANSI.sub("", cut).splitlines()[-lines:])


def checkpoints(run_id: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Published checkpoints, newest first, and a message for each damaged one."""
    cache = cache_of(run_id)

    def compute() -> tuple[list[dict[str, Any]], list[str]]:
        good, damaged = checkpoint_files.list_checkpoints(cache.paths)
        return [_checkpoint_row(cache, item) for item in reversed(good)], damaged

    return cache.derived("checkpoints", compute, "checkpoints", "events")


def _checkpoint_row(cache: RunCache, item: checkpoint_files.Checkpoint) -> dict[str, Any]:
    name = item.name
    where = {"branch": name.branch, "step": name.step, "attempt": name.attempt}
    applied = [o for o in cache.history.proposals.values() if o.state == "applied"]
    return {
        **where,
        "name": str(name),
        "t": item.t,
        "cause": item.cause,
        "pinned": item.pinned,
        "state_dims": item.state_dims,
        "bytes": item.bytes,
        "metrics": item.metrics,
        "live": cache.history.on_path({**where, "state_dims": item.state_dims}),
        "undoes": [o.number for o in applied if o.number not in item.reductions],
    }


def verify(run_id: str, checkpoint: str) -> list[str]:
    """What is wrong with a checkpoint, in words; empty when every file has its size and hash."""
    name = CheckpointName.parse(checkpoint)
    if name is None:
        return [f"{checkpoint} is not a checkpoint's name"]
    return list(checkpoint_files.problems(paths_of(run_id), name))


def branches(run_id: str) -> list[dict[str, Any]]:
    """The branches, by number: where each began, how far it went, what of it is on the live path."""
    cache = cache_of(run_id)
    return cache.derived("branches", lambda: _branch_rows(cache), "events", "metrics")


def _branch_rows(cache: RunCache) -> list[dict[str, Any]]:
    history = cache.history
    last = dict.fromkeys(history.branches, 0)
    for event in cache.events:
        branch, step = event.get("branch"), event.get("step")
        if branch in last and isinstance(step, int) and event.get("kind") != "branch_started":
            last[branch] = max(last[branch], step)
    for key in ("train/loss", PRIMARY_METRIC):
        for line in cache.columns.lines(key, lambda record: False):
            if line.branch in last and len(line.steps):
                last[line.branch] = max(last[line.branch], int(line.steps[-1]))
    path = history.segments()
    return [
        {**asdict(branch), "last_step": max(last[number], branch.from_step), "live": number in path,
         "live_until": path.get(number)}
        for number, branch in sorted(history.branches.items())
    ]  # fmt: skip


def workers() -> list[Record]:
    """The workers that watch the folder of runs: host, pid and the runs they train."""
    with _lock:
        return worker_files.present(runs_directory(), _worker_watches)


def is_writable(run_id: str) -> bool:
    """Whether decisions and commands can be left here (a mounted copy may be read-only)."""
    return os.access(paths_of(run_id).inbox, os.W_OK)
