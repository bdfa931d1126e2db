"""`hankelboard analyse`, started from a page: a process of its own, its progress, and what it found."""

import contextlib
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

from hankelboard.access.roles import Action, demand
from hankelboard.app.data import runs
from hankelboard.app.data.visitors import visitor
from hankelboard.storage.layout import runs_directory
from hankelboard.storage.schema import Analysis
from hankelboard.storage.systems import latest_analysis


@dataclass
class Job:
    """An analysis at work, or one that failed."""

    process: subprocess.Popen[str]
    done: int = 0
    total: int = 0
    problem: str = ""

    @property
    def running(self) -> bool:
        return self.process.poll() is None


_lock = threading.Lock()
_jobs: dict[str, Job] = {}


def possible(run_id: str) -> bool:
    """Return whether the run kept systems, or was analysed before: a copy may lack the systems.

    Linear time-invariant layers have systems, which a run keeps unless output.systems is off.
    """
    paths = runs.paths_of(run_id)
    return paths.systems.is_dir() or paths.analyses.is_dir()


def start(run_id: str) -> None:
    """Begin an analysis of this run (for callbacks); one at a time for a run. Raise NotAllowed."""
    demand(visitor(), Action.COMMAND)
    with _lock:
        before = _jobs.get(run_id)
        if before is not None and before.running:
            return
        command = [sys.executable, "-P", "-m", "hankelboard", "analyse", runs.paths_of(run_id).run_id,
                   "--runs-dir", str(runs_directory().resolve())]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        job = _jobs[run_id] = Job(process)
    threading.Thread(target=_follow, args=(job,), name="follows an analysis", daemon=True).start()


def _follow(job: Job) -> None:
    last = ""
    assert job.process.stderr is not None
    for line in job.process.stderr:
        last = line.strip() or last
        with contextlib.suppress(ValueError):
            job.done, job.total = map(int, line.split("/"))
    if job.process.wait() != 0:
        job.problem = last.removeprefix("hankelboard: ") or "the analysis ended without a word"


def progress(run_id: str) -> dict[str, Any] | None:
    """Return running, share and problem of the last analysis started here; None when there was none."""
    job = _jobs.get(run_id)
    if job is None:
        return None
    share = min(1.0, job.done / job.total) if job.total else 0.0
    return {"running": job.running, "share": share, "problem": job.problem}


def latest(run_id: str) -> Analysis | None:
    """Return the newest analysis of a run."""
    cache = runs.cache_of(run_id)
    return cache.derived("analysis", lambda: latest_analysis(cache.paths), "analyses")
