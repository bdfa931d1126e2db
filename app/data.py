"""The only cache: every session reads runs through here, and gets plain data (rule 9).

Nothing here imports the trainer or torch. What is asked again within `PATIENCE_S`, by whatever tab, is
answered from memory.
"""

import getpass
import os
import platform
import re
import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from app import charts, event_words, series
from app.interventions import intervention_marks
from app.run_cache import RunCache
from app.warming import Warming
from storage import checkpoints as checkpoint_files
from storage import proposals as proposal_files
from storage import workers as worker_files
from storage.history import ProposalOutcome
from storage.layout import CheckpointName, RunPaths, run_paths, runs_directory
from storage.records import Record
from storage.runs import list_runs
from storage.status import BeatWatch
from storage.summary import PRIMARY_METRIC

PATIENCE_S = 0.15
PROPOSALS_LISTED = 200
LOG_BYTES = 16_000
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_lock = threading.Lock()
_caches: dict[Path, RunCache] = {}
_refreshed: dict[Path, float] = {}
_worker_watches: dict[str, BeatWatch] = {}
_warming = Warming()


def user() -> str:
    """Who decides in this browser: $HANKELBOARD_USER, else the login name of the web process."""
    try:
        return os.environ.get("HANKELBOARD_USER") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def paths_of(run_id: str) -> RunPaths:
    """The run's paths. Raises RunNotFound for what is no run id or no run."""
    return run_paths(runs_directory(), run_id)


def _cache(paths: RunPaths) -> RunCache:
    with _lock:
        cache = _caches.get(paths.root)
        if cache is None:
            cache = _caches[paths.root] = RunCache(paths)
        fresh = time.monotonic() - _refreshed.get(paths.root, -PATIENCE_S) < PATIENCE_S
        _refreshed[paths.root] = _refreshed[paths.root] if fresh else time.monotonic()
    if not fresh:
        cache.refresh()
    return cache


def _run(run_id: str) -> RunCache:
    return _cache(paths_of(run_id))


def forget(run_id: str) -> None:
    """Read the run anew at the next question, whatever the clock says: after one's own action."""
    with _lock:
        _refreshed.pop(runs_directory() / run_id, None)


def tell_when_warm(tell: Callable[[str], None]) -> None:
    """Whom to tell that the metrics of a run were read meanwhile: the pages that show it look again."""
    _warming.tell = tell


def summaries() -> list[dict[str, Any]]:
    """All runs in short, newest first."""
    listed = list_runs(runs_directory())
    _drop_absent({paths.root for paths in listed})
    found = []
    for cache in map(_cache, listed):
        if not cache.has_open("metrics"):
            _warming.want(cache)
        found.append({**cache.summary(), "sparkline": _sparkline(cache)})
    return found


def _drop_absent(present: set[Path]) -> None:
    folder = runs_directory()
    with _lock:
        for root in [root for root in _caches if root.parent == folder and root not in present]:
            _caches.pop(root)
            _refreshed.pop(root, None)


def _sparkline(cache: RunCache) -> list[float]:
    """Validation accuracy in 32 points; empty until the metrics of the run were read."""
    if not cache.has_open("metrics"):
        return []

    def compute() -> list[float]:
        lines = cache.columns.lines(PRIMARY_METRIC, cache.history.on_path)
        live = next((line for line in lines if line.live), None)
        if live is None:
            return []
        _, values = series.decimate(live.steps, live.values, 32)
        return [float(value) for value in values[~np.isnan(values)]]

    return cache.derived("sparkline", compute, "metrics", "events")


def summary(run_id: str) -> dict[str, Any]:
    """One run in short: storage.summary.Summary and living, trouble, damaged, unknown_events."""
    return _run(run_id).summary()


def config(run_id: str) -> dict[str, Any]:
    return _run(run_id).config()


def commands(run_id: str) -> list[dict[str, Any]]:
    """The latest commands, newest first, each with the trainer's answer: state, step, reason."""
    return _run(run_id).commands()


def chart_table(run_id: str, chart: str) -> Any:
    """The Arrow table of one of charts.METRIC_CHARTS."""
    cache = _run(run_id)
    compute = lambda: _chart_table(cache, charts.METRIC_CHARTS[chart])  # noqa: E731
    return cache.derived(f"chart {chart}", compute, "metrics", "events")


def _chart_table(cache: RunCache, chart: charts.MetricChart) -> Any:
    lines = {
        charts.series_name(key, chart): cache.columns.lines(key, cache.history.on_path)
        for key in cache.columns.metrics()
        if chart.shows(key)
    }
    return charts.lines_table(lines, dots=chart.dots)


def marks_table(run_id: str, chart: str) -> Any:
    """The Arrow table of interventions on the step axis, the same for all charts of a run."""
    cache = _run(run_id)

    def compute() -> Any:
        shown = charts.METRIC_CHARTS[chart]
        lines = [
            line
            for key in cache.columns.metrics()
            if shown.shows(key)
            for line in cache.columns.lines(key, cache.history.on_path)
        ]
        marks = cache.derived("interventions", lambda: intervention_marks(cache.history), "events")
        holes = [
            {"step": step, "kind": "not finite", "text": f"not a finite number at step {step}", "live": True}
            for step in series.not_finite_steps(lines)
        ]
        return charts.marks_table(marks + holes, last_step=cache.history.step)

    return cache.derived(f"marks {chart}", compute, "metrics", "events")


def layer_count(run_id: str) -> int:
    cache = _run(run_id)
    return len(cache.history.initial_state_dims)


def timeline(run_id: str, limit: int = 200) -> list[Record]:
    """Events worth telling, newest first, each with `words` and `live` (whether on the live path)."""
    cache = _run(run_id)

    def compute() -> list[Record]:
        told = [event for event in cache.events if event.get("kind") not in event_words.QUIET][-limit:]
        return [
            {**event, "words": event_words.describe(event), "live": cache.history.on_path(event)}
            for event in reversed(told)
        ]

    return cache.derived("timeline", compute, "events")


def latest_spectra(run_id: str) -> list[Record]:
    """The newest spectrum of each layer on the live path, by layer."""
    cache = _run(run_id)

    def compute() -> list[Record]:
        newest: dict[int, Record] = {}
        for record in reversed(cache.spectra):
            if record["layer"] not in newest and cache.history.on_path(record):
                newest[record["layer"]] = record
            if len(newest) == max(1, len(cache.history.state_dims)):
                break
        return [newest[layer] for layer in sorted(newest)]

    return cache.derived("latest spectra", compute, "spectra", "events")


def spectra(run_id: str) -> dict[int, list[Record]]:
    """The spectra of each layer on the live path, by step; of those at one step the latest."""
    cache = _run(run_id)

    def compute() -> dict[int, list[Record]]:
        layers: dict[int, dict[int, Record]] = {}
        for record in cache.spectra:
            if cache.history.on_path(record):
                layers.setdefault(record["layer"], {})[record["step"]] = record
        return {layer: [found[step] for step in sorted(found)] for layer, found in sorted(layers.items())}

    return cache.derived("spectra", compute, "spectra", "events")


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


def proposals(run_id: str, limit: int = PROPOSALS_LISTED) -> list[dict[str, Any]]:
    """The newest proposals in short: number, state, step, N, ranks, decision, predicted, measured."""
    cache = _run(run_id)

    def compute() -> list[dict[str, Any]]:
        told = cache.history.proposals
        newest = _proposal_numbers(cache)[-limit:][::-1]
        return [_proposal_row(cache, number, told.get(number)) for number in newest]

    return cache.derived(f"proposals {limit}", compute, "proposals", "decisions", "events")


def proposal_row(run_id: str, number: int) -> dict[str, Any] | None:
    """One proposal in short, however old; None when there is none of this number."""
    cache = _run(run_id)
    if number not in _proposal_numbers(cache):
        return None
    return _proposal_row(cache, number, cache.history.proposals.get(number))


def proposal_count(run_id: str) -> int:
    return len(_proposal_numbers(_run(run_id)))


def _proposal_numbers(cache: RunCache) -> list[int]:
    """Those that events name and those whose files are there, ascending."""
    compute = lambda: sorted({*cache.history.proposals, *cache.proposal_numbers()})  # noqa: E731
    return cache.derived("proposal numbers", compute, "proposals", "events")


def _proposal_row(cache: RunCache, number: int, outcome: ProposalOutcome | None) -> dict[str, Any]:
    """From the events where they tell it: only the undecided have their files read."""
    outcome = outcome or _unannounced(cache, number)
    decision = outcome.decision
    if decision is None:
        written = proposal_files.read_decision(cache.paths, number)
        decision = asdict(written) if written else None
    return {
        "number": number,
        "state": outcome.state,
        "reason": outcome.reason,
        "accepted": outcome.decision,
        "applied": outcome.applied,
        "judged": outcome.judged,
        "on_live_branch": outcome.branch == cache.history.branch,
        "step": outcome.step,
        "branch": outcome.branch,
        "state_dims": outcome.state_dims,
        "ranks": outcome.ranks,
        "decision": decision,
    }


def _unannounced(cache: RunCache, number: int) -> ProposalOutcome:
    """A proposal whose file is there while no event names it yet, or no more."""
    record = proposal_files.read_proposal(cache.paths, number) or {}
    step, branch = record.get("step") or 0, record.get("branch") or 0
    dims = [layer.get("state_dim") for layer in record.get("layers", [])]
    return ProposalOutcome(number, branch, step, step, state_dims=dims, ranks=record.get("ranks") or [])


def proposal(run_id: str, number: int) -> Record | None:
    """A proposal with all its evidence, or None when it is absent or damaged."""
    cache = _run(run_id)

    def compute() -> Record | None:
        record = proposal_files.read_evidence(cache.paths, number)
        return record if record is not None and _is_whole(record) else None

    return cache.derived(f"proposal {number}", compute, "proposals", "measurements")


def _is_whole(record: Record) -> bool:
    """Whether the record answers what the page asks of it: a damaged one must not take the page down."""
    try:
        full = [layer["state_dim"] for layer in record["layers"]]
        for ranks in (full, record["ranks"], proposal_files.ranks_at(record, record["tolerance"])):
            proposal_files.what_if(record, ranks)
        return all(len(layer["hsv"]) == layer["state_dim"] for layer in record["layers"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return False


def what_if(record: Record, ranks: Sequence[int]) -> Record:
    """What the recorded arrays say about these ranks (storage.proposals.what_if)."""
    return proposal_files.what_if(record, ranks)


def checkpoints(run_id: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Published checkpoints, newest first, and a message for each damaged one."""
    cache = _run(run_id)

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
        "live": cache.history.on_path(where),
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
    cache = _run(run_id)
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


def system() -> dict[str, Any]:
    """What one needs to know of this installation: where runs lie, room on the disk, versions, memory."""
    folder = runs_directory().resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    packages = ("hankelboard", "streamlit", "altair", "pandas", "pyarrow", "watchdog")
    return {
        "folder": str(folder),
        "writable": os.access(there, os.W_OK),
        "free": usage.free,
        "total": usage.total,
        "memory": _memory_bytes(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _memory_bytes() -> int:
    """Memory of this process now; its peak where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def is_writable(run_id: str) -> bool:
    """Whether decisions and commands can be left here (a mounted copy may be read-only)."""
    return os.access(paths_of(run_id).inbox, os.W_OK)
